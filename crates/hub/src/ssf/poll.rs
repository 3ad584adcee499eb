//! A receiver's poll of its own stream (RFC 8936) with a true long poll.
//!
//! It refuses to forget a SET before it was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use exeunt_ssf::discovery::POLL;
use exeunt_ssf::{PollRequest, PollResponse};

use super::streams::own;
use crate::Hub;
use crate::http::{ApiError, Json, Named, StandardJson};
use crate::oauth::Reads;
use crate::store::Command;
use crate::store::stream::StreamCommand;

/// Most SETs in one answer.
const MOST_SETS: u32 = 64;
/// SETs in one answer when the receiver names no number.
const USUAL_SETS: u32 = 16;
/// Most acknowledgements in one request.
const MOST_ACKS: usize = 1024;

/// `POST /ssf/poll/{stream}`: acknowledgements first, then what waits, or a long poll.
///
/// # Errors
/// [`ApiError`].
///
/// # Cancel safety
/// A receiver that goes away gets the same SETs again.
pub async fn poll(
    State(hub): State<Arc<Hub>>,
    Reads(client): Reads,
    Named(name): Named<String>,
    StandardJson(request): StandardJson<PollRequest>,
) -> Result<Json<PollResponse>, ApiError> {
    let stream = own(&hub, &client, &name).await?;
    if stream.wishes.delivery.is_some_and(|delivery| delivery.method != POLL) {
        return Err(ApiError::invalid("this stream is pushed, not polled"));
    }
    if request.ack.len() + request.set_errs.len() > MOST_ACKS {
        let say = format!("more than {MOST_ACKS} acknowledgements at once");
        return Err(ApiError::invalid(say));
    }
    if !(request.ack.is_empty() && request.set_errs.is_empty()) {
        let refused = request.set_errs.into_iter();
        let refused = refused.map(|(jti, e)| (jti, e.err.chars().take(64).collect())).collect();
        let taken = StreamCommand::Taken { stream: name.clone(), acked: request.ack, refused };
        hub.sequencer.submit(Command::Stream(taken)).await?.reply?;
    }
    let most = request.max_events.unwrap_or(USUAL_SETS).min(MOST_SETS) as usize;
    if most == 0 {
        return Ok(Json(PollResponse::default()));
    }
    let hold = (!request.return_immediately).then_some(hub.limits.poll_hold);
    let deadline = tokio::time::sleep(hold.unwrap_or_default());
    tokio::pin!(deadline);
    let mut stopping = hub.stopping.clone();
    let mut bell = hub.shared.streams.listen(&name);
    loop {
        // Listening before looking: an event in between rings for us.
        bell.borrow_and_update();
        let asked = name.clone();
        let mut waiting = hub.views.read(move |view| view.stream_waiting(&asked, most + 1)).await?;
        if !waiting.is_empty() || hold.is_none() {
            let more_available = waiting.len() > most;
            waiting.truncate(most);
            let signed = super::sign(&hub, waiting).await?;
            let sets = signed.into_iter().map(|(set, compact)| (set.jti, compact));
            return Ok(Json(PollResponse {
                sets: sets.collect::<BTreeMap<_, _>>(),
                more_available,
            }));
        }
        let rung = tokio::select! {
            rung = bell.changed() => rung.is_ok(),
            () = &mut deadline => false,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        };
        if !rung {
            return Ok(Json(PollResponse::default()));
        }
        own(&hub, &client, &name).await?;
    }
}
