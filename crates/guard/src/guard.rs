//! The guard: what a relying service asks before it serves a request.
//!
//! It refuses to guess: it answers from the hub's own state, or says that it is stale.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use exeunt_check::wire::SessionRequest;
use exeunt_check::{Refusal, RevocationState, SessionKey, SubjectHash};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionId, Subject};
use exeunt_signal::{HubUrl, Trust};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::feed::Feed;
use crate::hub::{ConnectError, Hub, HubError};

/// What a guard does when it has not heard from the hub for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It refuses everyone.
    #[default]
    Strict,
    /// It answers by what it knows, and says so: [`Freshness::Stale`].
    BestEffort,
}

/// How a guard behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How old its knowledge may be; at least [`MIN_STALE`].
    pub max_stale: Duration,
    /// What it does beyond that.
    pub mode: Mode,
    /// Names this process, where a service runs several under one client id. A sign-out counts as
    /// verified for the service only when each of them holds it.
    pub instance: String,
    /// Whose certificates the hub may show.
    pub trust: Trust,
}

impl Default for Options {
    fn default() -> Self {
        let instance = std::process::id().to_string();
        Self {
            max_stale: Duration::from_secs(60),
            mode: Mode::Strict,
            instance,
            trust: Trust::Platform,
        }
    }
}

/// The shortest staleness limit: the hub counts waits in whole seconds, and a heartbeat must fit
/// within the limit twice.
pub const MIN_STALE: Duration = Duration::from_secs(2);

/// The options contradict the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("max_stale is {0:?}, and must be at least {MIN_STALE:?}")]
pub struct InvalidOptions(pub Duration);

/// A session as the check looks it up: parsed and hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    subject: SubjectHash,
    session: SessionKey,
    seq: u64,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The subject was signed out after the session was registered.
    #[error("signed out everywhere, at sequence {0}")]
    SignedOut(u64),
    /// This session was ended by name.
    #[error("this session was ended, at sequence {0}")]
    Ended(u64),
    /// The guard has not heard from the hub for so long.
    #[error("the hub has not been heard for {0:?}")]
    Stale(Duration),
}

/// How much an admission is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The hub was heard within the limit.
    Fresh,
    /// Best effort: the hub has not been heard for so long.
    Stale(Duration),
}

/// The guard did not reach a sequence in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guard holds sequence {have}, not yet {want}")]
pub struct Behind {
    /// What it holds.
    pub have: u64,
    /// What was asked for.
    pub want: u64,
}

/// An in-process revocation check, kept current in the background until its last clone is dropped.
#[derive(Clone, Debug)]
pub struct Guard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    known: Arc<Known>,
    hub: Hub,
    aud: String,
    options: Options,
    feed: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.feed.abort();
    }
}

/// What the background task writes and every check reads.
#[derive(Debug)]
pub(crate) struct Known {
    state: RwLock<(RevocationState, Instant)>,
    reached: watch::Sender<u64>,
    /// Rung by someone who wants a newer sequence now.
    pub(crate) hurry: Notify,
}

impl Known {
    pub(crate) fn new(state: RevocationState) -> Self {
        let reached = watch::Sender::new(state.seq());
        Self { state: RwLock::new((state, Instant::now())), reached, hurry: Notify::new() }
    }

    /// Takes over what the hub said; None of it when `change` fails.
    pub(crate) fn update<E>(
        &self,
        change: impl FnOnce(&mut RevocationState) -> Result<(), E>,
    ) -> Result<u64, E> {
        let seq = {
            let mut held = self.state.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut held.0)?;
            held.1 = Instant::now();
            held.0.seq()
        };
        self.reached.send_replace(seq);
        Ok(seq)
    }

    pub(crate) fn seq(&self) -> u64 {
        *self.reached.borrow()
    }
}

impl Guard {
    /// Connects to the hub at `hub_url`, takes a snapshot, and follows changes from then on.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        hub_url: &str,
        client_id: &str,
        client_secret: &str,
        options: Options,
    ) -> Result<Self, ConnectError> {
        if options.max_stale < MIN_STALE {
            return Err(InvalidOptions(options.max_stale).into());
        }
        let hub = Hub::new(HubUrl::parse(hub_url)?, client_id, client_secret, &options.trust)?;
        let snapshot = hub.snapshot().await?;
        let known = Arc::new(Known::new(snapshot.state()?));
        let feed = Feed::new(hub.clone(), Arc::clone(&known), &options);
        let feed = tokio::spawn(feed.follow()).abort_handle();
        let aud = snapshot.aud;
        Ok(Self { inner: Arc::new(Inner { known, hub, aud, options, feed }) })
    }

    /// The key of a session of this service: hash once, keep it with the session.
    #[must_use]
    pub fn key(&self, subject: &Subject, session: &SessionId, session_seq: u64) -> Key {
        Key {
            subject: SubjectHash::of(subject),
            session: SessionKey::from(&SessionHash::of(&self.inner.aud, session)),
            seq: session_seq,
        }
    }

    /// Whether a session may still be served; `session_seq` is what its registration answered.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(
        &self,
        subject: &Subject,
        session: &SessionId,
        session_seq: u64,
    ) -> Result<Freshness, Refused> {
        self.check_key(&self.key(subject, session, session_seq))
    }

    /// The same, of a session hashed before.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_key(&self, key: &Key) -> Result<Freshness, Refused> {
        let held = self.inner.known.state.read().unwrap_or_else(PoisonError::into_inner);
        let (state, heard) = &*held;
        match state.is_refused(key.subject, key.session, key.seq) {
            Some(Refusal::Watermark(mark)) => return Err(Refused::SignedOut(mark.seq)),
            Some(Refusal::Denied(seq)) => return Err(Refused::Ended(seq)),
            None => {}
        }
        let age = heard.elapsed();
        if age <= self.inner.options.max_stale {
            return Ok(Freshness::Fresh);
        }
        match self.inner.options.mode {
            Mode::Strict => Err(Refused::Stale(age)),
            Mode::BestEffort => Ok(Freshness::Stale(age)),
        }
    }

    /// The sequence up to which everything is known here.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.inner.known.seq()
    }

    /// Waits until everything committed up to `seq` is known here: after that, no session that a
    /// sign-out at `seq` ended is admitted.
    ///
    /// # Errors
    /// [`Behind`] when `within` passes first.
    pub async fn at_least(&self, seq: u64, within: Duration) -> Result<(), Behind> {
        let known = &self.inner.known;
        let mut reached = known.reached.subscribe();
        if *reached.borrow_and_update() >= seq {
            return Ok(());
        }
        known.hurry.notify_one();
        let there = reached.wait_for(|held| *held >= seq);
        match tokio::time::timeout(within, there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Behind { have: self.seq(), want: seq }),
        }
    }

    /// Registers a session that has just begun; keep the sequence with it.
    ///
    /// # Errors
    /// [`HubError`]; [`HubError::StaleAuth`] when the person must sign in again.
    pub async fn register(&self, session: &SessionRequest) -> Result<u64, HubError> {
        self.inner.hub.register(session).await
    }

    /// Ends a session of this service at the hub.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn end(&self, session: &SessionId) -> Result<(), HubError> {
        self.inner.hub.end(session).await
    }

    /// The audience for which this service registers sessions.
    #[must_use]
    pub fn aud(&self) -> &str {
        &self.inner.aud
    }
}
