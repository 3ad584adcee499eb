//! From the warden to the hub: SETs in the order in which the warden signed them, over and over
//! until the hub has them durably or refuses them for good.
//!
//! It refuses to drop one, to overtake one, and to call one delivered on its own word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use exeunt_domain::order::ENROLLED_EVENT;
use exeunt_domain::{DeviceId, Jti};
use exeunt_ipc::message::{UplinkRoute, UplinkSet, WardenAnswer, WardenRequest};
use exeunt_signal::http::exchange_set;
use exeunt_signal::{Backoff, HubUrl, PushError, TransportError};
use exeunt_ssf::{EnrolledEvent, SetErr, SetError};

use crate::context::{Context, Hub, wait_or_nudge};
use crate::state::Enrolment;
use crate::warden::{WardenGone, WardenLine, code_of, failure_of};

/// How long to wait when the warden will not hand over its SETs.
const WARDEN_PAUSE: Duration = Duration::from_secs(5);

/// What became of a batch.
#[derive(Debug, Default)]
struct Results {
    accepted: Vec<Jti>,
    refused: BTreeMap<Jti, String>,
}

/// Carries SETs up for as long as the agent runs.
///
/// # Errors
/// [`WardenGone`] when the agent is stopping.
pub async fn run(context: Arc<Context>, warden: WardenLine) -> Result<(), WardenGone> {
    let mut backoff = Backoff::default();
    loop {
        let answer = warden.ask_until_answered(WardenRequest::TakeUplink).await?;
        let WardenAnswer::Uplink { sets } = answer else {
            tracing::error!(code = code_of(answer), "the warden does not hand over its SETs");
            wait_or_nudge(&context.nudge, WARDEN_PAUSE).await;
            continue;
        };
        if sets.is_empty() {
            context.set_waiting(0);
            continue;
        }
        context.set_waiting(sets.len());
        // From here on, so that no nudge falls between a failure and the wait after it.
        let nudged = context.nudge.notified();
        let (results, stopped_by) = send_all(&context, &warden, &sets).await?;
        let settled = results.accepted.len() + results.refused.len();
        context.set_waiting(sets.len() - settled);
        report(&context, &warden, results).await?;
        let Some(error) = stopped_by else {
            backoff.succeeded();
            continue;
        };
        if settled > 0 {
            backoff.succeeded();
        }
        let wait = backoff.failed(&error);
        let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%error, waiting = sets.len() - settled, retry_ms, "the hub has not got all");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = nudged => {}
        }
    }
}

/// Sends each in order. The error is what stopped it before the end.
async fn send_all(
    context: &Context,
    warden: &WardenLine,
    sets: &[UplinkSet],
) -> Result<(Results, Option<TransportError>), WardenGone> {
    let mut results = Results::default();
    for set in sets {
        let jti = &set.jti;
        let sent = match &set.to {
            UplinkRoute::Events => push(context, &set.set).await,
            UplinkRoute::Lease => renew(context, warden, &set.set).await?,
            UplinkRoute::Enrolment { hub } => enrol(context, warden, hub, &set.set).await?,
        };
        match sent {
            Ok(()) => {
                tracing::info!(%jti, "the hub took a SET");
                if let Ok(set) = exeunt_ssf::read_unverified(&set.set) {
                    context.book().learn_set(&set);
                }
                results.accepted.push(jti.clone());
            }
            Err(PushError::Refused(refusal)) => {
                tracing::warn!(%jti, code = refusal.err, "the hub refused a SET");
                results.refused.insert(jti.clone(), refusal.err);
            }
            Err(PushError::Transport(error)) => return Ok((results, Some(error))),
        }
    }
    Ok((results, None))
}

async fn push(context: &Context, set: &str) -> Result<(), PushError> {
    let hub: Option<Hub> = context.hub().borrow().clone();
    let Some(hub) = hub else {
        let why = "this device is not enrolled with a hub that can be spoken to";
        return Err(TransportError::Unreachable(why.into()).into());
    };
    let pushed = hub.client.push(set).await;
    note(context, &pushed);
    pushed
}

/// Carries the warden's request for a renewal up and the hub's answer down. What the warden makes of
/// it is the warden's: the request is settled either way, and it asks again when it wants to.
async fn renew(
    context: &Context,
    warden: &WardenLine,
    set: &str,
) -> Result<Result<(), PushError>, WardenGone> {
    let hub: Option<Hub> = context.hub().borrow().clone();
    let Some(hub) = hub else {
        let why = "this device is not enrolled with a hub that can be spoken to";
        return Ok(Err(TransportError::Unreachable(why.into()).into()));
    };
    let reply = hub.client.exchange(exeunt_api::path::LEASE, set).await;
    note(context, &reply);
    let set = match reply {
        Ok(set) => set,
        Err(error) => return Ok(Err(error)),
    };
    let answer = warden.ask_until_answered(WardenRequest::Deliver { set }).await?;
    if !matches!(answer, WardenAnswer::Done) {
        tracing::warn!(code = code_of(answer), "the warden does not renew its lease");
    }
    Ok(Ok(()))
}

/// Presents an enrolment, hands the hub's reply to the warden, and takes over what it then says.
async fn enrol(
    context: &Context,
    warden: &WardenLine,
    hub: &str,
    set: &str,
) -> Result<Result<(), PushError>, WardenGone> {
    let url = match HubUrl::parse(hub) {
        Ok(url) => url,
        Err(error) => {
            let description = error.to_string();
            tracing::error!(%error, "the enrolment token names a hub that cannot be spoken to");
            let err = "invalid_request".to_owned();
            return Ok(Err(PushError::Refused(SetErr { err, description })));
        }
    };
    let reply = exchange_set(&context.http, &url.at(exeunt_api::path::ENROL), set).await;
    note(context, &reply);
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Ok(Err(error)),
    };
    let request = WardenRequest::Deliver { set: reply.clone() };
    let answer = warden.ask_until_answered(request).await?;
    if !matches!(answer, WardenAnswer::Done) {
        let failure = failure_of(answer);
        tracing::warn!(code = failure.code, "the warden refused the hub's answer");
        let refusal = SetErr { err: failure.code, description: failure.message };
        return Ok(Err(PushError::Refused(refusal)));
    }
    // The warden verified it: from now on this is the hub.
    match named_device(&reply) {
        Ok(device) => context.learn(Enrolment { hub: url.as_str().to_owned(), device }),
        Err(error) => tracing::error!(%error, "the hub's answer names no device"),
    }
    Ok(Ok(()))
}

fn named_device(reply: &str) -> Result<DeviceId, SetError> {
    let event: EnrolledEvent = exeunt_ssf::read_unverified(reply)?.event_as(ENROLLED_EVENT)?;
    Ok(event.device)
}

fn note<T>(context: &Context, sent: &Result<T, PushError>) {
    match sent {
        Ok(_) | Err(PushError::Refused(_)) => context.attempted(None),
        Err(PushError::Transport(error)) => context.attempted(Some(error)),
    }
}

async fn report(
    context: &Context,
    warden: &WardenLine,
    results: Results,
) -> Result<(), WardenGone> {
    let Results { accepted, refused } = results;
    if accepted.is_empty() && refused.is_empty() {
        return Ok(());
    }
    let request = WardenRequest::UplinkResult { accepted, refused };
    let answer = warden.ask_until_answered(request).await?;
    if !matches!(answer, WardenAnswer::Done) {
        // The warden offers the same SETs again, and the hub deduplicates.
        tracing::error!(code = code_of(answer), "the warden does not take the hub's word");
        wait_or_nudge(&context.nudge, WARDEN_PAUSE).await;
    }
    Ok(())
}
