//! A certified OpenID provider, and a sign-out that reaches it.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::time::Duration;

use exeunt_tests::gateway::LoneHub;
use exeunt_tests::provider::Provider;
use exeunt_tests::waiting;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn an_old_refresh_token_is_refused_by_a_real_provider_after_the_sign_out() {
    if let Some(why) = Provider::missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let op = Provider::start().unwrap();
    let hub = LoneHub::start().unwrap();
    let site = hub.service("site").unwrap();
    let settings = json!({
        "kind": "oauth", "client_id": op.client_id, "client_secret": op.client_secret,
        "revocation_endpoint": format!("{}/token/revocation", op.issuer),
        "introspection_endpoint": format!("{}/token/introspection", op.issuer),
        "token_endpoint": format!("{}/token", op.issuer),
    });
    let connector = json!({ "name": "op", "settings": settings, "audiences": ["site"] });
    hub.operate("/v1/connectors", &connector).unwrap();
    let mut tokens = Vec::new();
    for person in ["alice", "bob"] {
        let token = op.sign_in(person).unwrap();
        let subject = json!({ "format": "opaque", "id": person });
        let session = json!({
            "subject": subject, "session_id": format!("s-{person}"), "kind": "web",
            "auth_time": now_ms(),
        });
        hub.as_service(&site, "/v1/sessions", &session).unwrap();
        let grant = json!({ "subject": subject, "token": token });
        hub.as_service(&site, "/v1/connectors/op/grants", &grant).unwrap();
        tokens.push(token);
    }
    // The control: it works before.
    assert_eq!(op.refresh(&tokens[0]).unwrap().0, 200);
    assert!(op.is_active(&tokens[0]).unwrap());

    let done = hub.operate("/v1/sign-out", &json!({ "subject": "alice" })).unwrap();
    let txn = done["txn"].as_str().unwrap().to_owned();
    let target = waiting::until("the provider's outcome", LIMIT, || {
        let state = hub.look(&format!("/v1/txn/{txn}"))?;
        let mut targets = state["targets"].as_array().cloned().unwrap_or_default().into_iter();
        let found = targets.find(|target| target["kind"] == "identity-provider");
        let is_final = |target: &Value| {
            !["requested", "contained"].contains(&target["outcome"].as_str().unwrap_or_default())
        };
        Ok(found.filter(is_final))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", hub.log()));
    assert_eq!(target["outcome"], "verified", "{target}");
    let detail = target["detail"].as_str().unwrap();
    assert!(detail.contains("a refresh is refused with invalid_grant"), "{detail}");
    assert!(detail.contains("not covered: the provider's own sign-in session"), "{detail}");

    let (status, said) = op.refresh(&tokens[0]).unwrap();
    assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")));
    assert!(!op.is_active(&tokens[0]).unwrap());
    // Bob is signed in as before.
    assert_eq!(op.refresh(&tokens[1]).unwrap().0, 200);
    assert!(op.is_active(&tokens[1]).unwrap());
}
