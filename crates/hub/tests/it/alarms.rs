//! What an operator has to look at, as the hub lists it.
//!
//! It refuses to wait for an operator to find it in the log.

use exeunt_api::{AlarmList, path};
use exeunt_domain::{Proof, Verdict};

use crate::rig::Rig;

#[tokio::test]
async fn a_missing_link_in_a_devices_chain_is_an_alarm() {
    let rig = Rig::new().await;
    let mut device = rig.device("occ-07").await;
    let list = async |query: &str| -> AlarmList {
        rig.get(&format!("{}{query}", path::ALARMS), &rig.admin).await.read()
    };
    for (round, lost) in [false, true, false].into_iter().enumerate() {
        device.begin(&rig, "alice", &format!("c{round}"), Proof::Account).await;
        let txn = rig.sign_out("alice").await.txn.unwrap();
        // One that the hub never hears of.
        device.receipts += u64::from(lost);
        let body = device.receipt_body(&txn, Verdict::Gone);
        assert_eq!(device.receipt(&rig, &body).await.status, 202);
    }
    let all = list("").await.alarms;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (all[0].kind.as_str(), all[0].device.as_deref()),
        ("receipt-missing", Some("occ-07"))
    );
    assert!(list(&format!("?before={}", all[0].seq)).await.alarms.is_empty());

    let txn = rig.sign_out("alice").await.txn.unwrap();
    device.receipts -= 1;
    let fork = device.receipt_body(&txn, Verdict::Gone);
    assert_eq!(device.receipt(&rig, &fork).await.status, 202);
    let kinds: Vec<_> = list("?limit=1").await.alarms.into_iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["receipt-forked"], "newest first");
    let refused = rig.get(&format!("{}?before=99999999999999999", path::ALARMS), &rig.admin).await;
    assert_eq!(refused.status, 400);
    rig.hub.stop().await;
}
