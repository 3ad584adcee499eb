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
use crate::out::{Out, count};

/// Shows, or does, or does and follows.
pub(crate) async fn run(out: Out, typed: SignOut) -> Result<u8, Fault> {
    let hub = load()?;
    let whose = typed.subject.ok_or_else(|| Fault::usage("name a subject"))?;
    let subject = whose.to_string();
    let request = SignOutRequest {
        subject: whose.key(),
        tier: Some(typed.tier),
        reason: typed.reason,
        preview: typed.preview,
        idempotency_key: typed.idempotency_key,
        device: typed.device.into_iter().next(),
        digest: typed.digest,
    };
    let answer: SignOutResponse = hub.post(path::SIGN_OUT, &request).await?;
    out.answer(serde_json::to_value(&answer)?, || words(&subject, &answer))?;
    match &answer.txn {
        Some(txn) if typed.follow => follow(out, &hub, txn).await.map(Outcome::exit_code),
        Some(_) | None if answer.outcome == Outcome::Refused => Ok(EXIT_REFUSED),
        Some(_) | None => Ok(0),
    }
}

fn words(subject: &str, answer: &SignOutResponse) -> String {
    let sessions = count(answer.sessions.len(), "session");
    let devices = count(answer.devices.len(), "device");
    let list = session_words(&answer.sessions);
    let head = match &answer.txn {
        None => format!(
            "{sessions} of {subject} would end, and {devices} would close. Nothing was touched."
        ),
        Some(txn) => format!(
            "Committed: {sessions} of {subject} refused from now on; {devices} ordered to close.\n\
             Transaction {txn}: {}. Watch it with `exeunt admin txn show {txn} --follow`.",
            answer.outcome
        ),
    };
    let names: Vec<String> = answer.devices.iter().map(|d| format!("  device   {d}")).collect();
    [head, list, names.join("\n")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}
