//! Playbooks: the sign-out, what is to be seen to afterwards, and holds.
//!
//! It refuses to take the order on trust: a secret that was rotated first is not ticked.

use exeunt_api::playbook::{FollowupList, HoldList, PlaybookList};
use exeunt_api::{AdminTokenResponse, Followup, Role, SignOutResponse, path};
use exeunt_domain::{Proof, Txn};
use exeunt_hub::sequencer::now;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

async fn play(rig: &Rig, name: &str, more: Value) -> Answer {
    let mut body = json!({ "subject": "alice" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rig.post(&format!("{}/{name}", path::PLAYBOOKS), &rig.admin, &body).await
}

async fn open(rig: &Rig) -> Vec<Followup> {
    rig.get(path::FOLLOWUPS, &rig.admin).await.read::<FollowupList>().followups
}

async fn tick(rig: &Rig, id: u64, body: Value) -> Answer {
    rig.post(&format!("{}/{id}/tick", path::FOLLOWUPS), &rig.admin, &body).await
}

#[tokio::test]
async fn a_leaked_secrets_sessions_end_before_it_is_rotated_and_the_record_says_so() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let shown: SignOutResponse =
        play(&rig, "exposed-secret", json!({ "preview": true })).await.read();
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);
    assert!(open(&rig).await.is_empty(), "a preview opens nothing");
    let before = now();
    let more = json!({ "digest": shown.digest, "idempotency_key": "k" });
    let done: SignOutResponse = play(&rig, "exposed-secret", more.clone()).await.read();
    play(&rig, "exposed-secret", more).await.read::<SignOutResponse>();
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 401);
    let rotate = open(&rig).await.into_iter().find(|one| one.item == "rotate").unwrap();
    assert!(rotate.after_end && Some(&rotate.txn) == done.txn.as_ref());
    assert_eq!(open(&rig).await.len(), 3, "a repeat under the key opens nothing more");
    // Rotated before the sessions were dead: whoever had them may hold the new secret.
    let early = tick(&rig, rotate.id, json!({ "done_at": before.0 - 60_000 })).await;
    assert_eq!((early.status.as_u16(), early.code()), (409, "conflict"));
    assert_eq!(open(&rig).await.len(), 3);
    let future = tick(&rig, rotate.id, json!({ "done_at": now().0 + 3_600_000 })).await;
    assert_eq!(future.status, 400);
    assert_eq!(tick(&rig, rotate.id, json!({ "note": "vault v7" })).await.status, 204);
    assert_eq!(tick(&rig, rotate.id, json!({ "note": "again" })).await.status, 204);
    let rows = rig.audited("followup-ticked").await;
    assert_eq!((rows.len(), &rows[0]["reason"]), (1, &json!("vault v7")));
    assert_eq!(rows[0]["detail"]["sessions_ended"]["seq"], done.seq);
    assert!(rows[0]["detail"]["sessions_ended"]["before_ms"].is_u64(), "{}", rows[0]);
    let rig = rig.restart(|_| {}).await;
    assert_eq!(open(&rig).await.len(), 2, "what is open stays open");
    let signed = &rig.audited("sign-out").await[0];
    assert_eq!(signed["detail"]["playbook"], "exposed-secret");
    assert_eq!(rig.txn(&done.txn.unwrap()).await.playbook.as_deref(), Some("exposed-secret"));
    let unknown = tick(&rig, 999, json!({})).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "not_found"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_rogue_agent_is_held_under_every_name_until_somebody_has_looked() {
    let rig = Rig::new().await;
    let (site, device) = (rig.service("site").await, rig.device("occ-07").await);
    site.register(&rig, "alice", "s1").await;
    let body = json!({ "subject": "alice", "alias": "alice@corp.example", "reason": "same bot" });
    rig.post(path::SUBJECT_JOIN, &rig.admin, &body).await;
    let done: SignOutResponse =
        play(&rig, "rogue-agent", json!({ "reason": "deletes tables" })).await.read();
    for name in ["alice", "alice@corp.example"] {
        let held = site.try_register(&rig, name, "s2", now()).await;
        assert_eq!((held.status.as_u16(), held.code()), (403, "on_hold"), "{name}");
        assert!(held.body["error"]["hint"].as_str().unwrap().contains("hold list"));
    }
    assert_eq!(site.try_register(&rig, "bob", "s3", now()).await.status, 201);
    // At a console the person can begin; the device is told to close, and to close again.
    for n in 0..2 {
        device.begin(&rig, "alice", &format!("c{n}"), Proof::Account).await;
    }
    let orders = device.peek(&rig).await;
    assert_eq!(orders.len(), 2);
    let (txn, order) = device.order(&rig, orders.values().next().unwrap());
    assert!(order.again && txn == done.txn);
    let holds: HoldList = rig.get(path::HOLDS, &rig.admin).await.read();
    assert_eq!(
        (holds.holds[0].subject.as_str(), holds.holds[0].reason.as_str()),
        ("alice", "deletes tables")
    );
    let rig = rig.restart(|_| {}).await;
    let mut site = site;
    site.token = site.log_in(&rig).await;
    assert_eq!(site.try_register(&rig, "alice", "s4", now()).await.code(), "on_hold");
    let release = |reason: &str| {
        let body = json!({ "subject": "alice@corp.example", "reason": reason });
        let rig = &rig;
        async move { rig.post(path::HOLDS_RELEASE, &rig.admin, &body).await }
    };
    assert_eq!(release(" ").await.status, 400);
    assert_eq!(release("a bad prompt, now fixed").await.status, 204);
    assert_eq!(release("again").await.code(), "not_found");
    assert_eq!(site.try_register(&rig, "alice", "s5", now()).await.status, 201);
    let row = &rig.audited("hold-released").await[0];
    assert_eq!(
        (&row["reason"], &row["detail"]["released"][0]["placed_by"]),
        (&json!("a bad prompt, now fixed"), &json!("admin:bootstrap"))
    );
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_hold_may_be_placed_without_a_sign_out() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let body = json!({ "subject": "alice", "reason": "review" });
    for _ in 0..2 {
        assert_eq!(rig.post(path::HOLDS, &rig.admin, &body).await.status, 204);
    }
    assert_eq!(rig.audited("hold-placed").await.len(), 1);
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204, "what is live goes on");
    assert_eq!(site.try_register(&rig, "alice", "s2", now()).await.code(), "on_hold");
    rig.hub.stop().await;
}

