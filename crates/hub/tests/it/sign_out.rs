//! Sign-out: whose, what is shown before, and once only.
//!
//! It refuses to leave the untouched unlooked at: each test names who stayed signed in.

use exeunt_api::{SignOutResponse, path};
use exeunt_domain::{Outcome, Proof, Tier, Txn, Verdict};
use futures_util::StreamExt as _;
use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn a_preview_touches_nothing_and_its_digest_is_what_is_executed() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let shown: SignOutResponse = rig
        .post(path::SIGN_OUT, &rig.admin, &json!({ "subject": "alice", "preview": true }))
        .await
        .read();
    assert_eq!((shown.txn, shown.sessions.len()), (None, 1));
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);

    site.register(&rig, "alice", "s2").await;
    let order = json!({ "subject": "alice", "digest": shown.digest });
    let refused = rig.post(path::SIGN_OUT, &rig.admin, &order).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "preview_changed"));
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);

    let again: SignOutResponse = rig
        .post(path::SIGN_OUT, &rig.admin, &json!({ "subject": "alice", "preview": true }))
        .await
        .read();
    let order = json!({ "subject": "alice", "digest": again.digest });
    let done: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &order).await.read();
    assert_eq!(done.sessions.len(), 2);
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 401);
    rig.hub.stop().await;
}

#[tokio::test]
async fn the_same_idempotency_key_acts_once() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    let order = json!({ "subject": "alice", "idempotency_key": "k1" });
    let first: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &order).await.read();
    let second: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &order).await.read();
    assert_eq!((&second.txn, second.seq), (&first.txn, first.seq));
    assert_eq!(second.sessions.len(), 1);
    assert_eq!(rig.audited("sign-out").await.len(), 1);
    let other = json!({ "subject": "alice", "tier": "lock", "idempotency_key": "k1" });
    assert_eq!(rig.post(path::SIGN_OUT, &rig.admin, &other).await.code(), "conflict");
    rig.hub.stop().await;
}

#[tokio::test]
async fn purge_is_refused_and_lock_revokes_nothing() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let purge = json!({ "subject": "alice", "tier": "purge" });
    let refused = rig.post(path::SIGN_OUT, &rig.admin, &purge).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "tier_refused"));
    assert!(device.peek(&rig).await.is_empty());

    let lock = json!({ "subject": "alice", "tier": "lock" });
    let done: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &lock).await.read();
    assert!(done.sessions.is_empty());
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);
    let orders = device.peek(&rig).await;
    assert_eq!(device.order(&rig, orders.values().next().unwrap()).1.tier, Tier::Lock);
    rig.hub.stop().await;
}

#[tokio::test]
async fn one_device_only_leaves_the_rest_signed_in() {
    let rig = Rig::new().await;
    let (here, there) = (rig.device("occ-07").await, rig.device("occ-08").await);
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    here.begin(&rig, "alice", "c1", Proof::Account).await;
    there.begin(&rig, "alice", "c2", Proof::Account).await;
    let order = json!({ "subject": "alice", "device": "occ-07" });
    let done: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &order).await.read();
    assert_eq!((done.sessions.len(), done.devices[0].as_str()), (1, "occ-07"));
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);
    assert_eq!((here.peek(&rig).await.len(), there.peek(&rig).await.len()), (1, 0));
    let unknown = json!({ "subject": "alice", "device": "occ-99" });
    assert_eq!(rig.post(path::SIGN_OUT, &rig.admin, &unknown).await.code(), "not_found");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_person_at_a_device_signs_themself_out_everywhere_under_the_devices_own_txn() {
    let rig = Rig::new().await;
    let (here, there) = (rig.device("occ-07").await, rig.device("occ-08").await);
    here.begin(&rig, "alice", "c1", Proof::Account).await;
    there.begin(&rig, "alice", "c2", Proof::IdToken).await;
    let asked = here.ask_sign_out(&rig, "txn-of-warden", "alice", "c1", Tier::SignOut).await;
    assert_eq!(asked.status, 202);
    let txn = Txn::parse("txn-of-warden").unwrap();
    for device in [&here, &there] {
        let orders = device.peek(&rig).await;
        let (ordered, _) = device.order(&rig, orders.values().next().unwrap());
        assert_eq!(ordered.as_ref(), Some(&txn));
    }
    let seen = rig.get(&path::device_txn(&txn), &here.token).await;
    assert_eq!(seen.read::<exeunt_api::TxnState>().targets.len(), 2);
    let stranger = rig.device("occ-09").await;
    assert_eq!(rig.get(&path::device_txn(&txn), &stranger.token).await.status, 404);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_device_sees_a_subjects_sessions_only_while_the_subject_is_signed_in_there() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    site.register(&rig, "ceo", "s2").await;
    let ask = |subject: &str| format!("{}?subject={subject}", path::DEVICE_SESSIONS);
    assert_eq!(rig.get(&ask("alice"), &device.token).await.status, 403);
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let seen: Vec<exeunt_api::HubSession> = rig.get(&ask("alice"), &device.token).await.read();
    let here: Vec<_> = seen.iter().map(|session| session.here).collect();
    assert_eq!(here, [true, false]);
    device.begin(&rig, "ceo", "c2", Proof::Asserted).await;
    let seen: Vec<exeunt_api::HubSession> = rig.get(&ask("ceo"), &device.token).await.read();
    assert_eq!(seen.len(), 1, "an asserted subject's sessions elsewhere are not shown");
    rig.hub.stop().await;
}

