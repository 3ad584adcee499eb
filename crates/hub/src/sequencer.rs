//! The one writer: it takes what waits, commits it as one transaction, then tells everyone.
//!
//! It refuses to answer early: a caller hears of success only after the commit is on disk.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exeunt_api::Countersigned;
use exeunt_api::event::COUNTERSIGNED_EVENT;
use exeunt_domain::order::{CHANGE_EVENT, ORDER_EVENT, WIDE_ORDER_EVENT, WideOrder};
use exeunt_domain::{Jti, Kid, Order, Timestamp, Txn};
use exeunt_ssf::{ChangeEvent, PublicJwk, Set, SetError, SigningKey};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::keys::HubKeys;
use crate::publish::Shared;
use crate::store::{Applied, Command, Keep, Mint, Pruned, Refused, Reply, Store, StoreError, View};

/// The store did not carry a command out. Nothing of it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No space is left.
    #[error("no space is left where the hub keeps its record")]
    Full,
    /// Writing or syncing failed.
    #[error("the hub's record could not be written")]
    Failed,
    /// The hub is shutting down.
    #[error("the hub is shutting down")]
    Stopped,
}

/// A command's durable answer.
#[derive(Debug)]
pub struct Answer {
    /// Its sequence number, if it left a trace.
    pub seq: Option<u64>,
    /// What became of it.
    pub reply: Result<Reply, Refused>,
}

struct Job {
    command: Command,
    answer: oneshot::Sender<Result<Answer, Unavailable>>,
}

/// How long nothing must have come for the writer to count as idle.
const IDLE: Duration = Duration::from_millis(50);

/// How long a writer that is never idle puts a step of pruning off.
const BUSY_STEP: Duration = Duration::from_secs(10);
/// How many rows are looked at in one step of pruning, which nobody may have to wait for.
const PRUNE_STEP: usize = 512;

/// Where commands go.
#[derive(Clone, Debug)]
pub struct Sequencer {
    jobs: mpsc::Sender<Option<Job>>,
}

impl Sequencer {
    /// Starts the writer's thread over `store`. It ends when every [`Sequencer`] is gone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start<S: Store + 'static>(
        store: S,
        minter: Minter,
        shared: Arc<Shared>,
        limits: &crate::config::Limits,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = mpsc::channel(limits.queue);
        let (batch, busy) = (limits.batch, Instant::now());
        let pruning =
            Pruning { keep: limits.keep, every: limits.prune_every, rested: None, stepped: busy };
        let writer = Writer { store, minter, shared, batch, broken: false, busy, pruning };
        let thread = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || writer.run(waiting))?;
        Ok((Self { jobs }, thread))
    }

    /// Puts a command in the queue and waits until it is durable or refused.
    ///
    /// # Errors
    /// [`Unavailable`].
    ///
    /// # Cancel safety
    /// A caller that goes away does not take its command back.
    pub async fn submit(&self, command: Command) -> Result<Answer, Unavailable> {
        let answer = self.enqueue(command).await?;
        answer.await.map_err(|_| Unavailable::Stopped)?
    }

    /// Puts a command in the queue and does not wait for its commit.
    ///
    /// # Errors
    /// [`Unavailable::Stopped`].
    pub async fn enqueue(
        &self,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Answer, Unavailable>>, Unavailable> {
        let (answer, heard) = oneshot::channel();
        let job = Some(Job { command, answer });
        self.jobs.send(job).await.map_err(|_| Unavailable::Stopped)?;
        Ok(heard)
    }

    /// Lets the store do what it has put off, if the writer is idle.
    pub fn tidy(&self) {
        // A full queue is not idle, and a closed one has nothing left to do.
        let _ = self.jobs.try_send(None);
    }
}

struct Writer<S> {
    store: S,
    minter: Minter,
    shared: Arc<Shared>,
    batch: usize,
    /// The store must be opened anew before it is written again.
    broken: bool,
    /// When the last batch was done.
    busy: Instant,
    pruning: Pruning,
}

/// What is pruned, and when.
struct Pruning {
    keep: Keep,
    /// How long to rest after everything was looked at once.
    every: Duration,
    /// Since when it rests.
    rested: Option<Instant>,
    /// When the last step was done.
    stepped: Instant,
}

