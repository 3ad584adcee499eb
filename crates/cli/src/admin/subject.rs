//! `exeunt admin subject`.
//!
//! It refuses to guess that two names are one subject's: the hub is told, with a reason.

use exeunt_api::{Alias, JoinRequest, SplitRequest, SubjectInfo, path};

use super::credentials::load;
use crate::args::admin::SubjectCommand;
use crate::fault::Fault;
use crate::out::{Out, ago, count, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: SubjectCommand) -> Result<u8, Fault> {
    let hub = load()?;
    let info: SubjectInfo = match command {
        SubjectCommand::Show { subject } => {
            hub.get(path::SUBJECT, &[("subject", subject.key())]).await?
        }
        SubjectCommand::Join { subject, alias, reason } => {
            let request = JoinRequest { subject: subject.key(), alias: alias.key(), reason };
            hub.post(path::SUBJECT_JOIN, &request).await?
        }
        SubjectCommand::Split { alias, reason } => {
            let request = SplitRequest { alias: alias.key(), reason };
            hub.post(path::SUBJECT_SPLIT, &request).await?
        }
    };
    out.answer(serde_json::to_value(&info)?, || words(&info))?;
    Ok(0)
}

fn words(info: &SubjectInfo) -> String {
    let sessions = count(usize::try_from(info.sessions).unwrap_or(usize::MAX), "live session");
    let head = match info.aliases.as_slice() {
        [_] => format!("{} has no other name, and {sessions}.", info.subject),
        all => format!("{} has {}, and {sessions}:", info.subject, count(all.len(), "name")),
    };
    let widest = info.aliases.iter().map(|one| one.alias.chars().count()).max().unwrap_or(0);
    let lines = info.aliases.iter().map(|one| line(one, widest));
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
}

fn line(one: &Alias, widest: usize) -> String {
    let since = match (&one.by, one.at) {
        (Some(by), Some(at)) => format!(", {by}, {}", ago(at, now())),
        _ => String::new(),
    };
    let out = match one.signed_out {
        Some(at) => format!("; signed out {}", ago(at, now())),
        None => String::new(),
    };
    format!("  {:<widest$}  {}{since}{out}", one.alias, one.how)
}
