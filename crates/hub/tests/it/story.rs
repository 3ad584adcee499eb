//! The story: enrol, poll, sign out, receipt.
//!
//! It refuses to look into the hub's store.

use exeunt_api::{ReceiptRecord, path};
use exeunt_domain::{Outcome, Proof, Verdict};
use exeunt_ssf::PollRequest;

use crate::rig::Rig;

#[tokio::test]
async fn an_operators_sign_out_reaches_the_device_and_comes_back_as_a_receipt() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "cookie-1").await;
    assert_eq!(device.begin(&rig, "alice", "console-1", Proof::Account).await.status, 202);
    assert_eq!(site.check(&rig, "alice", "cookie-1", seq).await, 204);

    let request = PollRequest::default();
    let (polled, done) =
        tokio::join!(device.poll(&rig, &request), async { rig.sign_out("alice").await });
    assert_eq!((done.sessions.len(), done.devices.len()), (2, 1));
    assert_eq!(site.check(&rig, "alice", "cookie-1", seq).await, 401);

    let txn = done.txn.unwrap();
    let (jti, compact) = polled.sets.first_key_value().unwrap();
    let (ordered, order) = device.order(&rig, compact);
    assert_eq!(ordered.as_ref(), Some(&txn));
    assert_eq!(order.previous, None);
    device.ack(&rig, [jti.clone()]).await;
    let before = rig.txn(&txn).await;
    let target = |state: &exeunt_api::TxnState| {
        state.targets.iter().find(|t| t.kind == "device").unwrap().outcome
    };
    assert_eq!(target(&before), Outcome::Requested, "an ack proves transport only");

    for outcome in [Outcome::Delivered, Outcome::Fenced, Outcome::Contained] {
        assert_eq!(device.progress(&rig, &txn, outcome).await.status, 202);
        assert_eq!(target(&rig.txn(&txn).await), outcome);
    }
    let body = device.receipt_body(&txn, Verdict::Gone);
    assert_eq!(device.receipt(&rig, &body).await.status, 202);
    assert_eq!(target(&rig.txn(&txn).await), Outcome::Verified);

    let receipts: Vec<ReceiptRecord> = rig.get(&path::receipts(&txn), &rig.admin).await.read();
    assert_eq!(receipts.len(), 1);
    assert!(receipts[0].chained && receipts[0].assurance == "installed");
    rig.hub.stop().await;
}
