//! `exeunt admin audit`.
//!
//! It refuses to call a log whole on its own word: the hub compares it with a signed head.

mod ocsf;
mod rfc5424;

use exeunt_api::{AuditEntry, AuditVerdict, path};

use super::credentials::load;
use crate::args::ExportFormat;
use crate::args::admin::Audit;
use crate::fault::{EXIT_ERROR, Fault};
use crate::out::{Out, count, line};

/// Rows asked for at a time.
const PAGE: usize = 1000;

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Audit) -> Result<u8, Fault> {
    match command {
        Audit::Verify => verify(out).await,
        Audit::Export { format, after } => export(format, after).await,
    }
}

async fn verify(out: Out) -> Result<u8, Fault> {
    let verdict: AuditVerdict = load()?.get(path::AUDIT_VERIFY, &[]).await?;
    out.answer(serde_json::to_value(&verdict)?, || {
        let rows = count(usize::try_from(verdict.rows).unwrap_or(usize::MAX), "row");
        match &verdict.reason {
            None => format!("The log is whole: {rows} up to the signed head {}.", verdict.head_seq),
            Some(reason) => format!("The log is NOT whole: {reason} ({rows} read)."),
        }
    })?;
    Ok(if verdict.verified { 0 } else { EXIT_ERROR })
}

/// The hub's own lines, unchanged, so that their hashes can be checked; or each in another form.
async fn export(format: ExportFormat, mut after: u64) -> Result<u8, Fault> {
    let hub = load()?;
    let host = hub.address().host();
    loop {
        let query = [("after", after.to_string()), ("limit", PAGE.to_string())];
        let page = hub.get_text(path::AUDIT, &query).await?;
        let page = String::from_utf8(page)
            .map_err(|_| Fault::new("hub_answer", "the hub's log is not text"))?;
        let mut last = after;
        for row in page.lines().filter(|row| !row.trim().is_empty()) {
            let entry: AuditEntry = serde_json::from_str(row)?;
            match format {
                ExportFormat::Jsonl => line(row)?,
                ExportFormat::Ocsf => line(&ocsf::event(&entry).to_string())?,
                ExportFormat::Rfc5424 => line(&rfc5424::message(&entry, &host)?)?,
            }
            last = entry.seq;
        }
        if last <= after {
            return Ok(0);
        }
        after = last;
    }
}
