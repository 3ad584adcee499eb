//! The lock of a whole desktop session: every way that fits it, and every proof that it can give.
//!
//! It refuses a lock by report: what proves one is gone as soon as the locker is.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{LockError, LockState, Locker, ProcessId};

use super::choose::{Facts, Way, choose};
use super::hold::Held;
use super::proof::{Kind, Proof, Seen, told};
use super::screensaver::{Activity, ScreenSaver};
use super::{DesktopSession, Guards, LockProgram, X11Locker, logind, wayland, x11, xscreensaver};
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};
use crate::sessions;

/// A desktop raises no event that others see: how long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// The first way that is asked gets this share of the time, in tenths: it is the session's own.
const FIRST: u32 = 6;

/// Where programs are started from: outside the network filter, where there is one.
pub trait Runner: Send + Sync {
    /// Runs `job` and waits for its end; drops it when it cannot be run.
    fn run(&self, job: Box<dyn FnOnce() + Send>);
}

/// Starts programs on the thread that asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

impl Runner for Here {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// What happens when no lock can be proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The receipt says so.
    #[default]
    Report,
    /// The login session is ended.
    EndSession,
}

/// How a session is to be locked.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The only way to take; None: whatever fits.
    pub way: Option<Way>,
    /// What happens when no lock can be proved.
    pub fallback: Fallback,
    /// Processes that are spared when a session is ended without logind.
    pub keep: KeepList,
    /// A locker that dies is not replaced.
    pub unguarded: bool,
    /// Which lockers are watched already.
    pub guards: Guards,
}

/// The lock of one desktop session.
pub struct SessionLocker {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) session: DesktopSession,
    pub(super) wishes: Wishes,
    runner: Box<dyn Runner>,
    probe: X11Locker,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Ways that fit and were not asked yet, the best last.
    pub(super) left: Vec<Way>,
    /// The way that was asked last.
    pub(super) last: Option<Way>,
    /// Screen savers that were told to lock, so that "active" means locked.
    told: Vec<&'static ScreenSaver>,
    /// The locker that a Wayland compositor has let lock.
    swaylock: Option<ProcessId>,
    /// logind was told to lock.
    told_logind: bool,
    /// The locker that was started last, and is not yet guarded.
    pub(super) held: Option<Held>,
    /// The locker that was started last.
    started: Option<ProcessId>,
}

impl SessionLocker {
    /// The lock of `session`.
    #[must_use]
    pub fn new(session: DesktopSession, wishes: Wishes, runner: Box<dyn Runner>) -> Self {
        let probe = X11Locker::new(session.clone(), None);
        let state = Mutex::default();
        Self { inner: Arc::new(Inner { session, wishes, runner, probe, state }) }
    }

    /// The locker that runs because of [`Locker::lock`] or the guard, if it was started by us.
    #[must_use]
    pub fn started(&self) -> Option<ProcessId> {
        let state = self.inner.state();
        state.started.clone().or_else(|| state.swaylock.clone())
    }

    /// The ways that fit the session, best first.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        choose(&Facts::of(&self.inner.session), self.inner.wishes.way)
    }

    /// A lock that is seen is guarded from now on.
    fn guarded(&self, seen: Seen) -> LockState {
        if let Ok(proof) = &seen {
            let held = self.inner.state().held.take();
            Inner::guard(&self.inner, proof, held);
        }
        told(seen)
    }
}

impl Locker for SessionLocker {
    fn lock(&self) -> Result<(), LockError> {
        if self.inner.look().is_ok() {
            return Ok(());
        }
        Inner::ask_all(&self.inner)
    }

    fn is_locked(&self) -> LockState {
        self.guarded(self.inner.look())
    }

