//! Identity providers as targets of a sign-out, against stand-ins that answer in recorded shapes.
//!
//! It refuses to call a stand-in the real thing: the certified provider is in `tests/op`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use exeunt_api::{SignOutResponse, Target, path};
use exeunt_domain::{Outcome, Txn};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::rig::{Rig, Service, answer};

/// An authorization server as RFC 7009 and RFC 7662 have it: how often it fails first, whether a
/// revocation has an effect, and what was asked.
struct Server {
    failures: AtomicUsize,
    refuses: AtomicBool,
    works: AtomicBool,
    active: AtomicBool,
    asked: AtomicUsize,
}

type Shared = State<Arc<Server>>;

impl Server {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            failures: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            works: AtomicBool::new(true),
            active: AtomicBool::new(true),
            asked: AtomicUsize::new(0),
        })
    }

    async fn serve(self: &Arc<Self>, listener: TcpListener) -> SocketAddr {
        let router = Router::new()
            .route("/revoke", post(revoke))
            .route("/introspect", post(introspect))
            .route("/realms/corp/protocol/openid-connect/token", post(token))
            .route("/admin/realms/corp/users", get(users))
            .route("/admin/realms/corp/users/{id}/logout", post(logout))
            .route("/admin/realms/corp/users/{id}/sessions", get(sessions))
            .route("/api/v1/users/{id}/sessions", delete(okta))
            .route("/corp/oauth2/v2.0/token", post(token))
            .route("/v1.0/users/alice/revokeSignInSessions", post(graph))
            .route("/oauth/token", post(token))
            .route("/api/v2/users/{id}/revoke-access", post(logout))
            .route("/api/v2/users/{id}/sessions", get(auth0))
            .route("/api/v2/users/{id}/refresh-tokens", get(auth0))
            .with_state(Arc::clone(self));
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        addr
    }

    async fn start(self: &Arc<Self>) -> SocketAddr {
        self.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).await
    }

    fn end(&self) -> StatusCode {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) {
            return StatusCode::UNAUTHORIZED;
        }
        let fails = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        if self.works.load(Ordering::SeqCst) {
            self.active.store(false, Ordering::SeqCst);
        }
        StatusCode::OK
    }
}

async fn revoke(State(server): Shared) -> StatusCode {
    server.end()
}

async fn introspect(State(server): Shared) -> String {
    json!({ "active": server.active.load(Ordering::SeqCst) }).to_string()
}

/// Keycloak's token response, shortened.
async fn token() -> String {
    json!({ "access_token": "kc", "expires_in": 60, "token_type": "Bearer" }).to_string()
}

/// Keycloak's user search.
async fn users(uri: axum::http::Uri) -> String {
    let found = uri.query() == Some("username=alice&exact=true");
    let alice = json!({ "id": "7d3c", "username": "alice", "enabled": true });
    if found { json!([alice]).to_string() } else { json!([]).to_string() }
}

async fn logout(State(server): Shared) -> StatusCode {
    match server.end() {
        StatusCode::OK => StatusCode::NO_CONTENT,
        other => other,
    }
}

/// Keycloak's session list.
async fn sessions(State(server): Shared) -> String {
    let one = json!({ "id": "s", "username": "alice", "userId": "7d3c", "start": 1 });
    let live = server.active.load(Ordering::SeqCst);
    if live { json!([one]).to_string() } else { "[]".to_owned() }
}

async fn okta(State(server): Shared, uri: axum::http::Uri) -> StatusCode {
    assert_eq!(uri.query(), Some("oauthTokens=true&forgetDevices=true"));
    logout(State(server)).await
}

/// Graph's answer.
async fn graph(State(server): Shared) -> String {
    assert_eq!(server.end(), StatusCode::OK);
    json!({ "@odata.context": "$metadata#Edm.Boolean", "value": true }).to_string()
}

/// Auth0's lists, which differ in one name.
async fn auth0(State(server): Shared, uri: axum::http::Uri) -> String {
    let live = server.active.load(Ordering::SeqCst);
    let list = if live { json!([{ "id": "x" }]) } else { json!([]) };
    let is_sessions = uri.path().ends_with("/sessions");
    let field = if is_sessions { "sessions" } else { "tokens" };
    json!({ field: list, "next": null }).to_string()
}

async fn rig() -> (Rig, Service) {
    let rig = Rig::with(|config| {
        config.limits.provider_deadline = Duration::from_secs(3);
        config.limits.provider_settle = Duration::from_millis(600);
    })
    .await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    (rig, site)
}

