//! The receipt for reading: the warden's own words, and the claims inside the signed record.
//!
//! It refuses to vouch: it decodes and does not verify. `exeunt receipt verify` does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::receipt::ReceiptBody;
use exeunt_ipc::message::Closed;
use serde_json::Value;

use crate::view::{Cannot, Receipt, StepLine, StoreLine};

/// The receipt of `closed`. What the record does not tell stays none.
pub(crate) fn receipt(closed: &Closed, device: &str, names: &[(String, String)]) -> Receipt {
    let body = body(&closed.receipt);
    let name = |id: &str| match names.iter().find(|(app, _)| app == id) {
        Some((_, name)) => name.clone(),
        None => id.to_owned(),
    };
    Receipt {
        seq: body.as_ref().map(|body| body.seq),
        txn: closed.txn.as_str().to_owned(),
        signer: device.to_owned(),
        pinned: body.as_ref().map(|body| body.pinned),
        catalogue: body.as_ref().map(|body| body.catalogue.clone()),
        checked_ms: body.as_ref().map(|body| body.checked.0),
        stores: closed
            .stores
            .iter()
            .map(|store| StoreLine {
                app: name(&store.app),
                profile: store.profile.clone(),
                store: store.store.clone(),
                verdict: store.verdict.into(),
                why: store.detail.clone(),
            })
            .collect(),
        steps: closed
            .steps
            .iter()
            .map(|step| StepLine {
                step: step.step.clone(),
                took_ms: step.ms,
                problem: step.error.clone(),
            })
            .collect(),
        not_covered: body
            .iter()
            .flat_map(|body| &body.not_covered)
            .map(|open| Cannot { what: open.what.clone(), until_ms: open.until.map(|at| at.0) })
            .collect(),
        remarks: body.map(|body| body.remarks).unwrap_or_default(),
        compact: closed.receipt.clone(),
    }
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

    #[test]
    fn anything_but_a_receipt_decodes_to_nothing() {
        for text in ["", "a.b.c", "a.e30.c", "a.eyJldmVudHMiOnsieCI6e319fQ.c"] {
            assert!(body(text).is_none(), "{text}");
        }
    }
}