    fn wait_locked(&self, deadline: Duration) -> LockState {
        let until = Instant::now() + deadline;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let last = self.inner.state().left.is_empty();
            let seen = self.inner.wait(if last { left } else { left * FIRST / 10 });
            if seen.is_ok() || last {
                return self.guarded(seen);
            }
            if let Err(error) = Inner::ask_next(&self.inner) {
                tracing::warn!(%error, "another way to lock failed");
            }
        }
    }

    fn ends_sessions(&self) -> bool {
        self.inner.wishes.fallback == Fallback::EndSession
    }

    fn end_session(&self, deadline: Duration) -> LockState {
        self.inner.end_session(deadline)
    }
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the best way that fits, and the next when that fails.
    pub(super) fn ask_all(inner: &Arc<Self>) -> Result<(), LockError> {
        let mut ways = choose(&Facts::of(&inner.session), inner.wishes.way);
        tracing::info!(ways = ?ways.iter().map(|way| way.name()).collect::<Vec<_>>(), "locking");
        ways.reverse();
        inner.state().left = ways;
        Self::ask_next(inner)
    }

    /// Asks the best way that is left, and the next when that fails.
    pub(super) fn ask_next(inner: &Arc<Self>) -> Result<(), LockError> {
        let fits = if inner.session.wayland_display.is_some() { "swaylock" } else { "xsecurelock" };
        let mut last = LockError::NoLocker(fits);
        loop {
            let Some(way) = inner.state().left.pop() else { return Err(last) };
            match Self::ask(inner, way) {
                Ok(()) => return Ok(()),
                Err(source) => {
                    tracing::warn!(way = way.name(), %source, "a way to lock failed");
                    last = LockError::Start { locker: way.name(), source };
                }
            }
        }
    }

    /// Asks one way.
    pub(super) fn ask(inner: &Arc<Self>, way: Way) -> io::Result<()> {
        let session = inner.session.clone();
        inner.state().last = Some(way);
        match way {
            Way::Desktop(saver) => {
                saver.lock(&session).map_err(io::Error::other)?;
                inner.state().told.push(saver);
            }
            Way::Xscreensaver => inner.outside(move || xscreensaver::lock(&session))?,
            Way::Logind => {
                let login = logind::find(&session).map_err(io::Error::other)?;
                let login = login.ok_or_else(|| io::Error::other("logind has no such session"))?;
                logind::lock(&login).map_err(io::Error::other)?;
                inner.state().told_logind = true;
            }
            Way::Swaylock => {
                let locked = inner.outside(move || wayland::lock(&session))?;
                let mut state = inner.state();
                state.swaylock = Some(locked.locker);
                state.held = locked.held;
            }
            Way::Program(program) => {
                let held = inner.start(program)?;
                inner.state().held = Some(held);
            }
        }
        Ok(())
    }

    fn start(&self, program: LockProgram) -> io::Result<Held> {
        let path = program.find().ok_or(io::ErrorKind::NotFound)?;
        let session = self.session.clone();
        let held = self.outside(move || Held::start(&session, &path, program.args()))?;
        self.state().started = Some(held.process.clone());
        Ok(held)
    }

    /// Runs `work` where programs may be started.
    fn outside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = mpsc::channel();
        self.runner.run(Box::new(move || {
            // Nobody waits any more when the receiver is gone.
            let _unwanted = answer.send(work());
        }));
        answered.recv().unwrap_or_else(|_| Err(io::Error::other("the launcher is gone")))
    }

    /// Looks until the screen is locked or the time is up.
    pub(super) fn wait(&self, limit: Duration) -> Seen {
        let on_x_only = {
            let state = self.state();
            state.told.is_empty() && !state.told_logind && self.is_x11()
        };
        if on_x_only {
            return self.probe.wait(limit);
        }
        let until = Instant::now() + limit;
        loop {
            let state = self.look();
            let left = until.saturating_duration_since(Instant::now());
            if state.is_ok() || left.is_zero() {
                return state;
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
        }
    }

    /// One look, for every proof that such a session can give.
    pub(super) fn look(&self) -> Seen {
        let first = if self.is_x11() { self.probe.look() } else { self.look_at_compositor() };
        first.or_else(|why| self.saver_proof().or_else(|| self.greeter_proof()).ok_or(why))
    }

    /// An X server beside a Wayland compositor is a part of the screen: its lock would be none.
    fn is_x11(&self) -> bool {
        self.session.display.is_some() && self.session.wayland_display.is_none()
    }

    fn look_at_compositor(&self) -> Seen {
        let locker = self.state().swaylock.clone();
        match locker.filter(|locker| wayland::is_held(&self.session, locker)) {
            Some(locker) => Ok(Proof {
                how: format!(
                    "swaylock ({}) runs, and the compositor has let it lock the screen",
                    locker.pid
                ),
                locker,
                kind: Kind::Password,
            }),
            None => Err("no locker that holds the compositor runs".into()),
        }
    }

    /// A desktop that was told to lock says that it did, its program lives, and on X11 something
    /// holds the keyboard, and its window the screen where it has one.
    fn saver_proof(&self) -> Option<Proof> {
        let told = self.state().told.clone();
        told.into_iter().find_map(|saver| {
            let Ok(Activity::Locks(locker)) = saver.activity(&self.session) else { return None };
            let (name, pid) = (saver.name, locker.pid);
            let says = format!("the {name} screen saver ({pid}) lives, says that it locks");
            let how = match (self.is_x11(), saver.covers()) {
                (false, _) => says,
                (true, true) => x11::is_held_by(&self.session, &locker)
                    .then(|| format!("{says}, covers the screen and holds the keyboard"))?,
                (true, false) => x11::is_keyboard_held(&self.session)
                    .then(|| format!("{says} and holds the keyboard"))?,
            };
            Some(Proof { how, locker, kind: Kind::Saver(saver) })
        })
    }

    /// light-locker lives, and a greeter stands in front of the session on its seat. Before the greeter
    /// is there, light-locker covers the screen itself, as other lockers do.
    fn greeter_proof(&self) -> Option<Proof> {
        use exeunt_engine::ports::Processes as _;
        if !self.state().told_logind {
            return None;
        }
        let processes = LinuxProcesses::of_uid(self.session.account.uid, KeepList::default());
        let listed = processes.list().ok()?;
        let locker = listed.into_iter().find(|process| {
            !process.zombie
                && process.exe_root_owned
                && is_trusted_program(&process.exe, &["light-locker"])
                && matches!(processes.is_frozen(&process.id), Ok(false))
        })?;
        let login = logind::find(&self.session).ok().flatten()?;
        let behind = logind::is_behind_greeter(&login).ok()?;
        let how = format!("light-locker ({}) runs, and a greeter is in front", locker.id.pid);
        behind.then_some(Proof { how, locker: locker.id, kind: Kind::Daemon })
    }

    /// Whether there is still a screen to lock.
    pub(super) fn answers(&self) -> bool {
        if self.is_x11() { x11::answers(&self.session) } else { wayland::answers(&self.session) }
    }

    pub(super) fn end_session(&self, deadline: Duration) -> LockState {
        match sessions::end(&self.session, &self.wishes.keep, deadline) {
            Ok(how) => LockState::Locked { how: format!("session ended: {how}") },
            Err(error) => LockState::NotProved { why: format!("session not ended: {error}") },
        }
    }
}
