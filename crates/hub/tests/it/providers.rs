//! Each kind of connector against a stand-in on loopback that answers in recorded shapes, written to
//! the vendor's reference; none of these was run against the vendor.
//!
//! It refuses to test one kind's failures only: each of them goes through the same bad answers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use exeunt_api::{SignOutResponse, Target, TxnState, path};
use exeunt_domain::receipt::NotCovered;
use exeunt_domain::{Outcome, Proof, SessionKind, Timestamp, Verdict};
use serde_json::{Value, json};

use crate::connectors::{outcome, said};
use crate::rig::{Rig, Service};
use crate::stand::{Asked, Say, Shelf, Stand};

const KINDS: [&str; 15] = [
    "oauth",
    "global-revocation",
    "keycloak",
    "okta",
    "entra",
    "auth0",
    "google",
    "authentik",
    "zitadel",
    "kratos",
    "hydra",
    "github",
    "gitlab",
    "slack",
    "aws",
];

/// Settings of a kind whose every address is `url`.
fn settings(kind: &str, url: &str) -> Value {
    let mut all = match kind {
        "oauth" => json!({
            "revocation_endpoint": format!("{url}/revoke"),
            "introspection_endpoint": format!("{url}/introspect"),
            "client_id": "hub", "client_secret": "s3cret",
        }),
        "global-revocation" => json!({ "endpoint": format!("{url}/gtr"), "client_id": "hub" }),
        "keycloak" => json!({
            "url": url, "realm": "corp", "client_id": "hub", "client_secret": "s3cret",
        }),
        "entra" => json!({
            "login_url": url, "graph_url": url, "scope": "graph/.default", "tenant": "corp",
            "client_id": "hub", "client_secret": "s3cret",
        }),
        "auth0" => json!({
            "url": url, "audience": "api", "client_id": "hub", "client_secret": "s3cret",
        }),
        "google" => json!({
            "url": url, "login_url": url, "service_account": "hub@corp.example",
            "administrator": "root@corp.example", "private_key": crate::idp::key().to_pem(),
        }),
        "kratos" => json!({ "url": url }),
        "hydra" => json!({ "url": url, "issuer": "https://hydra.example" }),
        "github" => json!({ "url": url, "organization": "corp", "token": "s3cret" }),
        "slack" => json!({ "url": url, "token": "s3cret", "team": "T1" }),
        "aws" => json!({
            "identity_store_url": url, "organizations_url": url, "region": "eu-west-1",
            "identity_store_id": "d-1", "policy_id": "p-1", "access_key_id": "AKID",
            "secret_access_key": "s3cret",
        }),
        "okta" | "authentik" | "zitadel" | "gitlab" => json!({ "url": url, "token": "s3cret" }),
        other => panic!("{other} has no settings here"),
    };
    all["kind"] = kind.into();
    all
}

struct Scene {
    rig: Rig,
    site: Service,
}

impl Scene {
    async fn new() -> Self {
        let rig = Rig::with(|config| {
            config.limits.provider_deadline = Duration::from_secs(3);
            config.limits.provider_settle = Duration::from_millis(600);
            config.limits.provider_listing = Duration::from_millis(500);
        })
        .await;
        // Making a key takes long without optimisation.
        let key = rig.data.path().join("ssf-key");
        std::fs::write(&key, crate::idp::STRANGER.to_pem()).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let site = rig.service("site").await;
        site.register(&rig, "alice", "s1").await;
        Self { rig, site }
    }

