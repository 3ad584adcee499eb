//! What the agent's tasks share: the hub in force, how the link stands, and who may read what.
//!
//! It refuses to outlive a process: nothing here is believed after a restart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exeunt_domain::Timestamp;
use exeunt_ipc::message::HubLink;
use exeunt_signal::{ClientCredentials, HubClient, HubUrl, TransportError};
use exeunt_ssf::SigningKey;
use tokio::sync::{Notify, watch};

use crate::book::Book;
use crate::state::{Enrolment, StateDir};

/// Scopes of a device's agent.
const SCOPE: &str = "ssf.read";
/// Local callers hurry the agent at most this often.
const NUDGE_EVERY_MS: u64 = 1000;

/// The hub that knows this device, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// As the hub answered it and the warden verified it.
    pub enrolment: Enrolment,
    /// Speaks to it with the transport key.
    pub client: HubClient,
}

/// Shared by every task.
#[derive(Debug)]
pub struct Context {
    /// Makes HTTP connections.
    pub http: reqwest::Client,
    /// Ends waits between attempts.
    pub nudge: Arc<Notify>,
    key: SigningKey,
    state: StateDir,
    hub: watch::Sender<Option<Hub>>,
    standing: Mutex<Standing>,
    book: Mutex<Book>,
    waiting: AtomicU64,
    nudged_at: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    reachable: bool,
    answered: Option<Timestamp>,
}

impl Context {
    /// A context with the hub of the last run, if there was one.
    ///
    /// # Errors
    /// When what was kept of it cannot be read.
    pub fn new(http: reqwest::Client, key: SigningKey, state: StateDir) -> anyhow::Result<Self> {
        let last = state.enrolment()?;
        let context = Self {
            http,
            nudge: Arc::new(Notify::new()),
            key,
            hub: watch::Sender::new(None),
            standing: Mutex::default(),
            book: Mutex::default(),
            waiting: AtomicU64::new(0),
            nudged_at: AtomicU64::new(0),
            state,
        };
        context.hub.send_replace(last.and_then(|enrolment| context.hub_of(enrolment)));
        Ok(context)
    }

    /// Follows which hub is in force.
    #[must_use]
    pub fn hub(&self) -> watch::Receiver<Option<Hub>> {
        self.hub.subscribe()
    }

    /// Speaks to the hub of `enrolment` from now on, which the warden verified. Nothing else tells
    /// the agent of a hub: it is no local requester, and does not ask the warden for its status.
    pub fn learn(&self, enrolment: Enrolment) {
        if let Err(error) = self.state.keep_enrolment(&enrolment) {
            tracing::error!(error = format!("{error:#}"), "the hub's address is not kept");
        }
        tracing::info!(device = %enrolment.device, "enrolled");
        *self.standing() = Standing::default();
        self.hub.send_replace(self.hub_of(enrolment));
    }

    /// The hub answered, or refused to.
    pub fn attempted(&self, failure: Option<&TransportError>) {
        let mut standing = self.standing();
        let was_down = !standing.reachable;
        standing.reachable = failure.is_none_or(TransportError::answered);
        if standing.reachable {
            standing.answered = Some(now());
        }
        let is_back = was_down && standing.reachable;
        drop(standing);
        if is_back {
            self.nudge.notify_waiters();
        }
    }

    /// Someone at this device looks: try the hub now rather than later.
    pub fn hurry(&self) {
        let now = now().0;
        let last = self.nudged_at.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= NUDGE_EVERY_MS || now < last {
            self.nudged_at.store(now, Ordering::Relaxed);
            self.nudge.notify_waiters();
        }
    }

    /// How the link stands, for the tray and the CLI.
    #[must_use]
    pub fn link(&self) -> HubLink {
        let hub = self.hub.borrow().as_ref().map(|hub| hub.enrolment.hub.clone());
        let Standing { reachable, answered } = *self.standing();
        HubLink { hub, reachable, answered, waiting: self.waiting.load(Ordering::Relaxed) }
    }

    /// How many SETs wait for the hub.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// Who may read what.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub_of(&self, enrolment: Enrolment) -> Option<Hub> {
        let url = HubUrl::parse(&enrolment.hub)
            .inspect_err(|error| tracing::error!(%error, "the hub cannot be spoken to"))
            .ok()?;
        let credentials = ClientCredentials::new(
            url.at(exeunt_api::path::TOKEN),
            enrolment.device.as_str().to_owned(),
            SCOPE.to_owned(),
            self.key.clone(),
        );
        let client = HubClient::new(self.http.clone(), url, Arc::new(credentials));
        Some(Hub { enrolment, client })
    }
}

/// A wait that ends early when someone learns that the hub is back.
pub(crate) async fn wait_or_nudge(nudge: &Notify, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = nudge.notified() => {}
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
