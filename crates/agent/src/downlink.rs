//! From the hub to the warden: each SET is handed over raw, and acknowledged once the warden has it
//! in its journal.
//!
//! It refuses to judge a SET, and to acknowledge one that the warden did not answer for.

use std::sync::Arc;
use std::time::Duration;

use exeunt_domain::Jti;
use exeunt_ipc::message::{WardenAnswer, WardenRequest};
use exeunt_signal::http::HttpTransport;
use exeunt_signal::{Link, Receiver, ReceiverSettings};
use exeunt_ssf::SetErr;

use crate::context::{Context, Hub, wait_or_nudge};
use crate::warden::{WardenGone, WardenLine, failure_of};

/// The codes of RFC 8935 §2.4: the warden's final word on a SET.
const FINAL_CODES: [&str; 6] = [
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
    "access_denied",
];

/// The first pause after the warden did not take a SET yet; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Carries SETs down for as long as the agent runs.
///
/// # Errors
/// [`WardenGone`] when the agent is stopping.
pub async fn run(context: Arc<Context>, warden: WardenLine) -> Result<(), WardenGone> {
    let mut hub = context.hub();
    loop {
        let current = hub.borrow_and_update().clone();
        let changed = async {
            if hub.changed().await.is_err() {
                // The context, which holds the sender, is alive as long as this task.
                std::future::pending::<()>().await;
            }
        };
        match current {
            None => changed.await,
            Some(current) => tokio::select! {
                () = changed => {}
                ended = follow(&context, &warden, &current) => ended?,
            },
        }
    }
}

async fn follow(context: &Arc<Context>, warden: &WardenLine, hub: &Hub) -> Result<(), WardenGone> {
    let transport = HttpTransport::new(hub.client.clone(), exeunt_api::path::POLL);
    let mut receiver =
        Receiver::new(transport, ReceiverSettings::default()).nudged_by(Arc::clone(&context.nudge));
    let mut link = receiver.link();
    let watching = async {
        while link.changed().await.is_ok() {
            match &*link.borrow_and_update() {
                Link::Unknown => {}
                Link::Up => context.attempted(None),
                Link::Down(error) => context.attempted(Some(error)),
            }
        }
    };
    let relaying = async {
        loop {
            for (jti, set) in receiver.next().await {
                tracing::info!(%jti, "a SET is here");
                match deliver(context, warden, &jti, &set).await? {
                    Ok(()) => receiver.ack(jti),
                    Err(refusal) => receiver.refuse(jti, refusal),
                }
            }
        }
    };
    tokio::select! {
        () = watching => Ok(()),
        ended = relaying => ended,
    }
}

/// Hands one SET to the warden until it has the last word. The inner error is that word.
async fn deliver(
    context: &Context,
    warden: &WardenLine,
    jti: &Jti,
    set: &str,
) -> Result<Result<(), SetErr>, WardenGone> {
    let mut pause = FIRST_PAUSE;
    loop {
        let request = WardenRequest::Deliver { set: set.to_owned() };
        let answer = warden.ask_until_answered(request).await?;
        if matches!(answer, WardenAnswer::Done) {
            tracing::info!(%jti, "the warden took a SET");
            if let Ok(set) = exeunt_ssf::read_unverified(set) {
                context.book().learn_set(&set);
            }
            return Ok(Ok(()));
        }
        let failure = failure_of(answer);
        if FINAL_CODES.contains(&failure.code.as_str()) {
            tracing::warn!(%jti, code = failure.code, "the warden refused a SET");
            return Ok(Err(SetErr { err: failure.code, description: failure.message }));
        }
        // Anything else passes: the SET is kept, and the ones after it wait their turn.
        tracing::warn!(%jti, code = failure.code, "the warden does not take a SET yet");
        wait_or_nudge(&context.nudge, pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
