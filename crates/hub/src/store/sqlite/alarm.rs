//! What an operator has to look at, found in the audit.
//!
//! It refuses to keep a list of its own: what is not in the audit did not happen.

use exeunt_api::Alarm;
use exeunt_domain::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::words::object;
use crate::store::StoreError;

/// Alarms before the row `before`, newest first.
pub(super) fn list(db: &Connection, before: u64, limit: usize) -> Result<Vec<Alarm>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT seq, at, action, source_device, txn, detail FROM audit
         WHERE action IN ('receipt', 'stores-returned', 'order-overdue', 'restored', 'stream-alarm')
           AND seq < ?1
           AND (action <> 'receipt' OR detail ->> 'chain' <> 'whole'
             OR detail ->> 'coverage' = 'unexpected')
         ORDER BY seq DESC LIMIT ?2",
    )?;
    let mut rows = find.query(params![before, limit as u64])?;
    let mut alarms = Vec::new();
    while let Some(row) = rows.next()? {
        alarms.push(alarm(row)?);
    }
    Ok(alarms)
}

fn alarm(row: &Row<'_>) -> Result<Alarm, StoreError> {
    let (action, detail): (String, String) = (row.get(2)?, row.get(5)?);
    let detail: Value = object(&detail)?;
    let device: Option<String> = row.get(3)?;
    let named = || detail["device"].as_str().map(str::to_owned);
    let (kind, say) = match (action.as_str(), detail["chain"].as_str()) {
        ("receipt", Some("chain_gap")) => {
            ("receipt-missing", "receipts of this device are missing before this one".to_owned())
        }
        ("receipt", Some("chain_fork")) => {
            ("receipt-forked", "this receipt claims a place that is taken".to_owned())
        }
        ("receipt", _) => ("coverage-unexpected", "it looked for another set of stores".to_owned()),
        ("stores-returned", _) => ("stores-returned", "stores came back after a close".to_owned()),
        ("order-overdue", _) => ("order-overdue", "no receipt before the deadline".to_owned()),
        ("stream-alarm", _) => ("stream-alarm", stream(&detail)),
        _ => ("restored", "this hub was restored from a copy; what came after it is lost".into()),
    };
    Ok(Alarm {
        seq: row.get(0)?,
        at: Timestamp(row.get(1)?),
        kind: kind.to_owned(),
        device: device.or_else(named),
        txn: row.get(4)?,
        detail: say,
    })
}

/// What is wrong with a transmitter, which the row names.
fn stream(detail: &Value) -> String {
    let text = |name: &str| detail[name].as_str();
    match (text("why"), text("status")) {
        (Some(why), _) => format!("a transmitter that is polled: {why}"),
        (None, status) => {
            let reason = text("reason").unwrap_or("no reason given");
            format!("a transmitter's stream is {}: {reason}", status.unwrap_or("not enabled"))
        }
    }
}
