//! What devices say beyond their orders: stores that came back, and coverage nobody expected.
//!
//! It refuses to look anywhere but in the record that an operator reads.

use exeunt_domain::{Outcome, Proof, Verdict};
use reqwest::StatusCode;

use crate::rig::Rig;

#[tokio::test]
async fn a_store_that_came_back_is_in_the_audit_under_its_close() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let body = device.receipt_body(&txn, Verdict::Gone);
    device.receipt(&rig, &body).await;
    let epoch = device.epoch;
    assert_eq!(device.returned(&rig, &txn, epoch).await.status, StatusCode::ACCEPTED);
    let rows = rig.audited("stores-returned").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["txn"], txn.as_str());
    assert_eq!(rows[0]["source_device"], "occ-07");
    let store = rows[0]["detail"]["stores"][0].as_str().unwrap();
    assert_eq!(store, "chromium/cookies .config/chromium/Default/Cookies");
    // The receipt told the truth of its time, and stands.
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Verified);
    let old = device.returned(&rig, &txn, epoch + 1).await;
    assert_eq!(old.body["err"], "access_denied");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_receipt_that_covers_something_unexpected_raises_an_alarm() {
    let rig = Rig::with(|config| {
        config.expect_coverage.insert("aa".into());
    })
    .await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let mut body = device.receipt_body(&txn, Verdict::Gone);
    body.coverage = "aa".into();
    device.receipt(&rig, &body).await;
    assert_eq!(rig.txn(&txn).await.targets[0].detail, None);
    body = device.receipt_body(&txn, Verdict::Gone);
    body.coverage = "bb".into();
    device.receipt(&rig, &body).await;
    let detail = rig.txn(&txn).await.targets[0].detail.clone().unwrap();
    assert!(detail.contains("coverage_unexpected"), "{detail}");
    let rows = rig.audited("receipt").await;
    let coverage: Vec<_> = rows.iter().map(|row| &row["detail"]["coverage"]).collect();
    assert_eq!(coverage, ["expected", "unexpected"]);
    rig.hub.stop().await;
}
