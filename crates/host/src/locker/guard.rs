//! The guard over a lock that was proved: a locker that dies is replaced, or the session is ended.
//!
//! It refuses to lock a screen again that a person has unlocked, and to watch one locker twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{ProcessError, ProcessId, Processes as _};

use super::desktop::{Fallback, Inner};
use super::hold::{Ended, Held};
use super::proof::{Kind, Proof, Seen};
use super::screensaver::Activity;
use super::{DesktopSession, x11};
use crate::process::{KeepList, LinuxProcesses, Watched};

/// How often a locker that died is replaced before the session is ended.
const RESTARTS: u32 = 5;
/// A locker that held so long before it died starts the count anew.
const LASTING: Duration = Duration::from_secs(60);
/// How long the session gets to be gone when no locker stays.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How long a new locker gets to be proved.
const RELOCKED_WITHIN: Duration = Duration::from_secs(3);
/// How often a locker that outlives its lock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a new locker is looked at: it may be killed before it holds.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So many looks in a row that see no lock are believed.
const BELIEVED: u32 = 3;
/// How long a curtain that was lifted gets to be gone.
const LIFTED_WITHIN: Duration = Duration::from_secs(2);

/// The lockers that are watched, by whichever order they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Guards(Arc<Mutex<Watching>>);

#[derive(Debug, Default)]
struct Watching {
    guarded: BTreeSet<ProcessId>,
    lifted: BTreeSet<ProcessId>,
}

impl Guards {
    /// Ends the curtains of a session on behalf of somebody in charge, and keeps them away. Returns how
    /// many there were.
    ///
    /// # Errors
    /// [`ProcessError`]: one could not be ended.
    pub fn lift(&self, session: &DesktopSession) -> Result<usize, ProcessError> {
        let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
        let curtains = x11::curtains(session);
        self.watching().lifted.extend(curtains.iter().cloned());
        for curtain in &curtains {
            processes.end(curtain)?;
        }
        processes.wait_gone(&curtains, LIFTED_WITHIN)?;
        Ok(curtains.len())
    }

    /// Takes a locker under guard, unless it is.
    fn claim(&self, locker: &ProcessId) -> bool {
        self.watching().guarded.insert(locker.clone())
    }