fn oauth(addr: SocketAddr) -> Value {
    json!({
        "kind": "oauth", "client_id": "hub", "client_secret": "s3cret",
        "revocation_endpoint": format!("http://{addr}/revoke"),
        "introspection_endpoint": format!("http://{addr}/introspect"),
    })
}

async fn register(rig: &Rig, settings: Value) {
    let body = json!({ "name": "idp", "settings": settings, "audiences": ["site"] });
    let made = rig.post("/v1/connectors", &rig.admin, &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(!made.body.to_string().contains("s3cret"));
}

async fn hand_over(rig: &Rig, site: &Service, token: &str) -> u16 {
    let body = json!({ "subject": { "format": "opaque", "id": "alice" }, "token": token });
    rig.post("/v1/connectors/idp/grants", &site.token, &body).await.status.as_u16()
}

/// The provider's outcome, once it is final.
pub(crate) async fn outcome(rig: &Rig, txn: &Txn) -> Target {
    let began = Instant::now();
    loop {
        let targets = rig.txn(txn).await.targets;
        let found = targets.into_iter().find(|target| target.kind == "identity-provider").unwrap();
        if found.outcome.is_final() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "never final: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn said(target: &Target) -> &str {
    target.detail.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_token_is_revoked_and_the_provider_verified_only_when_introspection_says_inactive() {
    let (rig, site) = rig().await;
    let server = Server::new();
    // Two failures first: they are tried again.
    server.failures.store(2, Ordering::SeqCst);
    register(&rig, oauth(server.start().await)).await;
    assert_eq!(hand_over(&rig, &site, "refresh-of-alice").await, 204);
    let done = rig.sign_out("alice").await;
    assert_eq!(done.outcome, Outcome::Requested, "nothing is known of the provider yet");
    let target = outcome(&rig, done.txn.as_ref().unwrap()).await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("introspection says inactive"), "{target:?}");
    assert!(said(&target).contains("not covered: the provider's own sign-in session"));
    assert_eq!(server.asked.load(Ordering::SeqCst), 3);
    // Neither credential nor token is in the record or in its audit.
    let record = std::fs::read(rig.data.path().join("hub.db")).unwrap();
    let log = std::fs::read(rig.data.path().join("hub.db-wal")).unwrap_or_default();
    for secret in [&b"s3cret"[..], b"refresh-of-alice"] {
        for bytes in [&record, &log] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret));
        }
    }
    let file = std::fs::read_to_string(rig.data.path().join("connectors")).unwrap();
    assert!(!file.contains("s3cret") && !file.contains("refresh-of-alice"), "sealed");
    // The record says when what was revoked was refused, and what stays, as the target does.
    let state = rig.txn(done.txn.as_ref().unwrap()).await;
    assert!(target.rejected_after_ms.is_some_and(|ms| ms >= 750), "two pauses: {target:?}");
    let places: Vec<_> = state.residual.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places, ["idp"; 3], "{:?}", state.residual);
    assert!(state.residual[0].what.contains("sign-in session"), "{:?}", state.residual);
}

#[tokio::test]
async fn a_provider_that_says_yes_and_does_nothing_is_partial() {
    let (rig, site) = rig().await;
    let server = Server::new();
    server.works.store(false, Ordering::SeqCst);
    register(&rig, oauth(server.start().await)).await;
    hand_over(&rig, &site, "t").await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial);
    assert!(said(&target).contains("still accepted: introspection says active"), "{target:?}");
}

#[tokio::test]
async fn expired_credentials_and_nothing_handed_over_are_partial_and_say_so() {
    let (rig, site) = rig().await;
    let server = Server::new();
    server.refuses.store(true, Ordering::SeqCst);
    register(&rig, oauth(server.start().await)).await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial);
    assert!(said(&target).contains("no relying service handed over a token"), "{target:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    hand_over(&rig, &site, "t").await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial);
    assert!(said(&target).contains("401"), "{target:?}");
    assert!(said(&target).contains("renew the credentials: have the authorization"), "{target:?}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_again_after_a_restart() {
    let (rig, site) = rig().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    register(&rig, oauth(addr)).await;
    hand_over(&rig, &site, "t").await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let rig = rig.restart(|_| {}).await;
    let listener = TcpListener::bind(addr).await.unwrap();
    Server::new().serve(listener).await;
    assert_eq!(outcome(&rig, &txn).await.outcome, Outcome::Verified);
}

#[tokio::test]
async fn a_provider_that_stays_down_is_unreachable_after_the_deadline() {
    let (rig, site) = rig().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    register(&rig, oauth(addr)).await;
    hand_over(&rig, &site, "t").await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Unreachable);
    assert!(said(&target).contains("was not answered at all"), "{target:?}");
}

