//! Sign-outs of a session, of a device, of an application.
//!
//! It refuses to look at what ends only: each test names who stays signed in.

use exeunt_api::{AdminTokenResponse, Role, SessionList, SignOutResponse, path};
use exeunt_domain::{Outcome, Proof, Subject};
use exeunt_hub::sequencer::now;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

async fn ask(rig: &Rig, body: Value) -> Answer {
    rig.post(path::SIGN_OUT, &rig.admin, &body).await
}

async fn name_of(rig: &Rig, subject: &str, n: usize) -> String {
    let at = format!("{}?subject={subject}", path::SESSIONS);
    let list: SessionList = rig.get(&at, &rig.admin).await.read();
    list.sessions[n].id.clone()
}

#[tokio::test]
async fn one_session_ends_by_the_name_that_lists_show() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let one = site.register(&rig, "alice", "s1").await;
    let two = site.register(&rig, "alice", "s2").await;
    let name = name_of(&rig, "alice", 1).await;
    let shown: SignOutResponse =
        ask(&rig, json!({ "session": name, "preview": true })).await.read();
    assert_eq!((shown.sessions.len(), shown.devices.len(), shown.txn), (1, 0, None));
    assert_eq!(site.check(&rig, "alice", "s1", one).await, 204, "a preview touches nothing");
    let order = json!({ "session": name, "digest": shown.digest, "idempotency_key": "k" });
    let done: SignOutResponse = ask(&rig, order.clone()).await.read();
    assert_eq!(site.check(&rig, "alice", "s1", one).await, 401);
    assert_eq!(site.check(&rig, "alice", "s2", two).await, 204);
    let again: SignOutResponse = ask(&rig, order).await.read();
    assert_eq!(again.txn, done.txn, "the same key acts once");
    let over = ask(&rig, json!({ "session": name })).await;
    assert_eq!((over.status.as_u16(), over.code()), (409, "conflict"));
    let unknown = ask(&rig, json!({ "session": "0".repeat(16) })).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "not_found"));
    let rows = rig.audited("sign-out").await;
    assert_eq!(rows[0]["detail"]["scope"], format!("session {name}"));
    assert_eq!(rows[0]["subject"], "alice");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_console_session_ends_with_an_order_to_its_device() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let name = name_of(&rig, "alice", 0).await;
    let done: SignOutResponse = ask(&rig, json!({ "session": name })).await.read();
    let orders = device.peek(&rig).await;
    let (txn, order) = device.order(&rig, orders.values().next().unwrap());
    assert_eq!((txn, order.user), (done.txn, Some(Subject::parse("alice").unwrap())));
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_device_ends_for_whoever_is_there_and_is_ordered_to_close_for_one_person_only() {
    let rig = Rig::new().await;
    let (one, many) = (rig.device("occ-07").await, rig.device("occ-08").await);
    let site = rig.service("site").await;
    let elsewhere = site.register(&rig, "alice", "s1").await;
    one.begin(&rig, "alice", "c1", Proof::Account).await;
    many.begin(&rig, "alice", "c2", Proof::Account).await;
    many.begin(&rig, "bob", "c3", Proof::Account).await;
    let body = json!({
        "subject": Subject::parse("carol").unwrap(), "session_id": "s2", "kind": "desktop",
        "auth_time": now(), "device": "occ-07",
    });
    assert_eq!(rig.post(path::SESSIONS, &site.token, &body).await.status, 201);

    let done: SignOutResponse = ask(&rig, json!({ "device": "occ-07" })).await.read();
    assert_eq!((done.sessions.len(), done.devices.len()), (2, 1));
    assert_eq!(one.peek(&rig).await.len(), 1);
    assert_eq!(site.check(&rig, "alice", "s1", elsewhere).await, 204, "alice is elsewhere, too");

    let shown: SignOutResponse =
        ask(&rig, json!({ "device": "occ-08", "preview": true })).await.read();
    assert_eq!((shown.sessions.len(), shown.devices.len()), (2, 0));
    assert!(shown.cannot[0].what.contains("2 people"), "{:?}", shown.cannot);
    let done: SignOutResponse =
        ask(&rig, json!({ "device": "occ-08", "digest": shown.digest })).await.read();
    assert!(many.peek(&rig).await.is_empty(), "an order about several people needs approvers");
    assert_eq!(done.outcome, Outcome::Partial, "what the device keeps is not called ended");
    let list: SessionList = rig.get("/v1/sessions?subject=bob", &rig.admin).await.read();
    assert_eq!(json!(list.sessions[0].status), "revoked");
    let unknown = ask(&rig, json!({ "device": "occ-99" })).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "not_found"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_application_ends_for_everyone_and_an_old_sign_in_does_not_come_back() {
    let rig = Rig::new().await;
    let (wiki, site) = (rig.service("wiki").await, rig.service("site").await);
    let before = now();
    let mut seqs = Vec::new();
    for (n, who) in ["alice", "bob", "carol"].iter().enumerate() {
        seqs.push(wiki.register(&rig, who, &format!("w{n}")).await);
    }
    let other = site.register(&rig, "alice", "s1").await;
    let shown: SignOutResponse =
        ask(&rig, json!({ "application": "wiki", "preview": true })).await.read();
    assert_eq!((shown.sessions.len(), shown.devices.len()), (3, 0));
    assert!(shown.cannot[0].what.contains("no device"), "{:?}", shown.cannot);
    let fourth = wiki.register(&rig, "dave", "w3").await;
    let order = json!({ "application": "wiki", "digest": shown.digest });
    let refused = ask(&rig, order).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "preview_changed"));
    assert_eq!(wiki.check(&rig, "dave", "w3", fourth).await, 204, "nobody was signed out");
    ask(&rig, json!({ "application": "wiki" })).await.read::<SignOutResponse>();
    for (n, who) in ["alice", "bob", "carol"].iter().enumerate() {
        assert_eq!(wiki.check(&rig, who, &format!("w{n}"), seqs[n]).await, 401, "{who}");
    }
    assert_eq!(site.check(&rig, "alice", "s1", other).await, 204);
    let silent = wiki.try_register(&rig, "alice", "w9", before).await;
    assert_eq!((silent.status.as_u16(), silent.code()), (403, "stale_auth"));
    assert_eq!(site.try_register(&rig, "alice", "s9", before).await.status, 201);
    wiki.register(&rig, "alice", "w10").await;
    let device = rig.device("occ-07").await;
    let wrong = ask(&rig, json!({ "application": device.id })).await;
    assert_eq!((wrong.status.as_u16(), wrong.code()), (400, "invalid_request"));
    assert_eq!(ask(&rig, json!({ "application": "nowhere" })).await.code(), "not_found");
    rig.hub.stop().await;
}

