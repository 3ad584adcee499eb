//! The conversations with warden and agent: each on a thread of its own, each answer into the model.
//!
//! It refuses to keep a socket open between questions, and to ask the agent for anything but facts.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exeunt_domain::receipt::LockReport;
use exeunt_domain::{Tier, Timestamp};
use exeunt_ipc::message::{
    self, AgentAnswer, AgentRequest, Failure, HubLink, HubSession, WardenAnswer, WardenRequest,
    WardenStatus,
};
use exeunt_ipc::{AgentClient, CodecError, ConnectError, Sockets, WardenClient};

use crate::model::Model;
use crate::view::{Hub, Start, Unreachable, View};

/// How often things are asked for again.
const REFRESH: Duration = Duration::from_secs(2);
/// How long an answer about the state may take.
const STATE_LIMIT: Duration = Duration::from_secs(5);
/// How long a survey for a preview may take.
const PREVIEW_LIMIT: Duration = Duration::from_secs(60);
/// How long a lock and its probe may take.
const LOCK_LIMIT: Duration = Duration::from_secs(15);
/// How long the other targets may take before the result is shown without them.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the hub's state is asked for while targets are still moving, and later.
const SOON: Duration = Duration::from_millis(250);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody is there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection or the answer broke.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The socket refused a deadline.
    #[error("setting a deadline: {0}")]
    Deadline(#[from] std::io::Error),
    /// The other side said no.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The other side answered another question.
    #[error("an answer to another question")]
    Mismatch,
}

/// What the window shows and whom it asks.
pub(crate) struct Link {
    sockets: Sockets,
    model: Mutex<Model>,
    show: Box<dyn Fn(View) + Send + Sync>,
    poke: Mutex<Sender<()>>,
}

impl Link {
    /// Starts asking how things stand; `show` is called with every new view.
    pub(crate) fn open(
        sockets: Sockets,
        start: Start,
        show: impl Fn(View) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (poke, poked) = channel();
        let link = Arc::new(Self {
            sockets,
            model: Mutex::new(Model::new(start)),
            show: Box::new(show),
            poke: Mutex::new(poke),
        });
        let watcher = Arc::clone(&link);
        thread::spawn(move || watcher.watch(&poked));
        link
    }

    /// The present view.
    pub(crate) fn view(&self) -> View {
        self.lock_model().view(now())
    }

    /// Asks again how things stand, now.
    pub(crate) fn refresh_soon(&self) {
        // A send fails only when the watcher is gone, which is the end of the process.
        let _ = self.poke.lock().unwrap_or_else(PoisonError::into_inner).send(());
    }

    /// Brings the window to `start`, as if it had been opened for it.
    pub(crate) fn summon(&self, start: Start) {
        self.change(|model, _| model.summon(start));
    }

    /// Asks the warden what a sign-out would do.
    pub(crate) fn ask_preview(self: &Arc<Self>) {
        self.change(|model, _| model.preview_asked());
        let link = Arc::clone(self);
        thread::spawn(move || {
            let answer = preview(&link.sockets).map_err(|error| error.to_string());
            link.change(|model, _| model.preview_answered(answer));
        });
    }

    /// Asks the warden to lock the screen and to prove it.
    pub(crate) fn lock(self: &Arc<Self>) {
        self.change(|model, _| model.lock_asked());
        let link = Arc::clone(self);
        thread::spawn(move || {
            let answer = lock(&link.sockets).map_err(|error| error.to_string());
            link.change(|model, now| model.lock_answered(answer, now));
        });
    }

    /// Sends the order. Does nothing while one is under way.
    pub(crate) fn sign_out(self: &Arc<Self>) {
        if let Some(request) = self.change(Model::order) {
            self.carry_out(request);
        }
    }

    /// The compact record of the shown containment, else the last one, and a name for its file.
    pub(crate) fn receipt(&self) -> Option<(String, String)> {
        let view = self.view();
        let receipt = match view.run {
            Some(run) => run.receipt?,
            None => view.last?.receipt,
        };
        let id = receipt.seq.map_or(receipt.txn, |seq| seq.to_string());
        Some((format!("exeunt-receipt-{id}.jwt"), receipt.compact))
    }

