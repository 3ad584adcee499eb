//! `exeunt admin playbook`.
//!
//! It refuses to say that a playbook is done: what is to be seen to stays open until it is ticked.

use exeunt_api::playbook::{PlaybookList, PlaybookRequest};
use exeunt_api::{SignOutResponse, path};
use exeunt_domain::Outcome;

use super::credentials::load;
use super::sign_out::words;
use super::txn::follow;
use crate::args::admin::{PlaybookCommand, RunPlaybook};
use crate::fault::Fault;
use crate::out::Out;

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: PlaybookCommand) -> Result<u8, Fault> {
    match command {
        PlaybookCommand::List => {
            let list: PlaybookList = load()?.get(path::PLAYBOOKS, &[]).await?;
            out.answer(serde_json::to_value(&list)?, || described(&list))?;
            Ok(0)
        }
        PlaybookCommand::Run(typed) => play(out, typed).await,
    }
}

async fn play(out: Out, typed: RunPlaybook) -> Result<u8, Fault> {
    let hub = load()?;
    let request = PlaybookRequest {
        subject: typed.subject.key(),
        reason: typed.reason,
        preview: typed.preview,
        digest: typed.digest,
        idempotency_key: typed.idempotency_key,
    };
    let at = format!("{}/{}", path::PLAYBOOKS, typed.name);
    let answer: SignOutResponse = hub.post(&at, &request).await?;
    let whose = format!("of {}", typed.subject);
    out.answer(serde_json::to_value(&answer)?, || words(&whose, &answer))?;
    let Some(txn) = &answer.txn else { return Ok(0) };
    out.progress("What is to be seen to now: `exeunt admin followup list`");
    if typed.follow {
        return follow(out, &hub, txn).await.map(Outcome::exit_code);
    }
    Ok(0)
}

fn described(list: &PlaybookList) -> String {
    let each = list.playbooks.iter().map(|one| {
        let hold = if one.hold { "\n  puts the subject on hold" } else { "" };
        let items: String = one.followups.iter().map(|text| format!("\n  - {text}")).collect();
        format!("{}: {}{hold}{items}", one.name, one.when)
    });
    each.collect::<Vec<_>>().join("\n")
}
