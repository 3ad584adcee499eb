//! `exeunt admin followup`.
//!
//! It refuses to tick without a number: each is one thing that somebody did.

use exeunt_api::playbook::{FollowupList, TickRequest};
use exeunt_api::{Followup, path};
use serde_json::json;

use super::credentials::load;
use crate::args::admin::FollowupCommand;
use crate::fault::Fault;
use crate::out::{Out, ago, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: FollowupCommand) -> Result<u8, Fault> {
    let hub = load()?;
    match command {
        FollowupCommand::List { subject, all } => {
            let mut query = vec![("all", all.to_string())];
            query.extend(subject.map(|subject| ("subject", subject.key())));
            let list: FollowupList = hub.get(path::FOLLOWUPS, &query).await?;
            out.answer(serde_json::to_value(&list)?, || words(&list))?;
        }
        FollowupCommand::Tick { id, note, minutes_ago } => {
            let done_at = minutes_ago.map(|ago| now().0.saturating_sub(ago.saturating_mul(60_000)));
            let at = format!("{}/{id}/tick", path::FOLLOWUPS);
            hub.tell(&at, &TickRequest { note, done_at }).await?;
            out.answer(json!({ "ticked": id }), || format!("Ticked: {id}."))?;
        }
    }
    Ok(0)
}

fn words(list: &FollowupList) -> String {
    if list.followups.is_empty() {
        return "Nothing is open.".into();
    }
    list.followups.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn line(one: &Followup) -> String {
    let state = match (one.ticked, &one.ticked_by) {
        (Some(at), Some(by)) => format!("ticked {} by {by}", ago(at, now())),
        _ => format!("open since {}", ago(one.opened, now())),
    };
    let order = if one.after_end { ", counts only after the sessions ended" } else { "" };
    format!(
        "  {:>4}  {} ({}): {}\n        {state}{order}",
        one.id, one.subject, one.playbook, one.text
    )
}
