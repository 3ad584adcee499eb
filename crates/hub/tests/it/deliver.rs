//! Delivery: nothing is lost, nothing that was acknowledged comes again.
//!
//! It refuses to time anything: a parked poll is joined, not waited for.

use std::time::Duration;

use exeunt_api::{DeviceList, path};
use exeunt_domain::{Jti, Outcome, Proof, Timestamp, Verdict};
use exeunt_hub::sequencer::now;
use exeunt_ssf::{PollRequest, SetErr};
use serde_json::json;

use crate::rig::Rig;

fn jtis(sets: &std::collections::BTreeMap<Jti, String>) -> Vec<Jti> {
    sets.keys().cloned().collect()
}

#[tokio::test]
async fn a_parked_poll_is_answered_by_the_sign_out_itself() {
    // Held for an hour: only the bell can end it.
    let rig = Rig::with(|config| config.limits.poll_hold = Duration::from_secs(3600)).await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let parked = async {
        let answer = device.poll(&rig, &PollRequest::default()).await;
        device.order(&rig, answer.sets.values().next().unwrap()).0
    };
    let signed_out = async {
        while !last_seen(&rig).await {}
        rig.sign_out("alice").await.txn
    };
    let (ordered, txn) = tokio::join!(parked, signed_out);
    assert_eq!(ordered, txn);
    rig.hub.stop().await;
}

/// Whether the first device has polled.
async fn last_seen(rig: &Rig) -> bool {
    let list: DeviceList = rig.get(path::DEVICES, &rig.admin).await.read();
    list.devices[0].last_seen.is_some()
}

#[tokio::test]
async fn a_stopping_hub_answers_parked_polls_empty() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let Rig { hub, data: _data, keys: _keys, http, admin } = rig;
    let url = format!("{}{}", hub.url, path::POLL);
    let ask = http.post(url).bearer_auth(&device.token).json(&PollRequest::default());
    let parked = tokio::spawn(ask.send());
    let devices = format!("{}{}", hub.url, path::DEVICES);
    loop {
        let list = http.get(&devices).bearer_auth(&admin).send().await.unwrap();
        let list: DeviceList = list.json().await.unwrap();
        if list.devices[0].last_seen.is_some() {
            break;
        }
    }
    hub.stop().await;
    let answer = parked.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let answer: exeunt_ssf::PollResponse = answer.json().await.unwrap();
    assert!(answer.sets.is_empty());
}

#[tokio::test]
async fn a_restart_loses_nothing_and_repeats_nothing_acknowledged() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "bob", "s1").await;
    let dead = site.register(&rig, "alice", "s2").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let first = rig.sign_out("alice").await.txn.unwrap();
    let acked = jtis(&device.peek(&rig).await);
    device.ack(&rig, acked.clone()).await;
    device.begin(&rig, "alice", "c2", Proof::Account).await;
    let second = rig.sign_out("alice").await.txn.unwrap();
    let open = jtis(&device.peek(&rig).await);
    assert_eq!(open.len(), 1);

    let mut rig = rig.restart(|_| {}).await;
    for round in 0..2 {
        device.log_in(&rig).await;
        let again = device.peek(&rig).await;
        assert_eq!(jtis(&again), open, "round {round}");
        let (txn, order) = device.order(&rig, again.values().next().unwrap());
        assert_eq!(txn.as_ref(), Some(&second));
        assert_eq!(order.previous.as_ref(), acked.first());
        rig = rig.restart(|_| {}).await;
    }
    device.log_in(&rig).await;
    device.ack(&rig, open).await;
    assert!(device.peek(&rig).await.is_empty());
    for txn in [&first, &second] {
        let body = device.receipt_body(txn, Verdict::Gone);
        assert_eq!(device.receipt(&rig, &body).await.status, 202);
        assert_eq!(
            rig.txn(txn).await.targets.iter().find(|t| t.kind == "device").unwrap().outcome,
            Outcome::Verified
        );
    }
    let site = crate::rig::Service { token: site.log_in(&rig).await, ..site };
    assert_eq!(site.check(&rig, "bob", "s1", seq).await, 204);
    assert_eq!(site.check(&rig, "alice", "s2", dead).await, 401);
    assert_eq!(rig.get(path::AUDIT_VERIFY, &rig.admin).await.body["verified"], true);
    rig.hub.stop().await;
}

