//! `exeunt admin sign-out`.
//!
//! It refuses to call a commit an end: devices are followed until their receipts are there.

use exeunt_api::{SignOutRequest, SignOutResponse, path};
use exeunt_domain::Outcome;

use super::credentials::load;
use super::session::session_words;
use super::txn::follow;
use crate::args::admin::SignOut;
use crate::fault::{EXIT_REFUSED, Fault};
use crate::out::{Out, ago, count, now};

/// Shows, or does, or does and follows.
pub(crate) async fn run(out: Out, typed: SignOut) -> Result<u8, Fault> {
    let hub = load()?;
    let whose = whose(&typed);
    let request = SignOutRequest {
        subject: typed.subject.map(|subject| subject.key()),
        session: typed.session,
        application: typed.application,
        tier: Some(typed.tier),
        reason: typed.reason,
        preview: typed.preview,
        idempotency_key: typed.idempotency_key,
        device: typed.at.or_else(|| typed.device.into_iter().next()),
        digest: typed.digest,
    };
    let answer: SignOutResponse = hub.post(path::SIGN_OUT, &request).await?;
    out.answer(serde_json::to_value(&answer)?, || words(&whose, &answer))?;
    match &answer.txn {
        Some(txn) if typed.follow => follow(out, &hub, txn).await.map(Outcome::exit_code),
        Some(_) | None if answer.outcome == Outcome::Refused => Ok(EXIT_REFUSED),
        Some(_) | None => Ok(0),
    }
}

/// What the sign-out is of, in words.
fn whose(typed: &SignOut) -> String {
    match (&typed.subject, &typed.session, &typed.application, &typed.at) {
        (Some(subject), _, _, _) => match typed.device.first() {
            None => format!("of {subject}"),
            Some(device) => format!("of {subject} at {device}"),
        },
        (None, Some(session), _, _) => format!("named {session}"),
        (None, None, Some(aud), _) => format!("of the application {aud}"),
        (None, None, None, Some(device)) => format!("at {device}, whoever's,"),
        (None, None, None, None) => "of nobody".to_owned(),
    }
}

/// The answer for people, for a sign-out that is `whose`.
pub(crate) fn words(whose: &str, answer: &SignOutResponse) -> String {
    let sessions = count(answer.sessions.len(), "session");
    let devices = count(answer.devices.len(), "device");
    let list = session_words(&answer.sessions);
    let head = match &answer.txn {
        None => format!(
            "{sessions} {whose} would end, and {devices} would close. Nothing was touched.\n\
             Execute exactly this with --digest {}",
            answer.digest
        ),
        Some(txn) => format!(
            "Committed: {sessions} {whose} refused from now on; {devices} ordered to close.\n\
             Transaction {txn}: {}. Watch it with `exeunt admin txn show {txn} --follow`.",
            answer.outcome
        ),
    };
    let names: Vec<String> = answer.devices.iter().map(|d| format!("  device   {d}")).collect();
    let aliases = match answer.aliases.as_slice() {
        [] | [_] => String::new(),
        all => format!("  names    {}", all.join(", ")),
    };
    [head, aliases, list, names.join("\n"), elsewhere(answer)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// What identity providers list, did not list now, and keep alive.
fn elsewhere(answer: &SignOutResponse) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(answer.federated.iter().map(|one| {
        let seen = one.last_seen.map(|at| format!(", last seen {}", ago(at, now())));
        format!("  {:<8} {}, at {}{}", "active", one.label, one.place, seen.unwrap_or_default())
    }));
    let not = answer.not_listed.iter();
    lines.extend(not.map(|one| format!("  {} lists its sessions not now: {}", one.place, one.why)));
    let cannot = answer.cannot.iter();
    lines.extend(
        cannot.map(|one| format!("  lives on {}: {} ({})", one.place, one.what, one.until)),
    );
    lines.join("\n")
}