#[tokio::test]
async fn the_end_of_a_contract_tells_the_spread_of_its_rejections() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let done: SignOutResponse = play(&rig, "contractor-end", json!({})).await.read();
    let txn: Txn = done.txn.unwrap();
    assert_eq!(rig.txn(&txn).await.spread_ms, None, "nobody but the hub was seen to reject");
    site.deltas(&rig, seq, 0).await;
    site.deltas(&rig, done.seq, 0).await;
    let state = rig.txn(&txn).await;
    assert_eq!(state.targets[0].outcome, exeunt_domain::Outcome::Verified, "{state:?}");
    assert!(state.spread_ms.is_some(), "{state:?}");
    rig.hub.stop().await;
}

#[tokio::test]
async fn help_desk_runs_what_holds_nobody() {
    let rig = Rig::new().await;
    rig.service("site").await.register(&rig, "alice", "s1").await;
    let body = json!({ "name": "hilde", "roles": [Role::HelpDesk] });
    let made: AdminTokenResponse = rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await.read();
    let run = |name: &str| {
        let (at, token) = (format!("{}/{name}", path::PLAYBOOKS), made.token.clone());
        let rig = &rig;
        async move { rig.post(&at, &token, &json!({ "subject": "alice" })).await }
    };
    for name in ["leaver", "rogue-agent", "contractor-end"] {
        assert_eq!(run(name).await.code(), "forbidden", "{name}");
    }
    assert_eq!(run("lost-laptop").await.status, 200);
    assert_eq!(run("panic").await.code(), "not_found");
    let list: PlaybookList = rig.get(path::PLAYBOOKS, &made.token).await.read();
    assert_eq!(list.playbooks.len(), 5);
    rig.hub.stop().await;
}
