//! Orders on their way to devices: RFC 8936 poll delivery with a true long poll.
//!
//! It refuses to queue: per device it keeps a bell, two positions, and what was sent and not yet
//! settled; the record keeps the rest.

mod mail;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use exeunt_domain::{DeviceId, Jti};
use exeunt_ssf::{PollRequest, PollResponse};

use crate::Hub;
use crate::http::{ApiError, Json, StandardJson};
use crate::oauth::Agent;
use crate::sequencer::Unavailable;
use crate::store::Command;
use crate::store::command::Ack;

use mail::Look;
pub use mail::{Link, Mail};

/// Most SETs in one answer.
const MOST_SETS: u32 = 256;
/// SETs in one answer when the receiver names no number.
const USUAL_SETS: u32 = 64;
/// How many devices' acknowledgements are written in one command.
const SETTLED_AT_ONCE: usize = 256;
/// Most acknowledgements in one request.
const MOST_ACKS: usize = 1024;

/// `POST /ssf/poll` (RFC 8936 §2.2): first the acknowledgements, then what waits, or a long poll.
///
/// # Errors
/// [`ApiError`].
///
/// # Cancel safety
/// A receiver that goes away gets the same SETs again.
pub async fn poll(
    State(hub): State<Arc<Hub>>,
    agent: Agent,
    StandardJson(request): StandardJson<PollRequest>,
) -> Result<Json<PollResponse>, ApiError> {
    if request.ack.len() + request.set_errs.len() > MOST_ACKS {
        let say = format!("more than {MOST_ACKS} acknowledgements at once");
        return Err(ApiError::invalid(say));
    }
    let link = hub.shared.mail.link(&agent.device, crate::sequencer::now());
    // What is done before the wait is boxed and gone by then: a parked poll is this function's
    // own variables, as many times as there are devices.
    if !request.ack.is_empty() || !request.set_errs.is_empty() {
        Box::pin(acknowledge(&hub, &agent, &link, &request)).await?;
    }
    let most = request.max_events.unwrap_or(USUAL_SETS).min(MOST_SETS) as usize;
    if most == 0 {
        return Ok(Json(PollResponse::default()));
    }
    if hub.shared.owes(&agent.device) {
        Box::pin(resign(&hub, &agent.device)).await?;
    }
    let hold = (!request.return_immediately).then_some(hub.limits.poll_hold);
    drop(request);
    let deadline = tokio::time::sleep(hold.unwrap_or_default());
    tokio::pin!(deadline);
    let mut stopping = hub.stopping.clone();
    let _parked = link.park();
    loop {
        let rung = link.rung();
        tokio::pin!(rung);
        // Listening before looking: an order in between rings for us.
        rung.as_mut().enable();
        if hub.shared.epoch(&agent.device) != Some(agent.epoch) {
            return Err(ApiError::unauthorized("this enrolment is over"));
        }
        let answer = match link.look() {
            Some(look) => Box::pin(waiting(&hub, &agent.device, &link, look, most)).await?,
            None => PollResponse::default(),
        };
        if !answer.sets.is_empty() || hold.is_none() || link.is_closed() {
            return Ok(Json(answer));
        }
        tokio::select! {
            () = &mut rung => {}
            () = &mut deadline => return Ok(Json(PollResponse::default())),
            _ = stopping.wait_for(|stopping| *stopping) => {
                return Ok(Json(PollResponse::default()));
            }
        }
    }
}

/// Signs again what a device owes an answer to.
///
/// # Errors
/// [`ApiError`] when it cannot be written.
pub async fn resign(hub: &Hub, device: &DeviceId) -> Result<(), ApiError> {
    let good_for_ms = hub.order_good_for_ms();
    let answer =
        hub.sequencer.submit(Command::Resign { device: device.clone(), good_for_ms }).await?;
    answer.reply?;
    Ok(())
}

async fn acknowledge(
    hub: &Hub,
    agent: &Agent,
    link: &Link,
    request: &PollRequest,
) -> Result<(), ApiError> {
    let named = request.ack.iter().chain(request.set_errs.keys());
    let known = link.acknowledge(named);
    for (jti, error) in &request.set_errs {
        let (err, device) = (&error.err, &agent.device);
        tracing::warn!(%device, %jti, %err, "a device's agent refused a SET");
    }
    if known
        && request.set_errs.is_empty()
        && let Some(pos) = settled(hub, &agent.device, link)
    {
        // As below: not waited for.
        hub.shared.mail.settle(&agent.device, agent.epoch, pos);
        return Ok(());
    }
    let refused = request.set_errs.iter();
    let refused = refused.map(|(jti, e)| (jti.clone(), e.err.chars().take(64).collect()));
    let ack = Ack {
        device: agent.device.clone(),
        epoch: agent.epoch,
        acked: request.ack.clone(),
        refused: refused.collect(),
    };
    let heard = hub.sequencer.enqueue(Command::Ack(ack)).await?;
    // What this process sent is remembered here until it is durable. Anything else, such as an
    // acknowledgement from before a restart, only the record can tell; and a refusal is noted.
    if !known || !request.set_errs.is_empty() {
        heard.await.map_err(|_| crate::sequencer::Unavailable::Stopped)??.reply?;
    }
    Ok(())
}

/// Writes down how far devices have acknowledged, many at a time: at an order to everyone they would
/// otherwise be as many commands as there are devices, in the way of the order itself. What is lost
/// before it is written is sent once more.
///
/// # Errors
/// [`Unavailable`]; what was not written by then is sent once more after a restart.
pub async fn write_settled(hub: &Hub) -> Result<(), Unavailable> {
    loop {
        let some = hub.shared.mail.take_settled(SETTLED_AT_ONCE);
        if some.is_empty() {
            return Ok(());
        }
        // Each batch waits for its commit, so that others' commands come in between.
        let _done = hub.sequencer.submit(Command::Settled(some)).await?.reply;
    }
}

/// The last position addressed to a device, when memory alone knows that all of it is
/// acknowledged: the record then needs no more than that number.
fn settled(hub: &Hub, device: &DeviceId, link: &Link) -> Option<u64> {
    let look = link.look()?;
    let recent = hub.shared.recent(device, look.settled?)?;
    let last = recent.last()?.pos;
    link.open(recent, look.latest).is_empty().then_some(last)
}

async fn waiting(
    hub: &Hub,
    device: &DeviceId,
    link: &Link,
    look: Look,
    most: usize,
) -> Result<PollResponse, ApiError> {
    let recent = look.settled.and_then(|after| hub.shared.recent(device, after));
    let entries = match recent {
        Some(entries) => entries,
        None => {
            // Unsettled acknowledgements may still be on their way to the record.
            let limit = most + 1 + look.unsettled;
            let (device, after) = (device.clone(), look.settled.unwrap_or(0));
            hub.views.read(move |view| view.outstanding(&device, after, limit)).await?
        }
    };
    let mut open = link.open(entries, look.latest);
    let more_available = open.len() > most;
    open.truncate(most);
    link.sent(&open);
    let sets: BTreeMap<Jti, String> =
        open.into_iter().map(|entry| (entry.jti, entry.compact)).collect();
    Ok(PollResponse { sets, more_available })
}
