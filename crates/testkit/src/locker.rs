//! A screen lock in memory.
//!
//! It refuses to be locked before it was asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exeunt_engine::ports::{LockError, LockState, Locker};

/// A screen lock in memory.
#[derive(Debug)]
pub struct FakeLocker {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    locked: bool,
    asked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Locks,
    Ignores,
    CannotStart,
}

/// Building and breaking, for tests.
impl FakeLocker {
    /// A lock that works.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Behaviour::Locks)
    }

    /// A lock that can be asked for and never comes.
    #[must_use]
    pub fn ignoring() -> Self {
        Self::of(Behaviour::Ignores)
    }

    /// No locker is installed.
    #[must_use]
    pub fn missing() -> Self {
        Self::of(Behaviour::CannotStart)
    }

    /// Opens the lock again, as ending the locker does.
    pub fn kill(&self) {
        self.state().locked = false;
    }

    /// How often the lock was asked for.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.state().asked
    }

    fn of(behaviour: Behaviour) -> Self {
        Self { state: Mutex::new(State { behaviour, locked: false, asked: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FakeLocker {
    fn default() -> Self {
        Self::new()
    }
}

impl Locker for FakeLocker {
    fn lock(&self) -> Result<(), LockError> {
        let mut state = self.state();
        state.asked += 1;
        match state.behaviour {
            Behaviour::Locks => state.locked = true,
            Behaviour::Ignores => {}
            Behaviour::CannotStart => return Err(LockError::NoLocker("i3lock")),
        }
        Ok(())
    }

    fn is_locked(&self) -> LockState {
        if self.state().locked {
            LockState::Locked { how: "fake locker".to_owned() }
        } else {
            LockState::NotProved { why: "the fake screen is open".to_owned() }
        }
    }

    fn wait_locked(&self, _deadline: Duration) -> LockState {
        self.is_locked()
    }
}
