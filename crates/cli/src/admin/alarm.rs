//! `exeunt admin alarm`.
//!
//! It refuses to call an alarm handled: it shows what the audit holds.

use exeunt_api::{AlarmList, path};

use super::credentials::load;
use crate::args::admin::Alarm;
use crate::fault::{EXIT_ERROR, Fault};
use crate::out::{Out, ago, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Alarm) -> Result<u8, Fault> {
    let Alarm::List { before, limit } = command;
    let before = before.map(|before| ("before", before.to_string()));
    let query: Vec<_> = before.into_iter().chain([("limit", limit.to_string())]).collect();
    let list: AlarmList = load()?.get(path::ALARMS, &query).await?;
    out.answer(serde_json::to_value(&list)?, || words(&list))?;
    Ok(if list.alarms.is_empty() { 0 } else { EXIT_ERROR })
}

fn words(list: &AlarmList) -> String {
    if list.alarms.is_empty() {
        return "Nothing to look at.".into();
    }
    let lines = list.alarms.iter().map(|alarm| {
        let device = alarm.device.as_deref().map(|id| format!(" at {id}")).unwrap_or_default();
        let txn = alarm.txn.as_deref().map(|txn| format!(", txn {txn}")).unwrap_or_default();
        let (seq, when) = (alarm.seq, ago(alarm.at, now()));
        format!("{seq:>8} {when:<12} {}{device}: {}{txn}", alarm.kind, alarm.detail)
    });
    lines.collect::<Vec<_>>().join("\n")
}