impl<S: Store> Writer<S> {
    fn run(mut self, mut waiting: mpsc::Receiver<Option<Job>>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut jobs = Vec::from_iter(first);
            while !jobs.is_empty()
                && jobs.len() < self.batch
                && let Ok(job) = waiting.try_recv()
            {
                jobs.extend(job);
            }
            if jobs.is_empty() {
                self.tidy(waiting.is_empty());
            } else {
                self.carry_out(jobs);
                self.busy = Instant::now();
            }
        }
    }

    fn tidy(&mut self, alone: bool) {
        let idle = alone && self.busy.elapsed() >= IDLE;
        if let Err(error) = self.store.tidy(idle) {
            tracing::warn!(%error, "the store could not be tidied");
        }
        if !self.broken && self.pruning.is_due(idle) {
            self.prune();
        }
    }

    fn prune(&mut self) {
        self.minter.tick();
        self.pruning.stepped = Instant::now();
        match self.store.prune(self.minter.now, &self.pruning.keep, PRUNE_STEP) {
            Ok(pruned) => {
                let rest = Pruned { whole: false, ..pruned };
                if rest != Pruned::default() {
                    tracing::info!(?pruned, "what is of no further use was removed");
                }
                self.pruning.rested = pruned.whole.then(Instant::now);
            }
            Err(error) => {
                tracing::warn!(%error, "nothing was pruned");
                self.pruning.rested = Some(Instant::now());
            }
        }
    }

    fn carry_out(&mut self, jobs: Vec<Job>) {
        let (commands, answers): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.command, job.answer)).unzip();
        match self.attempt(&commands) {
            Ok(applied) => {
                for (done, answer) in applied.into_iter().zip(answers) {
                    // A caller that went away needs no answer.
                    let _ = answer.send(Ok(done));
                }
            }
            // One bad command must not take its neighbours down: each by itself, in order.
            Err(Unavailable::Failed) if commands.len() > 1 => {
                for (command, answer) in commands.into_iter().zip(answers) {
                    let alone = self.attempt(&[command]);
                    let first = alone.and_then(|mut done| done.pop().ok_or(Unavailable::Failed));
                    let _ = answer.send(first);
                }
            }
            Err(unavailable) => {
                for answer in answers {
                    let _ = answer.send(Err(unavailable));
                }
            }
        }
    }

    fn attempt(&mut self, commands: &[Command]) -> Result<Vec<Answer>, Unavailable> {
        if self.broken {
            self.reopen()?;
        }
        self.minter.tick();
        match self.store.apply(commands, &mut self.minter) {
            Ok(mut applied) => {
                // Before anyone hears of it: whatever is signed from here on is signed by the new key.
                let rekeyed = applied.iter_mut().find_map(|done| done.effects.hub_keys.take());
                if let Some((now, before)) = rekeyed
                    && let Err(error) = self.minter.keys.follow(Some(&now), &before)
                {
                    tracing::error!(%error, "a key that was committed cannot be used");
                }
                self.shared.publish(&mut applied);
                self.shared.move_head(self.store.head());
                let answer = |done: Applied| Answer { seq: done.seq, reply: done.reply };
                Ok(applied.into_iter().map(answer).collect())
            }
            Err(error) => {
                tracing::error!(%error, commands = commands.len(), "a batch was not written");
                self.broken = true;
                // The next attempt tries again if this one fails.
                let _ = self.reopen();
                Err(unavailable(&error))
            }
        }
    }

    /// Opens the store anew and takes memory from it: a commit whose sync failed may have
    /// reached the disk after all.
    fn reopen(&mut self) -> Result<(), Unavailable> {
        let reopened = self.store.reopen();
        let loaded = reopened.and_then(|()| self.store.view()).and_then(|view| view.load());
        match loaded {
            Ok(loaded) => {
                let (now, before) = &loaded.hub_keys;
                if let Err(error) = self.minter.keys.follow(now.as_ref(), before) {
                    tracing::error!(%error, "the record cannot be served");
                    return Err(Unavailable::Failed);
                }
                self.minter.settle();
                self.shared.reload(loaded);
                self.broken = false;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be opened anew");
                Err(unavailable(&error))
            }
        }
    }
}

