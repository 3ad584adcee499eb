//! `exeunt admin hold`.
//!
//! It refuses a hold, or its end, without a reason.

use exeunt_api::path;
use exeunt_api::playbook::{HoldList, HoldRequest};
use serde_json::json;

use super::credentials::load;
use crate::args::admin::HoldCommand;
use crate::fault::Fault;
use crate::out::{Out, ago, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: HoldCommand) -> Result<u8, Fault> {
    let hub = load()?;
    match command {
        HoldCommand::List => {
            let list: HoldList = hub.get(path::HOLDS, &[]).await?;
            out.answer(serde_json::to_value(&list)?, || words(&list))?;
        }
        HoldCommand::Place { subject, reason } => {
            hub.tell(path::HOLDS, &HoldRequest { subject: subject.key(), reason }).await?;
            out.answer(json!({ "held": subject.key() }), || {
                format!("{subject} is on hold: no session of theirs begins.")
            })?;
        }
        HoldCommand::Release { subject, reason } => {
            hub.tell(path::HOLDS_RELEASE, &HoldRequest { subject: subject.key(), reason }).await?;
            out.answer(json!({ "released": subject.key() }), || format!("{subject} is released."))?;
        }
    }
    Ok(0)
}

fn words(list: &HoldList) -> String {
    if list.holds.is_empty() {
        return "Nobody is on hold.".into();
    }
    let lines = list.holds.iter().map(|one| {
        format!("  {}, by {}, {}: {}", one.subject, one.by, ago(one.since, now()), one.reason)
    });
    lines.collect::<Vec<_>>().join("\n")
}
