//! `exeunt session`: whose session this console is.
//!
//! It refuses to say that a session ended elsewhere: only the hub knows.

use exeunt_ipc::message::{
    AgentAnswer, AgentRequest, ConsoleSession, HubSession, WardenAnswer, WardenRequest,
};
use serde_json::json;

use crate::args;
use crate::device::{ask, ask_agent, not_that};
use crate::fault::Fault;
use crate::out::{Out, ago, now};

/// Runs one of its commands.
pub(crate) fn run(out: Out, command: args::Session) -> Result<u8, Fault> {
    match command {
        args::Session::Begin { subject, uid } => {
            let sessions = sessions(WardenRequest::SessionBegin { subject, uid })?;
            out.answer(json!({ "sessions": sessions }), || console_words(&sessions))?;
        }
        args::Session::End => {
            let answer = ask(WardenRequest::SessionEnd)?;
            let WardenAnswer::Done = answer else { return Err(not_that(answer)) };
            out.answer(json!({ "ended": true }), || "The session ended.".into())?;
        }
        args::Session::List => list(out)?,
    }
    Ok(0)
}

fn sessions(request: WardenRequest) -> Result<Vec<ConsoleSession>, Fault> {
    let answer = ask(request)?;
    let WardenAnswer::Sessions { sessions } = answer else { return Err(not_that(answer)) };
    Ok(sessions)
}

fn list(out: Out) -> Result<(), Fault> {
    let here = sessions(WardenRequest::SessionList)?;
    let (elsewhere, why_not) = match at_hub() {
        Ok(sessions) => (Some(sessions), None),
        Err(fault) => (None, Some(fault)),
    };
    let error =
        why_not.as_ref().map(|fault| json!({ "code": fault.code(), "message": fault.message() }));
    let object = json!({ "sessions": here, "hub_sessions": elsewhere, "hub_error": error });
    out.answer(object, || {
        let mut words = console_words(&here);
        match (&elsewhere, &why_not) {
            (Some(sessions), _) => {
                for session in sessions {
                    let here = if session.here { " (this device)" } else { "" };
                    let seen = ago(session.last_seen, now());
                    words.push_str(&format!(
                        "\n  {}{here}, at {}, last seen {seen}",
                        session.label, session.place
                    ));
                }
            }
            (None, Some(fault)) => {
                words.push_str(&format!("\nElsewhere: not known. {}", fault.message()));
            }
            (None, None) => {}
        }
        words
    })
}

fn at_hub() -> Result<Vec<HubSession>, Fault> {
    match ask_agent(AgentRequest::HubSessions)? {
        AgentAnswer::Sessions { sessions } => Ok(sessions),
        AgentAnswer::Failed(failure) => Err(failure.into()),
        AgentAnswer::Status(_) | AgentAnswer::Txn(_) => {
            Err(Fault::new("internal", "the agent answered another question"))
        }
    }
}

fn console_words(sessions: &[ConsoleSession]) -> String {
    if sessions.is_empty() {
        return "Nobody is signed in at this console.".into();
    }
    let lines = sessions.iter().map(|session| {
        let reach = if session.proof.reaches_everywhere() {
            "may sign out everywhere"
        } else {
            "ends this device only"
        };
        let since = ago(session.since, now());
        format!("{} at this console since {since}: {reach}", session.subject)
    });
    lines.collect::<Vec<_>>().join("\n")
}
