//! Forward-auth and introspection: what gateways and services in other languages ask.
//!
//! It refuses to test a gateway's own behaviour: that needs the real one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::Outcome;
use exeunt_hub::{forward_auth, introspect};
use exeunt_ssf::{Jwks, verify_jwt};
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, Service, answer};

struct Gateway<'a> {
    rig: &'a Rig,
    credential: String,
}

impl<'a> Gateway<'a> {
    fn of(rig: &'a Rig, site: &Service) -> Self {
        Self { rig, credential: format!("{}:{}", site.id, site.secret) }
    }

    async fn ask(&self, path: &str, cookie: &str) -> (u16, Option<String>) {
        let ask = self.rig.http.get(self.rig.url(path));
        let ask = ask.header("x-exeunt-gateway", &self.credential);
        let ask = ask.header("x-exeunt-session-in", "cookie sid").header("cookie", cookie);
        let answer = ask.send().await.unwrap();
        let subject = answer.headers().get("x-exeunt-subject");
        let subject = subject.map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), subject)
    }
}

#[tokio::test]
async fn a_gateway_is_told_whose_session_it_is_and_refused_after_the_sign_out() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    site.register(&rig, "bob", "s2").await;
    let gateway = Gateway::of(&rig, &site);
    let accepted = (204, Some("alice".to_owned()));
    assert_eq!(gateway.ask("/v1/forward-auth?aud=site", "sid=s1").await, accepted);
    // As Envoy asks, with the path of the request appended.
    assert_eq!(gateway.ask("/v1/forward-auth/", "sid=s1").await, accepted);
    assert_eq!(gateway.ask("/v1/forward-auth/a/b?aud=x&c", "sid=s1").await, accepted);
    let done = rig.sign_out("alice").await;
    for path in ["/v1/forward-auth", "/v1/forward-auth/a"] {
        assert_eq!(gateway.ask(path, "sid=s1").await, (401, None));
    }
    assert_eq!(gateway.ask("/v1/forward-auth", "sid=s2").await, (204, Some("bob".to_owned())));
    // A gateway that asks each time holds the revoke.
    let txn = rig.txn(&done.txn.unwrap()).await;
    assert_eq!(txn.outcome, Outcome::Verified);
}

#[tokio::test]
async fn a_gateway_refuses_strangers_and_its_own_wrong_settings() {
    let rig = Rig::new().await;
    let (site, other) = (rig.service("site").await, rig.service("other").await);
    site.register(&rig, "alice", "s1").await;
    let gateway = Gateway::of(&rig, &site);
    for cookie in ["", "sid=s9", "sid=s1; sid=s9", "other=s1"] {
        assert_eq!(gateway.ask("/v1/forward-auth", cookie).await, (401, None), "{cookie}");
    }
    assert_eq!(gateway.ask("/v1/forward-auth?aud=other", "sid=s1").await.0, 403);
    // Another service's credential finds nothing under the same id.
    assert_eq!(Gateway::of(&rig, &other).ask("/v1/forward-auth", "sid=s1").await.0, 401);
    let wrong = Gateway { rig: &rig, credential: format!("{}:wrong", site.id) };
    assert_eq!(wrong.ask("/v1/forward-auth", "sid=s1").await.0, 403);
    let none = rig.http.get(rig.url(forward_auth::PATH)).header("cookie", "sid=s1");
    assert_eq!(answer(none).await.status, 403);
}

async fn introspected(rig: &Rig, site: &Service, token: &str) -> Answer {
    let ask = rig.http.post(rig.url(introspect::PATH)).form(&[("token", token)]);
    answer(ask.basic_auth(&site.id, Some(&site.secret))).await
}

#[tokio::test]
async fn introspection_says_active_until_the_sign_out_and_nothing_of_others() {
    let rig = Rig::new().await;
    let (site, other) = (rig.service("site").await, rig.service("other").await);
    site.register(&rig, "alice", "s1").await;
    let live: Value = introspected(&rig, &site, "s1").await.read();
    assert_eq!(live["active"], true);
    assert_eq!((&live["sub"], &live["aud"]), (&json!("alice"), &json!("site")));
    let auth_time = live["auth_time"].as_u64().unwrap();
    assert!(auth_time > 1_000_000_000 && auth_time < 100_000_000_000, "in seconds");
    let inactive = json!({ "active": false });
    assert_eq!(introspected(&rig, &other, "s1").await.read::<Value>(), inactive);
    assert_eq!(introspected(&rig, &site, "s9").await.read::<Value>(), inactive);
    rig.sign_out("alice").await;
    assert_eq!(introspected(&rig, &site, "s1").await.read::<Value>(), inactive);
}

#[tokio::test]
async fn introspection_asks_who_is_asking() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let form = [("token", "s1"), ("client_id", site.id.as_str()), ("client_secret", "wrong")];
    let refused = answer(rig.http.post(rig.url(introspect::PATH)).form(&form)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error"]), (401, &json!("invalid_client")));
    let none = answer(rig.http.post(rig.url(introspect::PATH)).form(&[("x", "y")])).await;
    assert_eq!((none.status.as_u16(), &none.body["error"]), (400, &json!("invalid_request")));
    let bearer = rig.http.post(rig.url(introspect::PATH)).form(&[("token", "s1")]);
    assert_eq!(answer(bearer.bearer_auth(&site.token)).await.body, json!({ "active": false }));
}

#[tokio::test]
async fn a_signed_introspection_verifies_with_the_published_keys() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    let ask = rig.http.post(rig.url(introspect::PATH)).form(&[("token", "s1")]);
    let ask = ask.basic_auth(&site.id, Some(&site.secret));
    let answer = ask.header("accept", "application/token-introspection+jwt").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/token-introspection+jwt");
    let compact = answer.text().await.unwrap();
    let keys: Jwks = rig.get(exeunt_api::path::JWKS, "").await.read();
    let verified = |compact: &str| {
        let now = exeunt_hub::sequencer::now();
        let typ = "token-introspection+jwt";
        verify_jwt::<Value>(compact, &keys, typ, &site.id, now).unwrap_err().to_string()
    };
    // The verifier of client assertions looks at the signature first, and then misses `exp`, which
    // RFC 9701 §5 leaves out.
    assert!(verified(&compact).contains("exp"), "{}", verified(&compact));
    assert!(!verified(&compact.replace(".ey", ".eY")).contains("exp"));
    let claims = URL_SAFE_NO_PAD.decode(compact.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], json!(site.id));
    assert_eq!(claims["token_introspection"]["active"], true);
    assert_eq!(claims["token_introspection"]["sub"], "alice");
}