    /// Lets go of a locker that has ended, and says whether it was lifted.
    fn release(&self, locker: &ProcessId) -> bool {
        let mut watching = self.watching();
        watching.guarded.remove(locker);
        watching.lifted.remove(locker)
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One locker under guard.
struct Guarded {
    proof: Proof,
    by: By,
}

/// How its end is learned.
enum By {
    /// From the shell that waits for it.
    Held(Box<Held>),
    /// From the kernel, which tells how it ended since Linux 6.15.
    Kernel(Watched),
}

impl Guarded {
    /// Waits until it has ended, at most `limit`; `None` when it runs on.
    fn wait(&self, limit: Duration) -> Option<Ended> {
        match &self.by {
            By::Held(held) => held.wait(limit),
            By::Kernel(watched) => match watched.ended_within(limit) {
                Ok(false) => None,
                // However it ended, the screen is open: nothing to wait for.
                Ok(true) if self.proof.kind != Kind::Password => Some(Ended::Unknown),
                Ok(true) => Some(match watched.status() {
                    Some(0) => Ended::Itself,
                    Some(status) => Ended::Died(status),
                    None => Ended::Unknown,
                }),
                Err(error) => {
                    tracing::warn!(%error, "a locker cannot be watched");
                    Some(Ended::Unknown)
                }
            },
        }
    }

    /// Whether that end means that a person unlocked the screen.
    fn is_unlocking(&self, ended: Ended) -> bool {
        if self.proof.kind != Kind::Password {
            return false;
        }
        match (&self.by, ended) {
            (_, Ended::Itself) => true,
            (_, Ended::Died(_)) | (By::Held(_), Ended::Unknown) => false,
            // To lock again after every password would shut people out.
            (By::Kernel(_), Ended::Unknown) => {
                tracing::warn!("a locker has ended, and this kernel does not tell how");
                true
            }
        }
    }
}

/// How a guard's watch over one locker ended.
enum Watch {
    /// There is nothing to guard any more.
    Over(&'static str),
    /// The screen is open, and nobody opened it.
    Died(Ended),
}

/// What an attempt to lock again came to.
enum Relock {
    /// The screen is locked, and this guard goes on.
    Ours(Box<Guarded>),
    /// The screen is locked, and another guard watches it.
    Others,
    /// It is open.
    Failed,
}

impl Inner {
    /// Guards what was seen, from now on. `held` is the locker that was started last.
    pub(super) fn guard(inner: &Arc<Self>, proof: &Proof, held: Option<Held>) {
        if inner.wishes.unguarded {
            return;
        }
        if !inner.wishes.guards.claim(&proof.locker) {
            return inner.drop_spare(held, Some(&proof.locker));
        }
        inner.state().left.clear();
        let (ours, spare) = match held {
            Some(held) if held.process == proof.locker => (Some(held), None),
            other => (None, other),
        };
        inner.drop_spare(spare, None);
        let Some(guarded) = Self::watch(proof.clone(), ours) else { return };
        let own = Arc::clone(inner);
        let spawned = std::thread::Builder::new()
            .name("locker-guard".into())
            .spawn(move || own.keep_locked(guarded));
        if let Err(error) = spawned {
            tracing::error!(%error, "the locker is not watched");
        }
    }

    fn watch(proof: Proof, held: Option<Held>) -> Option<Guarded> {
        let ours = held.filter(|held| held.process == proof.locker);
        let by = match ours {
            Some(held) => By::Held(Box::new(held)),
            None => match Watched::open(&proof.locker) {
                Ok(Some(watched)) => By::Kernel(watched),
                Ok(None) => {
                    tracing::warn!("the locker has ended before it was watched");
                    return None;
                }
                Err(error) => {
                    tracing::error!(%error, "the locker is not watched");
                    return None;
                }
            },
        };
        Some(Guarded { proof, by })
    }

    fn keep_locked(self: &Arc<Self>, mut guarded: Guarded) {
        let (mut restarts, mut since) = (0, Instant::now());
        loop {
            let watch = self.watch_until_it_ends(&guarded);
            let pid = guarded.proof.locker.pid;
            let lifted = self.wishes.guards.release(&guarded.proof.locker);
            if let By::Held(held) = &guarded.by {
                let left = held.end_leftovers();
                tracing::debug!(pid, left, "a locker's helpers were ended");
            }
            let ended = match watch {
                _ if lifted => return tracing::info!(pid, "the curtain was lifted"),
                Watch::Over(why) => return tracing::info!(pid, why, "the lock is over"),
                Watch::Died(ended) => ended,
            };
            if !self.answers() {
                return tracing::info!(pid, "the session is over, and its locker with it");
            }
            if since.elapsed() >= LASTING {
                restarts = 0;
            }
            since = Instant::now();
            tracing::warn!(pid, ?ended, restarts, "the locker died");
            let mut tries = 0;
            guarded = loop {
                if restarts >= RESTARTS {
                    return self.give_up(pid);
                }
                (restarts, tries) = (restarts + 1, tries + 1);
                match self.relock(tries) {
                    Relock::Ours(again) => break *again,
                    Relock::Others => return tracing::info!(pid, "another guard has the screen"),
                    Relock::Failed if self.answers() => {}
                    Relock::Failed => return tracing::info!(pid, "the session is over"),
                }
            };
            tracing::warn!(pid, again = guarded.proof.locker.pid, "the screen is locked again");
        }
    }

    fn watch_until_it_ends(&self, guarded: &Guarded) -> Watch {
        let mut misses = 0;
        loop {
            if let Some(ended) = guarded.wait(LOOK_EVERY) {
                return match guarded.is_unlocking(ended) {
                    true => Watch::Over("the screen was unlocked"),
                    false => Watch::Died(ended),
                };
            }
            let opened = match guarded.proof.kind {
                // It ends when it opens the screen.
                Kind::Password => continue,
                Kind::Daemon => {
                    self.look().is_err().then_some(Watch::Over("the screen was unlocked"))
                }
                Kind::Curtain => self.look().is_err().then_some(Watch::Died(Ended::Unknown)),
                Kind::Saver(saver) => match saver.activity(&self.session) {
                    Ok(Activity::Locks(_)) => None,
                    Ok(Activity::Idle) => Some(Watch::Over("the screen was unlocked")),
                    Ok(Activity::Undrawn) | Err(_) => Some(Watch::Died(Ended::Unknown)),
                },
            };
            misses = if opened.is_some() { misses + 1 } else { 0 };
            match opened {
                Some(watch) if misses >= BELIEVED => return watch,
                Some(_) | None => {}
            }
        }
    }

    /// Locks again: at the first try as it was locked before, then in every way that fits.
    fn relock(self: &Arc<Self>, tries: u32) -> Relock {
        let until = Instant::now() + RELOCKED_WITHIN;
        let last = self.state().last.filter(|_| tries == 1);
        let asked = match last.map(|way| Self::ask(self, way)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                tracing::warn!(%error, "the way that locked before failed");
                Self::ask_all(self)
            }
            None if self.state().left.is_empty() => Self::ask_all(self),
            None => Self::ask_next(self),
        };
        if let Err(error) = asked {
            tracing::warn!(%error, "no way to lock is left");
            return Relock::Failed;
        }
        loop {
            let seen: Seen = self.wait(LOOK_AGAIN);
            let held_died =
                self.state().held.as_ref().is_some_and(|held| held.wait(Duration::ZERO).is_some());
            match seen {
                Ok(proof) if !held_died => {
                    let held = self.state().held.take();
                    self.state().left.clear();
                    if !self.wishes.guards.claim(&proof.locker) {
                        self.drop_spare(held, Some(&proof.locker));
                        return Relock::Others;
                    }
                    let again = Self::watch(proof, held).map(Box::new);
                    return again.map_or(Relock::Failed, Relock::Ours);
                }
                Ok(_) | Err(_) if held_died || Instant::now() >= until => {
                    let held = self.state().held.take();
                    self.drop_spare(held, None);
                    return Relock::Failed;
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// A locker that was started and does not hold the screen stands in the way of others.
    fn drop_spare(&self, held: Option<Held>, holds: Option<&ProcessId>) {
        let Some(held) = held.filter(|held| Some(&held.process) != holds) else { return };
        let processes = LinuxProcesses::of_uid(self.session.account.uid, KeepList::default());
        if let Err(error) = processes.end(&held.process) {
            tracing::warn!(%error, "a locker that does not hold could not be ended");
        }
        held.end_leftovers();
    }

    fn give_up(&self, pid: u32) {
        match self.wishes.fallback {
            Fallback::EndSession => {
                tracing::error!(pid, "no locker stays: the session is ended");
                let state = self.end_session(GONE_WITHIN);
                tracing::warn!(?state, "the session was ended");
            }
            Fallback::Report => {
                tracing::error!(pid, "no locker stays, and the settings spare the session");
            }
        }
    }
}