    fn watch(self: &Arc<Self>, poked: &Receiver<()>) {
        loop {
            self.refresh();
            // Either way it is time to ask again; the sender lives as long as `self`.
            let _ = poked.recv_timeout(REFRESH);
        }
    }

    fn refresh(self: &Arc<Self>) {
        let status = status(&self.sockets);
        let running = self.change(|model, now| {
            match status {
                Ok(status) => model.warden_answered(status),
                Err(error) => model.warden_away(reason(&error)),
            }
            model.running().filter(|_| model.follow(now))
        });
        if let Some(txn) = running {
            self.carry_out(WardenRequest::Follow { txn });
        }
        match hub_link(&self.sockets) {
            Ok(link) => {
                let sessions = link.reachable.then(|| hub_sessions(&self.sockets));
                self.change(|model, _| {
                    model.agent_answered(link);
                    model.hub_sessions(sessions.and_then(Result::ok));
                });
            }
            Err(_) => self.change(|model, _| model.agent_away()),
        }
    }

    /// Sends `request` and reports until its last answer; asks the hub about the rest meanwhile.
    fn carry_out(self: &Arc<Self>, request: WardenRequest) {
        let link = Arc::clone(self);
        thread::spawn(move || {
            if let Err(error) = link.converse(request) {
                link.change(|model, now| {
                    if let Some(run) = model.run_mut() {
                        if let AskError::Failed(failure) = error {
                            run.refused(&failure, now);
                        } else {
                            run.broke_off(error.to_string(), now);
                        }
                    }
                });
            }
            link.refresh_soon();
        });
        let link = Arc::clone(self);
        thread::spawn(move || link.ask_elsewhere());
    }

    fn converse(&self, request: WardenRequest) -> Result<(), AskError> {
        let mut warden = WardenClient::connect(&self.sockets.warden)?;
        let mut answer = warden.ask(request)?;
        loop {
            match answer {
                WardenAnswer::Progress(progress) => self.change(|model, now| {
                    if let Some(run) = model.run_mut() {
                        run.progressed(progress, now);
                    }
                }),
                WardenAnswer::Closed(closed) => {
                    self.change(|model, now| {
                        if let Some(run) = model.run_mut() {
                            run.closed(closed, now);
                        }
                    });
                    return Ok(());
                }
                WardenAnswer::Failed(failure) => return Err(failure.into()),
                WardenAnswer::Done
                | WardenAnswer::Uplink { .. }
                | WardenAnswer::Status(_)
                | WardenAnswer::Survey { .. }
                | WardenAnswer::Preview(_)
                | WardenAnswer::Locked { .. }
                | WardenAnswer::Sessions { .. }
                | WardenAnswer::Receipts { .. }
                | WardenAnswer::Users { .. }
                | WardenAnswer::Started { .. }
                | WardenAnswer::Policy(_) => return Err(AskError::Mismatch),
            }
            answer = warden.next_answer()?;
        }
    }

    /// Asks the agent for the transaction until every target is final: often while the person is
    /// waiting, then as often as for everything else, since a target may answer late.
    fn ask_elsewhere(&self) {
        let mut closed_at = None;
        loop {
            let (txn, closed, waits) = {
                let model = self.lock_model();
                let Some(run) = model.run() else { return };
                (run.txn().cloned(), run.is_closed(), run.may_still_hear())
            };
            if !waits {
                return;
            }
            if let Some(txn) = txn
                && let Ok(state) = txn_state(&self.sockets, txn)
            {
                let hub = self.change(|model, now| {
                    if let Some(run) = model.run_mut() {
                        run.elsewhere(state, now);
                    }
                    model.view(now).hub
                });
                if let Hub::Silent { .. } = hub {
                    self.refresh_soon();
                }
            }
            if closed {
                closed_at.get_or_insert_with(Instant::now);
            }
            let patient = closed_at.is_none_or(|at: Instant| at.elapsed() < PATIENCE);
            if !patient {
                self.change(|model, now| {
                    if let Some(run) = model.run_mut() {
                        run.patience_ended(now);
                    }
                });
            }
            // The agent has no way to be waited on for this: it answers questions only.
            thread::sleep(if patient { SOON } else { REFRESH });
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Model, Timestamp) -> R) -> R {
        let mut model = self.lock_model();
        let result = change(&mut model, now());
        let view = model.view(now());
        // Shown under the lock, so that views arrive in the order in which they came about.
        (self.show)(view);
        result
    }

