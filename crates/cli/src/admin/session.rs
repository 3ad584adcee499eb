//! `exeunt admin session`.
//!
//! It refuses to list everyone: a subject is named.

use exeunt_api::{SessionInfo, SessionList, path};
use exeunt_domain::{SessionKind, SessionStatus};

use super::credentials::load;
use crate::args::admin::Session;
use crate::fault::Fault;
use crate::out::{Out, ago, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Session) -> Result<u8, Fault> {
    let Session::List { subject } = command;
    let query = [("subject", subject.key())];
    let list: SessionList = load()?.get(path::SESSIONS, &query).await?;
    out.answer(serde_json::to_value(&list)?, || {
        if list.sessions.is_empty() {
            return format!("The hub knows no session of {subject}.");
        }
        session_words(&list.sessions)
    })?;
    Ok(0)
}

/// A table, one line a session: its name, status, kind, what a person recognises, and when.
pub(crate) fn session_words(sessions: &[SessionInfo]) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    let head = ["SESSION", "STATUS", "KIND", "WHAT", "WHERE", "SINCE", "LAST SEEN"];
    let rows = sessions.iter().map(|session| {
        let status = match session.status {
            SessionStatus::Active => "active",
            SessionStatus::Ended => "ended",
            SessionStatus::Revoked => "revoked",
        };
        let kind = match session.kind {
            SessionKind::Web => "web",
            SessionKind::Console => "console",
            SessionKind::Desktop => "desktop",
            SessionKind::Federated => "federated",
            SessionKind::ApiKey => "api key",
            SessionKind::Agent => "agent",
        };
        // A label often names the device already.
        let at = match &session.device {
            Some(device)
                if *device != session.place && !session.label.contains(device.as_str()) =>
            {
                format!("{}, on {device}", session.place)
            }
            Some(_) | None => session.place.clone(),
        };
        let (since, seen) = (ago(session.since, now()), ago(session.last_seen, now()));
        [session.id.clone(), status.into(), kind.into(), session.label.clone(), at, since, seen]
    });
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