#[tokio::test]
async fn help_desk_ends_one_session_and_nothing_wider() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let name = name_of(&rig, "alice", 0).await;
    let body = json!({ "name": "hilde", "roles": [Role::HelpDesk] });
    let made: AdminTokenResponse = rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await.read();
    for wide in [json!({ "device": "occ-07" }), json!({ "application": "site" })] {
        let refused = rig.post(path::SIGN_OUT, &made.token, &wide).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{wide}");
    }
    let one = json!({ "session": name });
    assert_eq!(rig.post(path::SIGN_OUT, &made.token, &one).await.status, 200);
    rig.hub.stop().await;
}

#[tokio::test]
async fn scopes_count_against_the_device_limit_and_name_exactly_one_thing() {
    let rig = Rig::with(|config| config.limits.devices.each = 1).await;
    for n in 0..2 {
        let device = rig.device(&format!("occ-{n}")).await;
        device.begin(&rig, &format!("s{n}"), "c", Proof::Account).await;
    }
    assert_eq!(ask(&rig, json!({ "device": "occ-0" })).await.status, 200);
    let refused = ask(&rig, json!({ "device": "occ-1" })).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "rate_limited"));
    let list: SessionList = rig.get("/v1/sessions?subject=s1", &rig.admin).await.read();
    assert_eq!(json!(list.sessions[0].status), "active", "nothing was done");
    for body in [
        json!({}),
        json!({ "subject": "s0", "session": "0".repeat(16) }),
        json!({ "session": "0".repeat(16), "device": "occ-0" }),
        json!({ "application": "a", "subject": "s0" }),
        json!({ "session": "xyz" }),
        json!({ "session": "0".repeat(15) }),
        json!({ "device": "occ-0", "tier": "lock" }),
    ] {
        let refused = ask(&rig, body.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{body}");
    }
    rig.hub.stop().await;
}