impl Pruning {
    fn is_due(&self, idle: bool) -> bool {
        let rested = self.rested.is_none_or(|since| since.elapsed() >= self.every);
        rested && (idle || self.stepped.elapsed() >= BUSY_STEP)
    }
}

fn unavailable(error: &StoreError) -> Unavailable {
    match error {
        StoreError::Full => Unavailable::Full,
        StoreError::Failed(_) | StoreError::Damaged(_) | StoreError::Signing(_) => {
            Unavailable::Failed
        }
    }
}

/// Mints identifiers, times and signatures for the writer.
#[derive(Debug)]
pub struct Minter {
    keys: Arc<HubKeys>,
    key: SigningKey,
    issuer: String,
    ids: uuid::ContextV7,
    now: Timestamp,
}

impl Minter {
    /// A minter under the hub's keys and name.
    #[must_use]
    pub fn new(keys: Arc<HubKeys>, issuer: String) -> Self {
        let key = keys.now();
        Self { keys, key, issuer, ids: uuid::ContextV7::new(), now: now() }
    }

    /// Signs with the key that signs by the record: what a batch changed and lost is undone.
    fn settle(&mut self) {
        self.key = self.keys.now();
    }

    /// Takes the time for the next batch; it never goes back within a process.
    fn tick(&mut self) {
        self.now = self.now.max(now());
    }

    /// A time-ordered identifier, ascending also within a millisecond (RFC 9562 §6.2).
    fn jti(&mut self) -> Result<Jti, SetError> {
        let nanos = u32::try_from(self.now.0 % 1000).unwrap_or_default() * 1_000_000;
        let time = uuid::Timestamp::from_unix(&self.ids, self.now.as_secs(), nanos);
        Jti::parse(uuid::Uuid::new_v7(time).to_string())
            .map_err(|error| SetError::Unsignable(error.to_string()))
    }
}

impl Mint for Minter {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn order(&mut self, order: &Order, txn: &Txn) -> Result<(Jti, String), SetError> {
        let jti = self.jti()?;
        let about = json!({
            "format": "complex",
            "user": order.user,
            "device": { "format": "opaque", "id": order.device },
        });
        let device = order.device.as_str();
        let set = Set::new(&self.issuer, device, jti.clone(), self.now, ORDER_EVENT, order)?
            .with_txn(txn.clone())
            .about(about);
        Ok((jti, self.key.sign(&set)?))
    }

    fn wide_order(&mut self, order: &WideOrder) -> Result<(Jti, String), SetError> {
        let jti = self.jti()?;
        let proposal = &order.quorum.proposal;
        let audience = proposal.targets.audience();
        let audience = audience.ok_or(SetError::WrongAudience)?;
        let about = json!({ "format": "opaque", "id": audience });
        let set =
            Set::new(&self.issuer, &audience, jti.clone(), self.now, WIDE_ORDER_EVENT, order)?
                .with_txn(proposal.txn.clone())
                .about(about);
        Ok((jti, self.key.sign(&set)?))
    }

    fn change(&mut self, change: &ChangeEvent, txn: &Txn) -> Result<(Jti, String), SetError> {
        let jti = self.jti()?;
        let device = change.device.as_str();
        let about = json!({ "format": "opaque", "id": device });
        let set = Set::new(&self.issuer, device, jti.clone(), self.now, CHANGE_EVENT, change)?
            .with_txn(txn.clone())
            .about(about);
        Ok((jti, self.key.sign(&set)?))
    }

    fn rekey(&mut self, kid: &Kid) -> Result<PublicJwk, SetError> {
        let unknown = || SetError::UnknownKey(kid.to_string());
        self.key = self.keys.find(kid).ok_or_else(unknown)?;
        Ok(self.key.jwk().clone())
    }

    fn has_key(&self, kid: &Kid) -> bool {
        self.keys.find(kid).is_some()
    }

    fn kid(&self) -> Kid {
        self.key.kid().clone()
    }

    fn countersign(&mut self, claims: &Countersigned) -> Result<String, SetError> {
        let jti = self.jti()?;
        let about = json!({ "format": "opaque", "id": claims.device });
        let set = Set::new(&self.issuer, &self.issuer, jti, self.now, COUNTERSIGNED_EVENT, claims)?
            .with_txn(claims.txn.clone())
            .about(about);
        self.key.sign(&set)
    }
}

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
