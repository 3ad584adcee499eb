//! Asking again what failed: under the same transaction, and nobody else.
//!
//! It refuses to take a second answer for the first: each is looked at where followers see it.

use exeunt_api::{TxnState, path};
use exeunt_domain::{Outcome, Proof, Txn, Verdict};
use serde_json::json;

use crate::rig::{Answer, Rig};

async fn retry(rig: &Rig, txn: &Txn) -> Answer {
    let ask = rig.http.post(rig.url(&path::txn_retry(txn))).bearer_auth(&rig.admin);
    crate::rig::answer(ask).await
}

#[tokio::test]
async fn a_device_that_was_partial_is_ordered_again_and_one_that_was_verified_is_not() {
    let rig = Rig::new().await;
    let (mut one, mut two) = (rig.device("occ-07").await, rig.device("occ-08").await);
    one.begin(&rig, "alice", "c1", Proof::Account).await;
    two.begin(&rig, "alice", "c2", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    for (device, verdict) in [(&mut one, Verdict::Residual), (&mut two, Verdict::Gone)] {
        let jtis: Vec<_> = device.peek(&rig).await.into_keys().collect();
        device.ack(&rig, jtis).await;
        let body = device.receipt_body(&txn, verdict);
        assert_eq!(device.receipt(&rig, &body).await.status, 202);
    }
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Partial);
    let state: TxnState = retry(&rig, &txn).await.read();
    assert!(!state.is_final(), "a follower goes on");
    let orders = one.peek(&rig).await;
    assert_eq!(orders.len(), 1);
    let (under, order) = one.order(&rig, orders.values().next().unwrap());
    assert_eq!((under.as_ref(), order.again), (Some(&txn), true));
    assert!(two.peek(&rig).await.is_empty(), "what is verified is left alone");
    // Again at once: nobody is asked twice, and nothing is noted.
    retry(&rig, &txn).await.read::<TxnState>();
    assert_eq!(one.peek(&rig).await.len(), 1);
    assert_eq!(rig.audited("retried").await.len(), 1);
    let rig = rig.restart(|_| {}).await;
    one.log_in(&rig).await;
    assert_eq!(one.peek(&rig).await.len(), 1, "the order is on disk");
    let jtis: Vec<_> = orders.into_keys().collect();
    one.ack(&rig, jtis).await;
    let body = one.receipt_body(&txn, Verdict::Gone);
    one.receipt(&rig, &body).await;
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Verified);
    let row = &rig.audited("retried").await[0];
    assert_eq!((&row["txn"], &row["subject"]), (&json!(txn), &json!("alice")));
    assert_eq!(row["detail"]["asked"][0]["id"], "occ-07");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_cancelled_or_unknown_transaction_is_not_asked_again() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let cancel = rig.http.post(rig.url(&path::txn_cancel(&txn))).bearer_auth(&rig.admin);
    assert_eq!(crate::rig::answer(cancel).await.status, 204);
    let refused = retry(&rig, &txn).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "conflict"));
    let unknown = retry(&rig, &Txn::parse("nobody").unwrap()).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "not_found"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_holds_over_a_restart() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    let order = json!({ "subject": "alice", "idempotency_key": "k1" });
    let first = rig.post(path::SIGN_OUT, &rig.admin, &order).await;
    let rig = rig.restart(|_| {}).await;
    let second = rig.post(path::SIGN_OUT, &rig.admin, &order).await;
    assert_eq!(first.body["txn"], second.body["txn"]);
    assert_eq!(rig.audited("sign-out").await.len(), 1);
    rig.hub.stop().await;
}