#[tokio::test]
async fn pages_by_max_events_and_says_that_more_wait() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    for n in 0..3 {
        device.begin(&rig, "alice", &format!("c{n}"), Proof::Account).await;
        rig.sign_out("alice").await;
    }
    let mut seen = Vec::new();
    let mut ack = Vec::new();
    for expected_more in [true, true, false] {
        let max_events = Some(1);
        let request =
            PollRequest { max_events, ack, return_immediately: true, ..Default::default() };
        let page = device.poll(&rig, &request).await;
        assert_eq!((page.sets.len(), page.more_available), (1, expected_more));
        ack = jtis(&page.sets);
        seen.extend(ack.clone());
    }
    let sorted = {
        let mut s = seen.clone();
        s.sort();
        s
    };
    assert_eq!(seen, sorted, "orders come in the order of their ids");
    device.ack(&rig, ack).await;
    assert!(device.peek(&rig).await.is_empty());
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_agents_refusal_is_shown_and_decides_nothing() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let jti = jtis(&device.peek(&rig).await).remove(0);
    let error = SetErr { err: "invalid_key".into(), description: "?".into() };
    let request = PollRequest {
        max_events: Some(0),
        set_errs: [(jti, error)].into(),
        ..PollRequest::default()
    };
    device.poll(&rig, &request).await;
    assert!(device.peek(&rig).await.is_empty(), "a refused SET is not sent again");
    assert_eq!(rig.audited("order-refused-in-transport").await.len(), 1);
    let target = rig.txn(&txn).await.targets.remove(0);
    assert_eq!(target.outcome, Outcome::Requested);
    assert!(target.detail.unwrap().contains("invalid_key"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_overdue_order_is_unreachable_and_signed_again_until_its_receipt() {
    let rig = Rig::with(|config| {
        config.limits.order_good_for = Duration::from_millis(1);
        config.limits.housekeeping = Duration::from_millis(5);
    })
    .await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    until(&rig, &txn, Outcome::Unreachable).await;
    let rig = rig.restart(|_| {}).await;
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Unreachable);

    device.log_in(&rig).await;
    let again = device.peek(&rig).await;
    assert_eq!(again.len(), 1, "the overdue order itself is not sent any more");
    let (ordered, order) = device.order(&rig, again.values().next().unwrap());
    assert_eq!(ordered.as_ref(), Some(&txn));
    assert!(order.deadline > now(), "the new order is not overdue");
    assert_eq!(order.previous, None, "what was never delivered is not in the chain");
    device.ack(&rig, jtis(&again)).await;
    device.progress(&rig, &txn, Outcome::Fenced).await;
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Fenced);
    let body = device.receipt_body(&txn, Verdict::Gone);
    device.receipt(&rig, &body).await;
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Verified);
    assert!(device.peek(&rig).await.is_empty());
    rig.hub.stop().await;
}

async fn until(rig: &Rig, txn: &exeunt_domain::Txn, outcome: Outcome) {
    let mut stream =
        rig.http.get(rig.url(&path::txn_events(txn))).bearer_auth(&rig.admin).send().await.unwrap();
    let word = format!("\"outcome\":\"{outcome}\"");
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
        if text.contains(&word) {
            return;
        }
    }
    panic!("{text}");
}

#[tokio::test]
async fn a_cancelled_transaction_is_not_signed_again() {
    let rig = Rig::with(|config| config.limits.order_good_for = Duration::from_millis(1)).await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let cancelled = rig.post(&path::txn_cancel(&txn), &rig.admin, &json!({})).await;
    assert_eq!(cancelled.status, 204);
    let target = rig.txn(&txn).await.targets.remove(0);
    assert_eq!(target.outcome, Outcome::Unreachable);
    assert!(target.detail.unwrap().contains("cancelled"));
    let first = jtis(&device.peek(&rig).await);
    assert_eq!(jtis(&device.peek(&rig).await), first);
    assert!(rig.audited("order-signed-again").await.is_empty());
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_device_that_was_offline_with_an_older_session_gets_the_order_when_it_tells() {
    let rig = Rig::new().await;
    let (known, offline) = (rig.device("occ-07").await, rig.device("laptop").await);
    known.begin(&rig, "alice", "c1", Proof::Account).await;
    let before = Timestamp(now().0 - 60_000);
    let txn = rig.sign_out("alice").await.txn.unwrap();
    assert!(offline.peek(&rig).await.is_empty());
    offline.begin_since(&rig, "alice", "old", Proof::Account, before).await;
    let orders = offline.peek(&rig).await;
    let (ordered, _) = offline.order(&rig, orders.values().next().unwrap());
    assert_eq!(ordered.as_ref(), Some(&txn));
    assert_eq!(rig.txn(&txn).await.targets.len(), 2);
    offline.begin(&rig, "alice", "new", Proof::Account).await;
    assert_eq!(offline.peek(&rig).await.len(), 1, "a session begun afterwards is left alone");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_new_enrolment_replays_nothing_of_the_old_one() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    assert_eq!(device.peek(&rig).await.len(), 1);
    let old = device.token.clone();

    let token = rig.device_token(json!({ "name": "occ-07" })).await;
    assert_eq!(device.enrol(&rig, &token).await.status, 200);
    assert_eq!(device.epoch, 2);
    let refused = rig.post(path::POLL, &old, &PollRequest::default()).await;
    assert_eq!(refused.status, 401, "the old enrolment's token is dead");
    device.log_in(&rig).await;
    assert!(device.peek(&rig).await.is_empty());
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Unreachable);

    device.begin(&rig, "alice", "c2", Proof::Account).await;
    rig.sign_out("alice").await;
    let orders = device.peek(&rig).await;
    assert_eq!(device.order(&rig, orders.values().next().unwrap()).1.previous, None);
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_unanswered_order_is_signed_again_for_a_device_that_waits() {
    let rig = Rig::with(|config| {
        config.limits.poll_hold = Duration::from_secs(3600);
        config.limits.order_good_for = Duration::from_millis(50);
        config.limits.housekeeping = Duration::from_millis(5);
    })
    .await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let first = jtis(&device.poll(&rig, &PollRequest::default()).await.sets);
    let request = PollRequest { ack: first.clone(), ..PollRequest::default() };
    let again = device.poll(&rig, &request).await.sets;
    let (ordered, order) = device.order(&rig, again.values().next().unwrap());
    assert_eq!(ordered.as_ref(), Some(&txn));
    assert_eq!(
        order.previous.as_ref(),
        first.first(),
        "it was acknowledged, so it is in the chain"
    );
    rig.hub.stop().await;
}