/// Recorded shapes of Keycloak's admin interface.
#[tokio::test]
async fn keycloak_is_verified_when_it_lists_no_session_and_partial_for_an_unknown_user() {
    let (rig, site) = rig().await;
    site.register(&rig, "bob", "s2").await;
    let server = Server::new();
    let addr = server.start().await;
    let settings = json!({
        "kind": "keycloak", "url": format!("http://{addr}"), "realm": "corp",
        "client_id": "hub", "client_secret": "s3cret",
    });
    register(&rig, settings).await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("lists no session"), "{target:?}");
    let done = rig.sign_out("bob").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial);
    assert!(said(&target).contains("knows no such user"), "{target:?}");
}

/// Recorded shape of Okta's users interface.
#[tokio::test]
async fn okta_is_never_verified_for_it_offers_nothing_to_look_at() {
    let (rig, _site) = rig().await;
    let server = Server::new();
    let url = format!("http://{}", server.start().await);
    register(&rig, json!({ "kind": "okta", "url": url, "token": "s3cret" })).await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial);
    assert!(said(&target).contains("Okta ended the user's sessions"), "{target:?}");
    assert!(said(&target).contains("not covered: sessions that applications keep"), "{target:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

/// Recorded shape of Microsoft Graph.
#[tokio::test]
async fn entra_is_never_verified_and_names_its_lag() {
    let (rig, _site) = rig().await;
    let server = Server::new();
    let url = format!("http://{}", server.start().await);
    let settings = json!({
        "kind": "entra", "login_url": url, "graph_url": url, "scope": "graph/.default",
        "tenant": "corp", "client_id": "hub", "client_secret": "s3cret",
    });
    register(&rig, settings).await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial);
    assert!(said(&target).contains("Entra revoked"), "{target:?}");
    assert!(said(&target).contains("(up to 15 minutes)"), "{target:?}");
}

/// Shapes of Auth0's management interface, written to its reference.
#[tokio::test]
async fn auth0_is_verified_when_it_lists_neither_session_nor_refresh_token() {
    let (rig, _site) = rig().await;
    let server = Server::new();
    let url = format!("http://{}", server.start().await);
    let settings = json!({
        "kind": "auth0", "url": url, "audience": "api", "client_id": "hub",
        "client_secret": "s3cret",
    });
    register(&rig, settings).await;
    let done = rig.sign_out("alice").await;
    let target = outcome(&rig, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("no session and no refresh token"), "{target:?}");
}

#[tokio::test]
async fn a_preview_names_what_cannot_be_ended_and_asks_no_provider() {
    let (rig, _site) = rig().await;
    let server = Server::new();
    register(&rig, oauth(server.start().await)).await;
    let body = json!({ "subject": "alice", "preview": true });
    let shown: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &body).await.read();
    assert!(shown.cannot.iter().any(|gap| gap.what.contains("sign-in session")), "{shown:?}");
    assert!(shown.cannot.iter().all(|gap| gap.place == "idp" && !gap.until.is_empty()));
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn refuses_far_addresses_unknown_settings_and_strangers() {
    let (rig, site) = rig().await;
    let other = rig.service("other").await;
    for (settings, why) in [
        (json!({ "kind": "okta", "url": "https://10.0.0.1", "token": "t" }), "private network"),
        (json!({ "kind": "okta", "url": "http://10.0.0.1", "token": "t" }), "by https"),
        (json!({ "kind": "okta", "url": "http://127.0.0.1:1", "token": "t", "x": 1 }), "unknown"),
        (json!({ "kind": "nobody" }), "unknown variant"),
    ] {
        let body = json!({ "name": "idp", "settings": settings });
        let refused = rig.post("/v1/connectors", &rig.admin, &body).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.to_string().contains(why), "{}", refused.body);
    }
    assert_eq!(hand_over(&rig, &site, "t").await, 404);
    register(&rig, oauth("127.0.0.1:1".parse().unwrap())).await;
    assert_eq!(hand_over(&rig, &other, "t").await, 404);
    assert_eq!(hand_over(&rig, &site, "").await, 400);
    let list = answer(rig.http.get(rig.url("/v1/connectors")).bearer_auth(&site.token)).await;
    assert_eq!(list.status, 403);
    let list = rig.get("/v1/connectors", &rig.admin).await;
    assert_eq!(list.body[0]["name"], "idp");
    assert!(!list.body.to_string().contains("s3cret"));
}