    fn lock_model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How things stand for the caller.
pub(crate) fn status(sockets: &Sockets) -> Result<WardenStatus, AskError> {
    let answer = ask_warden(sockets, WardenRequest::Status, STATE_LIMIT)?;
    if let WardenAnswer::Status(status) = answer { Ok(status) } else { Err(refusal(answer)) }
}

/// The agent's link to the hub.
pub(crate) fn hub_link(sockets: &Sockets) -> Result<HubLink, AskError> {
    let answer = ask_agent(sockets, AgentRequest::Status)?;
    if let AgentAnswer::Status(link) = answer { Ok(link) } else { Err(agent_refusal(answer)) }
}

/// Locks the caller's screen; what the probe saw.
pub(crate) fn lock(sockets: &Sockets) -> Result<LockReport, AskError> {
    let answer = ask_warden(sockets, WardenRequest::Lock, LOCK_LIMIT)?;
    if let WardenAnswer::Locked { lock } = answer { Ok(lock) } else { Err(refusal(answer)) }
}

fn preview(sockets: &Sockets) -> Result<message::Preview, AskError> {
    let request = WardenRequest::Preview { tier: Tier::SignOut };
    let answer = ask_warden(sockets, request, PREVIEW_LIMIT)?;
    if let WardenAnswer::Preview(preview) = answer { Ok(preview) } else { Err(refusal(answer)) }
}

fn hub_sessions(sockets: &Sockets) -> Result<Vec<HubSession>, AskError> {
    let answer = ask_agent(sockets, AgentRequest::HubSessions)?;
    if let AgentAnswer::Sessions { sessions } = answer {
        Ok(sessions)
    } else {
        Err(agent_refusal(answer))
    }
}

fn txn_state(sockets: &Sockets, txn: exeunt_domain::Txn) -> Result<message::TxnState, AskError> {
    let answer = ask_agent(sockets, AgentRequest::TxnState { txn })?;
    if let AgentAnswer::Txn(state) = answer { Ok(state) } else { Err(agent_refusal(answer)) }
}

fn ask_warden(
    sockets: &Sockets,
    request: WardenRequest,
    limit: Duration,
) -> Result<WardenAnswer, AskError> {
    let mut warden = WardenClient::connect(&sockets.warden)?;
    warden.answer_within(Some(limit))?;
    Ok(warden.ask(request)?)
}

fn ask_agent(sockets: &Sockets, request: AgentRequest) -> Result<AgentAnswer, AskError> {
    let mut agent = AgentClient::connect(&sockets.agent)?;
    agent.answer_within(Some(STATE_LIMIT))?;
    Ok(agent.ask(request)?)
}

fn refusal(answer: WardenAnswer) -> AskError {
    if let WardenAnswer::Failed(failure) = answer { failure.into() } else { AskError::Mismatch }
}

fn agent_refusal(answer: AgentAnswer) -> AskError {
    if let AgentAnswer::Failed(failure) = answer { failure.into() } else { AskError::Mismatch }
}

/// What to tell a person about a warden that gave no status.
pub(crate) fn reason(error: &AskError) -> Unreachable {
    match error {
        AskError::Connect(error) => error.into(),
        AskError::Failed(_) => Unreachable::NotAllowed,
        AskError::Codec(CodecError::Closed) => Unreachable::NotAllowed,
        AskError::Codec(_) | AskError::Deadline(_) | AskError::Mismatch => Unreachable::Broken,
    }
}

/// The wall clock, for people.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
