//! The lock of a whole desktop session: every way that fits it, every proof that it can give, and a
//! guard over the locker that was started.
//!
//! It refuses a lock by report: what proves one is gone as soon as the locker is.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{LockError, LockState, Locker, ProcessId};

use super::choose::{Facts, Way, choose};
use super::hold::{Ended, Held};
use super::screensaver::ScreenSaver;
use super::{DesktopSession, LockProgram, X11Locker, logind, wayland, x11, xscreensaver};
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};
use crate::sessions;

/// A desktop raises no event that others see: how long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How often a locker that died is started again before the session is ended.
const RESTARTS: u32 = 5;
/// A locker that held so long before it died starts the count anew.
const LASTING: Duration = Duration::from_secs(60);
/// How long the session gets to be gone when no locker stays.
const GONE_WITHIN: Duration = Duration::from_secs(10);

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
    /// A locker that dies is not started again.
    pub unguarded: bool,
}

/// The lock of one desktop session.
pub struct SessionLocker {
    inner: Arc<Inner>,
}

struct Inner {
    session: DesktopSession,
    wishes: Wishes,
    runner: Box<dyn Runner>,
    probe: X11Locker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ways that fit and were not asked yet, the best last.
    left: Vec<Way>,
    /// Screen savers that were told to lock, so that "active" means locked.
    told: Vec<&'static ScreenSaver>,
    /// The locker that a Wayland compositor has let lock.
    swaylock: Option<ProcessId>,
    /// logind was told to lock.
    told_logind: bool,
    /// The locker that was started last, and is not yet guarded.
    held: Option<(LockProgram, Held)>,
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

    /// A proved lock by a locker of ours is guarded from now on.
    fn guarded(&self, state: LockState) -> LockState {
        if matches!(state, LockState::Locked { .. })
            && !self.inner.wishes.unguarded
            && let Some((program, held)) = self.inner.state().held.take()
        {
            Inner::guard(&self.inner, program, held);
        }
        state
    }
}

impl Locker for SessionLocker {
    fn lock(&self) -> Result<(), LockError> {
        if matches!(self.inner.look(), LockState::Locked { .. }) {
            return Ok(());
        }
        let mut ways = self.ways();
        tracing::info!(ways = ?ways.iter().map(|way| way.name()).collect::<Vec<_>>(), "locking");
        ways.reverse();
        self.inner.state().left = ways;
        Inner::ask_next(&self.inner)
    }

    fn is_locked(&self) -> LockState {
        self.guarded(self.inner.look())
    }

