//! `exeunt admin session`.
//!
//! It refuses to list everyone: a subject is named.

use exeunt_api::{SessionInfo, SessionList, path};
use exeunt_domain::SessionStatus;

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

/// One line a session.
pub(crate) fn session_words(sessions: &[SessionInfo]) -> String {
    let lines = sessions.iter().map(|session| {
        let status = match session.status {
            SessionStatus::Active => "active",
            SessionStatus::Ended => "ended",
            SessionStatus::Revoked => "revoked",
        };
        let seen = ago(session.last_seen, now());
        format!("  {status:<8} {}, at {}, last seen {seen}", session.label, session.place)
    });
    lines.collect::<Vec<_>>().join("\n")
}
