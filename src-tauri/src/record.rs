//! The receipt for reading: the warden's own words, and the claims inside the signed record.
//!
//! It refuses to vouch: it decodes and does not verify. `exeunt receipt verify` does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::receipt::ReceiptBody;
use exeunt_domain::{StepReport, StoreReport};
use exeunt_ipc::message::{Closed, ReceiptLine};
use serde_json::Value;

use crate::view::{Cannot, Last, Receipt, StepLine, StoreLine};

/// The receipt of `closed`. What the record does not tell stays none.
pub(crate) fn receipt(closed: &Closed, device: &str, names: &[(String, String)]) -> Receipt {
    let txn = closed.txn.as_str().to_owned();
    let mut receipt = read(&closed.receipt, txn, device, names);
    receipt.stores = stores(&closed.stores, names);
    receipt.steps = steps(&closed.steps);
    receipt
}

/// The receipt that the warden keeps as its last, with its outcome.
pub(crate) fn last(line: &ReceiptLine, device: &str) -> Last {
    Last {
        outcome: line.outcome.into(),
        at_ms: line.at.0,
        receipt: read(&line.receipt, line.txn.as_str().to_owned(), device, &[]),
    }
}

fn read(compact: &str, txn: String, device: &str, names: &[(String, String)]) -> Receipt {
    let body = body(compact);
    let told = body.as_ref();
    Receipt {
        seq: told.map(|body| body.seq),
        txn,
        signer: device.to_owned(),
        pinned: told.map(|body| body.pinned),
        mode: told.map(|body| body.mode.into()),
        catalogue: told.map(|body| body.catalogue.clone()),
        checked_ms: told.map(|body| body.checked.0),
        stores: told.map(|body| stores(&body.stores, names)).unwrap_or_default(),
        steps: told.map(|body| steps(&body.steps)).unwrap_or_default(),
        not_covered: told
            .iter()
            .flat_map(|body| &body.not_covered)
            .map(|open| Cannot { what: open.what.clone(), until_ms: open.until.map(|at| at.0) })
            .collect(),
        remarks: body.map(|body| body.remarks).unwrap_or_default(),
        compact: compact.to_owned(),
    }
}

/// Stores with the apps' names for people, where those are known.
fn stores(reports: &[StoreReport], names: &[(String, String)]) -> Vec<StoreLine> {
    let name = |id: &str| match names.iter().find(|(app, _)| app == id) {
        Some((_, name)) => name.clone(),
        None => id.to_owned(),
    };
    let line = |report: &StoreReport| StoreLine {
        app: name(&report.app),
        profile: report.profile.clone(),
        store: report.store.clone(),
        verdict: report.verdict.into(),
        why: report.detail.clone(),
    };
    reports.iter().map(line).collect()
}

fn steps(reports: &[StepReport]) -> Vec<StepLine> {
    let line = |report: &StepReport| StepLine {
        step: report.step.clone(),
        took_ms: report.ms,
        problem: report.error.clone(),
    };
    reports.iter().map(line).collect()
}

/// The receipt claims inside a compact SET (RFC 8417 §2.2: `events`), if it holds any.
fn body(compact: &str) -> Option<ReceiptBody> {
    let payload = compact.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let events = claims.get("events")?.as_object()?;
    events.values().find_map(|event| serde_json::from_value(event.clone()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{NOW, TXN, compact, store};
    use crate::view::{self, Verdict};

    #[test]
    fn reads_the_claims_of_a_signed_record() {
        let line = ReceiptLine {
            seq: 12,
            txn: TXN.parse().unwrap(),
            outcome: exeunt_domain::Outcome::Partial,
            at: NOW,
            subject: None,
            receipt: compact(vec![store(Some(exeunt_domain::Verdict::Residual))]),
        };
        let last = last(&line, "occ-07");
        assert_eq!(last.outcome, view::Outcome::Partial);
        assert_eq!((last.receipt.seq, last.receipt.pinned), (Some(12), Some(true)));
        assert_eq!(last.receipt.stores[0].verdict, Verdict::Residual);
        assert_eq!(last.receipt.not_covered[0].what, "phone");
    }

    #[test]
    fn anything_but_a_receipt_decodes_to_nothing() {
        for text in ["", "a.b.c", "a.e30.c", "a.eyJldmVudHMiOnsieCI6e319fQ.c"] {
            assert!(body(text).is_none(), "{text}");
        }
    }
}