    fn wait_locked(&self, deadline: Duration) -> LockState {
        let until = Instant::now() + deadline;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ways = u32::try_from(self.inner.state().left.len()).unwrap_or(u32::MAX);
            let state = self.inner.wait(left / ways.saturating_add(1));
            if matches!(state, LockState::Locked { .. }) || ways == 0 {
                return self.guarded(state);
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the best way that is left, and the next when that fails.
    fn ask_next(inner: &Arc<Self>) -> Result<(), LockError> {
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

    fn ask(inner: &Arc<Self>, way: Way) -> io::Result<()> {
        let session = inner.session.clone();
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
                let locker = inner.outside(move || wayland::lock(&session))?;
                inner.state().swaylock = Some(locker);
            }
            Way::Program(program) => {
                let held = inner.start(program)?;
                inner.state().held = Some((program, held));
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
    fn wait(&self, limit: Duration) -> LockState {
        let on_x_only = {
            let state = self.state();
            state.told.is_empty() && !state.told_logind && self.is_x11()
        };
        if on_x_only {
            return self.probe.wait_locked(limit);
        }
        let until = Instant::now() + limit;
        loop {
            let state = self.look();
            let left = until.saturating_duration_since(Instant::now());
            if matches!(state, LockState::Locked { .. }) || left.is_zero() {
                return state;
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
        }
    }

    /// One look, for every proof that such a session can give.
    fn look(&self) -> LockState {
        let first = if self.is_x11() { self.probe.is_locked() } else { self.look_at_compositor() };
        if matches!(first, LockState::Locked { .. }) {
            return first;
        }
        let how = self.saver_proof().or_else(|| self.greeter_proof());
        how.map_or(first, |how| LockState::Locked { how })
    }

    /// An X server beside a Wayland compositor is a part of the screen: its lock would be none.
    fn is_x11(&self) -> bool {
        self.session.display.is_some() && self.session.wayland_display.is_none()
    }

    fn look_at_compositor(&self) -> LockState {
        let locker = self.state().swaylock.clone();
        match locker.filter(|locker| wayland::is_held(&self.session, locker)) {
            Some(locker) => LockState::Locked {
                how: format!(
                    "swaylock ({}) runs, and the compositor has let it lock the screen",
                    locker.pid
                ),
            },
            None => LockState::NotProved { why: "no locker that holds the compositor runs".into() },
        }
    }

    /// A desktop that was told to lock says that it did, its program lives, and on X11 something
    /// holds the keyboard.
    fn saver_proof(&self) -> Option<String> {
        let told = self.state().told.clone();
        told.into_iter().find_map(|saver| {
            let owner = saver.is_active(&self.session).ok().flatten()?;
            let name = saver.name;
            let pid = owner.pid;
            if !self.is_x11() {
                return Some(format!(
                    "the {name} screen saver ({pid}) lives and says that it locks"
                ));
            }
            x11::is_keyboard_held(&self.session).then(|| {
                format!("the {name} screen saver ({pid}) lives, says so and holds the keyboard")
            })
        })
    }

    /// light-locker lives, and a greeter stands in front of the session on its seat.
    fn greeter_proof(&self) -> Option<String> {
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
        behind.then(|| format!("light-locker ({}) runs, and a greeter is in front", locker.id.pid))
    }

    /// Watches a locker that was proved to hold the screen, for as long as it should.
    fn guard(inner: &Arc<Self>, program: LockProgram, held: Held) {
        let own = Arc::clone(inner);
        let spawned = std::thread::Builder::new()
            .name("locker-guard".into())
            .spawn(move || own.keep_locked(program, held));
        if let Err(error) = spawned {
            tracing::error!(%error, "the locker is not watched");
        }
    }

    fn keep_locked(&self, program: LockProgram, mut held: Held) {
        let mut restarts = 0;
        let mut since = Instant::now();
        loop {
            let pid = held.process.pid;
            let ended = held.wait_ended();
            if ended == Ended::Itself {
                tracing::info!(pid, "the screen was unlocked");
                return;
            }
            if !self.answers() {
                tracing::info!(pid, "the session is over, and its locker with it");
                return;
            }
            if since.elapsed() >= LASTING {
                restarts = 0;
            }
            since = Instant::now();
            let again = (restarts < RESTARTS).then(|| self.start(program));
            restarts += 1;
            held = match again {
                Some(Ok(again)) => again,
                failed => {
                    let why = failed.and_then(Result::err).map(|error| error.to_string());
                    let why = why.unwrap_or_else(|| "it died too often".into());
                    tracing::error!(pid, ?ended, why, "no locker stays: the session is ended");
                    let state = self.end_session(GONE_WITHIN);
                    tracing::warn!(?state, "the session was ended");
                    return;
                }
            };
            tracing::warn!(pid, ?ended, restarts, again = held.process.pid, "the locker died");
        }
    }

    /// Whether there is still a screen to lock.
    fn answers(&self) -> bool {
        if self.is_x11() { x11::answers(&self.session) } else { wayland::answers(&self.session) }
    }

    fn end_session(&self, deadline: Duration) -> LockState {
        match sessions::end(&self.session, &self.wishes.keep, deadline) {
            Ok(how) => LockState::Locked { how: format!("session ended: {how}") },
            Err(error) => LockState::NotProved { why: format!("session not ended: {error}") },
        }
    }
}