#[tokio::test]
async fn followers_hear_every_change_until_all_targets_are_final() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let stream = rig.http.get(rig.url(&path::txn_events(&txn))).bearer_auth(&rig.admin);
    let mut stream = stream.send().await.unwrap().bytes_stream();
    let mut text = String::new();
    let mut wanted = vec![Outcome::Requested, Outcome::Fenced, Outcome::Verified];
    wanted.reverse();
    while let Some(next) = wanted.last().copied() {
        let word = format!("\"outcome\":\"{next}\"");
        while !text.contains(&word) {
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        wanted.pop();
        match wanted.last() {
            Some(Outcome::Fenced) => {
                device.progress(&rig, &txn, Outcome::Fenced).await;
            }
            Some(Outcome::Verified) => {
                let body = device.receipt_body(&txn, Verdict::Gone);
                device.receipt(&rig, &body).await;
            }
            _ => {}
        }
    }
    while let Some(rest) = stream.next().await {
        assert!(rest.is_ok(), "the stream ends cleanly");
    }
    assert!(text.starts_with("event: txn\ndata: {"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn the_worst_part_governs_a_receipt_and_its_chain_is_kept() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let mut body = device.receipt_body(&txn, Verdict::Residual);
    body.outcome = Outcome::Verified;
    device.receipt(&rig, &body).await;
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Partial, "its parts say worse");

    let whole = device.receipt_body(&txn, Verdict::Gone);
    device.receipt(&rig, &whole).await;
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Verified);
    device.receipts += 1;
    let gap = device.receipt_body(&txn, Verdict::Gone);
    device.receipt(&rig, &gap).await;
    let receipts: Vec<exeunt_api::ReceiptRecord> =
        rig.get(&path::receipts(&txn), &rig.admin).await.read();
    let chained: Vec<_> = receipts.iter().map(|receipt| receipt.chained).collect();
    assert_eq!(chained, [true, true, false]);
    let detail = rig.txn(&txn).await.targets[0].detail.clone().unwrap();
    assert!(detail.contains("chain_gap"), "{detail}");
    let rows = rig.audited("receipt").await;
    assert_eq!(rows[2]["detail"]["chain"], "chain_gap");

    let mut foreign = device.receipt_body(&txn, Verdict::Gone);
    foreign.device = "occ-08".into();
    assert_eq!(device.receipt(&rig, &foreign).await.body["err"], "invalid_request");
    let mut unattested = device.receipt_body(&txn, Verdict::Gone);
    unattested.mode = exeunt_domain::receipt::Mode::User;
    device.receipt(&rig, &unattested).await;
    let detail = rig.txn(&txn).await.targets[0].detail.clone().unwrap();
    assert!(detail.contains("unattested"), "{detail}");
    rig.hub.stop().await;
}
