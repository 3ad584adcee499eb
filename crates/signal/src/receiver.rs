//! The poll loop of RFC 8936: each request carries what became of the last batch and waits for the
//! next.
//!
//! It refuses to acknowledge by itself: a SET is acknowledged only when its consumer says so, and
//! the acknowledgement is kept until the transmitter answered the request that carried it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use exeunt_domain::Jti;
use exeunt_ssf::{PollRequest, PollResponse, SetErr};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::transport::{Transport, TransportError};

/// How a receiver asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverSettings {
    /// At most so many SETs in one answer.
    pub max_events: u32,
    /// An empty answer to a long poll that comes sooner than this is no long poll.
    pub hasty: Duration,
    /// The pace at which a transmitter is asked that does not honour long polls.
    pub pace: Duration,
}

impl Default for ReceiverSettings {
    fn default() -> Self {
        Self { max_events: 64, hasty: Duration::from_millis(500), pace: Duration::from_secs(2) }
    }
}

/// Whether the transmitter answered the last attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// No attempt has ended yet.
    Unknown,
    /// It answered.
    Up,
    /// It did not; the next attempt comes by itself.
    Down(TransportError),
}

/// The receiving end of one stream.
#[derive(Debug)]
pub struct Receiver<T> {
    transport: T,
    settings: ReceiverSettings,
    backoff: Backoff,
    acks: Vec<Jti>,
    refusals: BTreeMap<Jti, SetErr>,
    /// The next request asks for an answer at once, to learn whether the link stands.
    probing: bool,
    hasty_answers: u32,
    link: watch::Sender<Link>,
    nudge: Arc<Notify>,
}

/// Empty answers in a row that may come at once, as at a restart, before the pace is slowed.
const HASTY_ALLOWED: u32 = 3;

impl<T: Transport> Receiver<T> {
    /// A receiver with nothing to acknowledge.
    pub fn new(transport: T, settings: ReceiverSettings) -> Self {
        Self {
            transport,
            settings,
            backoff: Backoff::default(),
            acks: Vec::new(),
            refusals: BTreeMap::new(),
            probing: true,
            hasty_answers: 0,
            link: watch::Sender::new(Link::Unknown),
            nudge: Arc::new(Notify::new()),
        }
    }

    /// Follows whether the transmitter answers; every answer is a change.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// The same receiver, whose waits between two attempts end when `nudge` is notified: someone
    /// learned that the hub is back.
    #[must_use]
    pub fn nudged_by(self, nudge: Arc<Notify>) -> Self {
        Self { nudge, ..self }
    }

    /// The SET is durable here; the next request says so (RFC 8936 §2.2, `ack`).
    pub fn ack(&mut self, jti: Jti) {
        self.refusals.remove(&jti);
        if !self.acks.contains(&jti) {
            self.acks.push(jti);
        }
    }

    /// The SET is refused for good; the next request says so (RFC 8936 §2.2, `setErrs`).
    pub fn refuse(&mut self, jti: Jti, error: SetErr) {
        self.acks.retain(|acked| *acked != jti);
        self.refusals.insert(jti, error);
    }

    /// Waits for SETs, over as many attempts as it takes. What was acknowledged goes with the first.
    ///
    /// Dropping the future loses nothing: acknowledgements stay until they were answered, and SETs
    /// that were on their way come again.
    pub async fn next(&mut self) -> BTreeMap<Jti, String> {
        let nudge = Arc::clone(&self.nudge);
        loop {
            let request = self.request();
            let asked = Instant::now();
            // From here on, so that no nudge falls between a failure and the wait after it.
            let nudged = nudge.notified();
            let wait = match self.attempt(&request).await {
                Ok(response) if response.sets.is_empty() => {
                    let long_poll = !request.return_immediately;
                    self.pace(long_poll && asked.elapsed() < self.settings.hasty)
                }
                Ok(response) => {
                    self.hasty_answers = 0;
                    return response.sets;
                }
                Err(error) => self.wait_after(error),
            };
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = nudged => {}
                }
            }
        }
    }

    /// Makes one attempt to hand over what was acknowledged, and takes no SET.
    ///
    /// # Errors
    /// [`TransportError`]; the acknowledgements stay for the next attempt.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        if self.acks.is_empty() && self.refusals.is_empty() {
            return Ok(());
        }
        let only_acks =
            PollRequest { max_events: Some(0), return_immediately: true, ..self.request() };
        self.attempt(&only_acks).await.map(drop)
    }

    fn request(&self) -> PollRequest {
        PollRequest {
            max_events: Some(self.settings.max_events),
            return_immediately: self.probing,
            ack: self.acks.clone(),
            set_errs: self.refusals.clone(),
        }
    }

    async fn attempt(&mut self, request: &PollRequest) -> Result<PollResponse, TransportError> {
        let response = self.transport.poll(request).await?;
        // Nothing was added meanwhile: `self` was borrowed for the whole attempt.
        self.acks.clear();
        self.refusals.clear();
        self.backoff.succeeded();
        self.probing = false;
        self.link.send_replace(Link::Up);
        tracing::debug!(
            sets = response.sets.len(),
            acks = request.ack.len(),
            refusals = request.set_errs.len(),
            "polled"
        );
        Ok(response)
    }

    fn pace(&mut self, hasty: bool) -> Duration {
        self.hasty_answers = if hasty { self.hasty_answers.saturating_add(1) } else { 0 };
        if self.hasty_answers <= HASTY_ALLOWED {
            return Duration::ZERO;
        }
        tracing::warn!("the transmitter does not honour long polls; asking at a slower pace");
        self.settings.pace
    }

    fn wait_after(&mut self, error: TransportError) -> Duration {
        let wait = self.backoff.failed(&error);
        let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%error, failures = self.backoff.failures(), retry_ms, "poll failed");
        self.probing = true;
        self.link.send_replace(Link::Down(error));
        wait
    }
}