    async fn add(&self, name: &str, settings: &Value) {
        let body = json!({ "name": name, "settings": settings, "audiences": ["site"] });
        let made = self.rig.post("/v1/connectors", &self.rig.admin, &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert!(!made.body.to_string().contains("s3cret"), "{}", made.body);
    }

    async fn hand_over(&self, token: &str) {
        let body = json!({ "subject": { "format": "opaque", "id": "alice" }, "token": token });
        let kept = self.rig.post("/v1/connectors/idp/grants", &self.site.token, &body).await;
        assert_eq!(kept.status, 204, "{}", kept.body);
    }

    /// Signs alice out; how the one provider ended, and the whole transaction.
    async fn sign_out(&self) -> (Target, TxnState) {
        let txn = self.rig.sign_out("alice").await.txn.unwrap();
        let target = outcome(&self.rig, &txn).await;
        (target, self.rig.txn(&txn).await)
    }

    async fn preview(&self) -> SignOutResponse {
        let body = json!({ "subject": "alice", "preview": true });
        self.rig.post(path::SIGN_OUT, &self.rig.admin, &body).await.read()
    }

    async fn test(&self) -> Value {
        let tried = self.rig.post("/v1/connectors/idp/test", &self.rig.admin, &json!({})).await;
        assert_eq!(tried.status, 200, "{}", tried.body);
        tried.body
    }

    async fn end(self) {
        self.rig.hub.stop().await;
    }
}

/// A stand-in of a kind, and its settings; a token to revoke is handed over where one is needed.
async fn facing(
    scene: &Scene,
    kind: &str,
    tell: impl Fn(&Asked) -> Say + Send + Sync + 'static,
) -> Stand {
    let stand = Stand::start(tell).await;
    scene.add("idp", &settings(kind, &stand.url)).await;
    if kind == "oauth" {
        scene.hand_over("t").await;
    }
    stand
}

#[tokio::test]
async fn refused_credentials_are_partial_and_say_how_to_renew_them_for_every_kind() {
    let scene = Scene::new().await;
    for kind in KINDS {
        let stand = facing(&scene, kind, move |_| match kind {
            "aws" => Say::Error(400, json!({ "__type": "UnrecognizedClientException" })),
            "slack" => Say::Json(json!({ "ok": false, "error": "token_expired" })),
            _ => Say::Status(401),
        })
        .await;
        let (target, _) = scene.sign_out().await;
        assert_eq!(target.outcome, Outcome::Partial, "{kind}: {target:?}");
        assert!(said(&target).contains("renew the credentials: "), "{kind}: {target:?}");
        assert_eq!(stand.asked().len(), 1, "{kind} is not tried again: {:?}", stand.asked());
        let tried = scene.test().await;
        assert_eq!(tried["works"], false, "{kind}");
        assert!(tried["said"].as_str().unwrap().contains("renew the credentials"), "{tried}");
    }
    scene.end().await;
}

#[tokio::test]
async fn an_answer_that_is_no_json_verifies_nothing_for_any_kind() {
    let scene = Scene::new().await;
    for kind in KINDS {
        let _stand = facing(&scene, kind, |_| Say::Text("<html>sign in</html>")).await;
        let (target, _) = scene.sign_out().await;
        assert_eq!(target.outcome, Outcome::Partial, "{kind}: {target:?}");
        let says = ["is no JSON", "offers nothing to look at", "offers no list"];
        assert!(says.iter().any(|say| said(&target).contains(say)), "{kind}: {target:?}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_provider_that_never_answers_is_unreachable_and_delays_no_preview_for_any_kind() {
    let scene = Scene::new().await;
    let mut stands = Vec::new();
    for kind in KINDS {
        let stand = Stand::start(|_| Say::Never).await;
        scene.add(kind, &settings(kind, &stand.url)).await;
        stands.push(stand);
    }
    let body = json!({ "subject": { "format": "opaque", "id": "alice" }, "token": "t" });
    let kept = scene.rig.post("/v1/connectors/oauth/grants", &scene.site.token, &body).await;
    assert_eq!(kept.status, 204);
    let began = Instant::now();
    let shown = scene.preview().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let not_listed: Vec<_> = shown.not_listed.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(not_listed, ["auth0", "authentik", "keycloak", "kratos", "slack", "zitadel"]);
    assert!(shown.not_listed[0].why.contains("no answer within 500 ms"), "{shown:?}");
    let txn = scene.rig.sign_out("alice").await.txn.unwrap();
    loop {
        let state = scene.rig.txn(&txn).await;
        let mine = state.targets.iter().filter(|target| target.kind == "identity-provider");
        if mine.clone().all(|target| target.outcome.is_final()) {
            assert_eq!(mine.clone().count(), KINDS.len());
            for target in mine {
                assert_eq!(target.outcome, Outcome::Unreachable, "{target:?}");
                assert!(said(target).contains("given up after 3 s"), "{target:?}");
            }
            let whole = "everything of the person at this provider";
            let lost = state.residual.iter().filter(|one| one.what == whole);
            assert_eq!(lost.count(), KINDS.len(), "{:?}", state.residual);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{state:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_as_long_as_it_asks() {
    let scene = Scene::new().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    facing(&scene, "okta", move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Say::Wait(429, 1),
        1 => Say::Wait(403, 0),
        _ => Say::Status(204),
    })
    .await;
    let began = Instant::now();
    let (target, _) = scene.sign_out().await;
    assert!(said(&target).contains("Okta ended"), "{target:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    // One that asks for longer than there is time is not waited for.
    facing(&scene, "okta", |_| Say::Wait(429, 600)).await;
    let began = Instant::now();
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Unreachable, "{target:?}");
    assert!(said(&target).contains("asks to wait 600 s"), "{target:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    scene.end().await;
}

/// authentik's interface, over a shelf of sessions.
fn authentik(sessions: &Shelf, asked: &Asked) -> Say {
    assert_eq!(asked.header("authorization"), "Bearer s3cret");
    let at = asked.path.strip_prefix("/api/v3/").unwrap();
    let page =
        |results: Value| Say::Json(json!({ "pagination": { "next": 0 }, "results": results }));
    match (asked.method.as_str(), at) {
        ("GET", "core/users/") => match asked.query.get("username").map(String::as_str) {
            Some("alice") => page(json!([{ "pk": 7, "username": "alice", "uuid": "u" }])),
            Some(_) => page(json!([])),
            None => page(json!([{ "pk": 1 }])),
        },
        ("GET", "core/authenticated_sessions/") => {
            assert_eq!(asked.query["user__username"], "alice");
            page(sessions.list(|uuid| {
                json!({
                    "uuid": uuid, "current": false, "user": 7, "last_ip": "192.0.2.7",
                    "last_used": "2026-11-30T20:00:00Z", "expires": "2026-12-14T20:00:00Z",
                    "user_agent": {
                        "user_agent": { "family": "Firefox" }, "os": { "family": "Linux" }
                    },
                })
            }))
        }
        ("GET", "oauth2/refresh_tokens/" | "oauth2/access_tokens/") => {
            assert_eq!(asked.query["user"], "7");
            page(json!([]))
        }
        ("DELETE", _) => {
            let uuid = at.strip_prefix("core/authenticated_sessions/").unwrap();
            sessions.take(uuid.trim_end_matches('/'))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn authentik_lists_ends_and_is_verified_when_nothing_is_listed() {
    let scene = Scene::new().await;
    let sessions = Shelf::of(&["a", "b", "c"]);
    let held = sessions.clone();
    facing(&scene, "authentik", move |asked| authentik(&held, asked)).await;
    assert_eq!(scene.test().await["works"], true);
    let shown = scene.preview().await;
    assert_eq!(shown.federated.len(), 3, "{shown:?}");
    let one = &shown.federated[0];
    assert_eq!((one.kind, one.place.as_str()), (SessionKind::Federated, "idp"));
    assert_eq!(one.label, "Firefox, Linux, 192.0.2.7");
    assert_eq!(one.last_seen.unwrap().as_secs(), 1_796_068_800);
    assert!(shown.not_listed.is_empty() && !sessions.is_empty(), "a preview ends nothing");
    let (target, state) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("ended 3 sessions, 0 refresh tokens"), "{target:?}");
    assert!(target.rejected_after_ms.is_some(), "{target:?}");
    assert!(sessions.is_empty());
    assert_eq!(state.residual.len(), 2, "{:?}", state.residual);
    scene.end().await;
}

#[tokio::test]
async fn one_of_three_sessions_that_stays_is_named_and_the_provider_is_partial() {
    let scene = Scene::new().await;
    let sessions = Shelf::of(&["a", "b", "c"]);
    let stand = facing(&scene, "authentik", move |asked| {
        if asked.method == "DELETE" && asked.path.ends_with("/b/") {
            return Say::Status(503);
        }
        authentik(&sessions, asked)
    })
    .await;
    let (target, state) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Partial, "{target:?}");
    // Tried again, and what the first try ended is not forgotten.
    assert!(said(&target).contains("2 of 3 sessions ended; not b: "), "{target:?}");
    assert!(said(&target).contains("503"), "{target:?}");
    let gone = stand.count("DELETE /api/v3/core/authenticated_sessions/a/");
    let tried = stand.count("DELETE /api/v3/core/authenticated_sessions/b/");
    assert!(gone == 1 && tried > 1, "{:?}", stand.asked());
    let left = "what the provider did not end, or was not seen to end";
    assert!(state.residual.iter().any(|one| one.what == left), "{:?}", state.residual);
    scene.end().await;
}

#[tokio::test]
async fn zitadel_ends_each_session_of_the_user_and_nobody_elses() {
    let scene = Scene::new().await;
    let sessions = Shelf::of(&["218", "219"]);
    let held = sessions.clone();
    let stand = facing(&scene, "zitadel", move |asked| {
        assert_eq!(asked.header("authorization"), "Bearer s3cret");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/v2/users") => {
                assert_eq!(asked.json()["queries"][0]["loginNameQuery"]["loginName"], "alice");
                Say::Json(json!({ "result": [{ "userId": "42", "username": "alice" }] }))
            }
            ("POST", "/v2/sessions/search") => {
                let mut all = held.list(|id| {
                    json!({
                        "id": id, "creationDate": "2026-11-30T20:00:00.5Z",
                        "factors": { "user": { "id": "42", "loginName": "alice" } },
                        "userAgent": { "description": "Firefox", "ip": "192.0.2.7" },
                    })
                });
                let other = json!({ "id": "9", "factors": { "user": { "id": "43" } } });
                all.as_array_mut().unwrap().push(other);
                Say::Json(json!({ "details": { "totalResult": "3" }, "sessions": all }))
            }
            ("DELETE", at) => {
                held.take(at.strip_prefix("/v2/sessions/").unwrap());
                Say::Json(json!({ "details": {} }))
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(scene.preview().await.federated.len(), 2);
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("ZITADEL ended 2 sessions"), "{target:?}");
    assert_eq!(stand.count("DELETE /v2/sessions/9"), 0);
    scene.end().await;
}

#[tokio::test]
async fn kratos_ends_an_identitys_sessions_and_is_verified_by_its_list() {
    let scene = Scene::new().await;
    let sessions = Shelf::of(&["s1"]);
    let held = sessions.clone();
    facing(&scene, "kratos", move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/admin/identities") => match asked.query.get("credentials_identifier") {
            Some(name) if name == "alice" => Say::Json(json!([{ "id": "i-1", "state": "active" }])),
            Some(_) | None => Say::Json(json!([])),
        },
        ("GET", "/admin/identities/i-1/sessions") => Say::Json(held.list(|id| {
            json!({
                "id": id, "active": true, "authenticated_at": "2026-11-30T20:00:00Z",
                "devices": [{ "ip_address": "192.0.2.7", "user_agent": "Firefox" }],
            })
        })),
        ("DELETE", "/admin/identities/i-1/sessions") => {
            held.clear();
            Say::Status(204)
        }
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(scene.preview().await.federated[0].label, "Firefox, 192.0.2.7");
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    scene.end().await;
}

#[tokio::test]
async fn hydra_is_asked_for_both_and_is_never_verified() {
    let scene = Scene::new().await;
    let stand =
        facing(&scene, "hydra", |asked| match (asked.method.as_str(), asked.path.as_str()) {
            ("DELETE", "/admin/oauth2/auth/sessions/login") => Say::Status(204),
            ("DELETE", "/admin/oauth2/auth/sessions/consent") => {
                assert_eq!(
                    (asked.query["subject"].as_str(), asked.query["all"].as_str()),
                    ("alice", "true")
                );
                Say::Status(204)
            }
            ("GET", "/admin/oauth2/auth/sessions/consent") => Say::Json(json!([])),
            ("POST", "/admin/oauth2/introspect") => {
                assert_eq!(asked.form("token"), "t");
                Say::Json(json!({ "active": false }))
            }
            other => panic!("{other:?}"),
        })
        .await;
    scene.hand_over("t").await;
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Partial, "{target:?}");
    assert!(
        said(&target).contains("lists no consent any more, and no login sessions"),
        "{target:?}"
    );
    assert_eq!(stand.count("POST /admin/oauth2/introspect"), 1);
    scene.end().await;
}

#[tokio::test]
async fn google_is_asked_in_an_administrators_name_and_is_never_verified() {
    let scene = Scene::new().await;
    let grants = Shelf::of(&["app-1", "app-2"]);
    let stand = facing(&scene, "google", move |asked| {
        if asked.path == "/token" {
            assert_eq!(asked.form("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
            assert_eq!(asked.form("assertion").split('.').count(), 3);
            return Say::Json(json!({ "access_token": "ya29", "expires_in": 3599 }));
        }
        assert_eq!(asked.header("authorization"), "Bearer ya29");
        let at = asked.path.strip_prefix("/admin/directory/v1/users/alice/").unwrap();
        match (asked.method.as_str(), at) {
            ("POST", "signOut") => Say::Status(204),
            ("GET", "tokens") => Say::Json(json!({
                "kind": "admin#directory#tokenList",
                "items": grants.list(|id| json!({ "clientId": id, "displayText": id })),
            })),
            // Google leaves out a list that has nothing.
            ("GET", "asps") => Say::Json(json!({ "kind": "admin#directory#aspList" })),
            ("DELETE", _) => grants.take(at.strip_prefix("tokens/").unwrap()),
            other => panic!("{other:?}"),
        }
    })
    .await;
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Partial, "{target:?}");
    assert!(said(&target).contains("2 OAuth grants and 0 app passwords deleted"), "{target:?}");
    assert!(said(&target).contains("it lists no sign-ins to look at"), "{target:?}");
    assert_eq!(stand.count("DELETE /admin/directory/v1/users/alice/tokens/app-1"), 1);
    // A key that cannot sign is refused before it is kept.
    let mut wrong = settings("google", &stand.url);
    wrong["private_key"] = "none".into();
    let body = json!({ "name": "idp", "settings": wrong });
    let refused = scene.rig.post("/v1/connectors", &scene.rig.admin, &body).await;
    assert!(refused.body.to_string().contains("private_key: "), "{}", refused.body);
    scene.end().await;
}

#[tokio::test]
async fn github_ends_authorizations_and_what_was_handed_over_and_tries_it() {
    let scene = Scene::new().await;
    let held = Shelf::of(&["161", "162"]);
    let stand =
        facing(&scene, "github", move |asked| match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/orgs/corp/credential-authorizations") => {
                assert_eq!(asked.header("authorization"), "Bearer s3cret");
                Say::Json(held.list(|id| {
                    let id: u64 = id.parse().unwrap();
                    json!({ "login": "alice", "credential_id": id, "credential_type": "SSH key" })
                }))
            }
            ("POST", "/credentials/revoke") => {
                assert_eq!(asked.header("authorization"), "", "GitHub refuses the call with one");
                assert_eq!(asked.json(), json!({ "credentials": ["ghp_x"] }));
                Say::Status(202)
            }
            ("GET", "/user") => {
                assert_eq!(asked.header("authorization"), "Bearer ghp_x");
                Say::Status(401)
            }
            ("DELETE", at) => {
                held.take(at.strip_prefix("/orgs/corp/credential-authorizations/").unwrap())
            }
            other => panic!("{other:?}"),
        })
        .await;
    scene.hand_over("ghp_x").await;
    let (target, state) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("ended 2 credential authorizations"), "{target:?}");
    assert_eq!(stand.count("GET /user"), 1);
    let browser = state.residual.iter().find(|one| one.what.contains("browser")).unwrap();
    let (lapses, at) = (browser.lapses.unwrap(), target.at);
    assert!(lapses > at && lapses < at.plus_ms(25 * 3_600_000), "{browser:?}");
    scene.end().await;
}

#[tokio::test]
async fn gitlab_revokes_a_users_own_tokens_and_no_other_users() {
    let scene = Scene::new().await;
    let held = Shelf::of(&["5", "6"]);
    let stand = facing(&scene, "gitlab", move |asked| {
        if asked.path == "/api/v4/user" {
            return Say::Status(401);
        }
        assert_eq!(asked.header("private-token"), "s3cret");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/api/v4/users") => Say::Json(json!([{ "id": 3, "username": "alice" }])),
            ("GET", "/api/v4/personal_access_tokens") => {
                assert_eq!(asked.query["state"], "active");
                let token = |id: &str| {
                    let id: u64 = id.parse().unwrap();
                    json!({ "id": id, "user_id": 3, "active": true, "revoked": false })
                };
                let mut all = held.list(token);
                let other = json!({ "id": 9, "user_id": 4, "active": true, "revoked": false });
                all.as_array_mut().unwrap().push(other);
                Say::Json(all)
            }
            ("DELETE", "/api/v4/admin/token") => {
                assert_eq!(asked.json()["token"], "glpat-x");
                Say::Status(204)
            }
            ("DELETE", at) => {
                held.take(at.strip_prefix("/api/v4/personal_access_tokens/").unwrap())
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    scene.hand_over("glpat-x").await;
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(
        said(&target).contains("2 personal access tokens and 1 that were handed"),
        "{target:?}"
    );
    assert_eq!(stand.count("DELETE /api/v4/personal_access_tokens/9"), 0);
    scene.end().await;
}

#[tokio::test]
async fn slack_is_looked_at_until_what_it_queued_is_done() {
    let scene = Scene::new().await;
    let looks = AtomicUsize::new(0);
    facing(&scene, "slack", move |asked| {
        assert_eq!(asked.header("authorization"), "Bearer s3cret");
        match asked.path.as_str() {
            "/api/admin.users.session.resetBulk" => {
                assert_eq!(asked.json()["user_ids"], json!(["alice"]));
                Say::Json(json!({ "ok": true }))
            }
            "/api/admin.users.session.list" => {
                assert_eq!(
                    (asked.form("user_id"), asked.form("team_id")),
                    ("alice".into(), "T1".into())
                );
                let device = json!({ "os": "OS X", "ip": "192.0.2.7", "device_hardware": "Intel" });
                let one = json!({ "user_id": "alice", "session_id": 111, "created": device });
                let left = looks.fetch_add(1, Ordering::SeqCst) < 2;
                Say::Json(
                    json!({ "ok": true, "active_sessions": if left { vec![one] } else { vec![] } }),
                )
            }
            other => panic!("{other}"),
        }
    })
    .await;
    let shown = scene.preview().await;
    assert_eq!(shown.federated[0].label, "Intel, OS X, 192.0.2.7", "{shown:?}");
    let (target, _) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Verified, "{target:?}");
    assert!(said(&target).contains("Slack queued"), "{target:?}");
    assert!(target.rejected_after_ms.unwrap() >= 250, "one pause: {target:?}");
    scene.end().await;
}

#[tokio::test]
async fn aws_denies_the_person_in_a_policy_and_is_never_verified() {
    let scene = Scene::new().await;
    let content = Arc::new(std::sync::Mutex::new(
        json!({ "Version": "2012-10-17", "Statement": [{ "Sid": "Base", "Effect": "Deny" }] })
            .to_string(),
    ));
    let held = Arc::clone(&content);
    facing(&scene, "aws", move |asked| {
        let signed = asked.header("authorization");
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{signed}");
        let fits = if asked.header("x-amz-target").starts_with("AWSIdentityStore") {
            signed.contains("/eu-west-1/identitystore/")
        } else {
            signed.contains("/us-east-1/organizations/")
        };
        assert!(fits && asked.path == "/", "{signed}");
        match asked.header("x-amz-target") {
            "AWSIdentityStore.GetUserId" => {
                let attribute = &asked.json()["AlternateIdentifier"]["UniqueAttribute"];
                assert_eq!(attribute["AttributeValue"], "alice");
                Say::Json(json!({ "IdentityStoreId": "d-1", "UserId": "9067-aa" }))
            }
            "AWSOrganizationsV20161128.DescribePolicy" => {
                Say::Json(json!({ "Policy": { "Content": *held.lock().unwrap() } }))
            }
            "AWSOrganizationsV20161128.UpdatePolicy" => {
                *held.lock().unwrap() = asked.json()["Content"].as_str().unwrap().to_owned();
                Say::Json(json!({ "Policy": {} }))
            }
            other => panic!("{other}"),
        }
    })
    .await;
    let (target, state) = scene.sign_out().await;
    assert_eq!(target.outcome, Outcome::Partial, "{target:?}");
    assert!(said(&target).contains("the policy denies the user"), "{target:?}");
    let policy: Value = serde_json::from_str(&content.lock().unwrap()).unwrap();
    assert_eq!(policy["Statement"][0]["Sid"], "Base");
    let condition = &policy["Statement"][1]["Condition"];
    assert_eq!(condition["StringEquals"]["identitystore:userId"], "9067-aa");
    let portal = state.residual.iter().find(|one| one.what.contains("access portal")).unwrap();
    assert!(portal.lapses.is_some(), "{portal:?}");
    scene.end().await;
}

/// Global token revocation, out of one hub and into another: each believes the other's real key.
#[tokio::test]
async fn one_hub_orders_a_sign_out_at_another() {
    let scene = Scene::new().await;
    let there = Rig::new().await;
    let site = there.service("site").await;
    site.register(&there, "alice@corp.example", "far").await;
    let here = &scene.rig;
    scene.site.register(here, "alice@corp.example", "near").await;
    let endpoint = format!("{}/v1/global-token-revocation", there.hub.url);
    let settings =
        json!({ "kind": "global-revocation", "endpoint": endpoint, "client_id": "hub-a" });
    scene.add("idp", &settings).await;
    // Before the other side knows this hub, it says so, and how to mend it.
    let tried = scene.test().await;
    assert!(tried["said"].as_str().unwrap().contains("have the party take this hub's"), "{tried}");
    let body = json!({
        "issuer": here.hub.issuer, "aud": "hub-b", "jwks": here.get(path::JWKS, "").await.body,
        "may_speak_about": { "issuers": [], "domains": ["corp.example"] },
    });
    let made = there.post("/v1/transmitters", &there.admin, &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        there.get("/v1/sessions?subject=alice@corp.example", &there.admin).await.body["sessions"]
            [0]["status"],
        "active"
    );
    let done = here.sign_out("alice@corp.example").await;
    let target = outcome(here, &done.txn.unwrap()).await;
    assert_eq!(target.outcome, Outcome::Partial, "begun is not done: {target:?}");
    assert!(said(&target).contains("began to revoke"), "{target:?}");
    let far = there.get("/v1/sessions?subject=alice@corp.example", &there.admin).await;
    assert_eq!(far.body["sessions"][0]["status"], "revoked", "{}", far.body);
    there.hub.stop().await;
    scene.end().await;
}

#[tokio::test]
async fn a_removed_provider_is_no_target_any_more_and_its_secrets_are_gone() {
    let scene = Scene::new().await;
    let (rig, stand) = (&scene.rig, Stand::start(|_| Say::Status(204)).await);
    scene.add("idp", &settings("okta", &stand.url)).await;
    assert_eq!(rig.delete("/v1/connectors/idp", &rig.admin).await.status, 204);
    let again = rig.delete("/v1/connectors/idp", &rig.admin).await;
    assert_eq!((again.status.as_u16(), again.code()), (404, "not_found"));
    let done = rig.sign_out("alice").await;
    assert_eq!(done.outcome, Outcome::Contained, "nobody but the site is waited for");
    assert!(stand.asked().is_empty());
    assert_eq!(rig.get("/v1/connectors", &rig.admin).await.body, json!([]));
    assert_eq!(rig.audited("connector-removed").await.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn without_a_key_no_provider_is_registered_and_the_hub_says_what_to_do() {
    let rig = Rig::with(|config| config.connectors_key = None).await;
    let body = json!({ "name": "idp", "settings": settings("okta", "http://127.0.0.1:1") });
    let refused = rig.post("/v1/connectors", &rig.admin, &body).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "no_connectors_key"));
    assert!(refused.body["error"]["hint"].as_str().unwrap().contains("--connectors-key"));
    // With one it is, and then the hub does not start without it.
    let rig = rig.restart(|_| {}).await;
    assert_eq!(rig.post("/v1/connectors", &rig.admin, &body).await.status, 201);
    let Rig { hub, data, keys: _keys, .. } = rig;
    hub.stop().await;
    let refused = exeunt_hub::start(crate::rig::config(data.path())).await.unwrap_err();
    assert!(refused.to_string().contains("--connectors-key"), "{refused}");
}

#[tokio::test]
async fn what_a_device_did_not_reach_is_in_the_statement_of_its_transaction() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    assert_eq!(device.begin(&rig, "alice", "c1", Proof::Account).await.status, 202);
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let before = rig.txn(&txn).await.residual;
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(
        (before[0].place.as_str(), before[0].until.as_str()),
        ("occ-07", "until it answers")
    );
    let mut body = device.receipt_body(&txn, Verdict::Gone);
    let until = Some(Timestamp(1_800_000_000_000));
    body.not_covered = vec![NotCovered { what: "a btrfs snapshot".into(), until }];
    assert_eq!(device.receipt(&rig, &body).await.status, 202);
    let state = rig.txn(&txn).await;
    assert_eq!(state.outcome, Outcome::Verified, "{state:?}");
    assert_eq!(state.residual.len(), 1, "{:?}", state.residual);
    assert_eq!(state.residual[0].what, "a btrfs snapshot");
    assert_eq!(state.residual[0].lapses, until);
    let rig = rig.restart(|_| {}).await;
    assert_eq!(rig.txn(&txn).await.residual, state.residual, "it lasts");
    rig.hub.stop().await;
}
