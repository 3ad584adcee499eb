//! The contract of [`Locker`].
//!
//! It refuses to take a lock that was asked for as one that holds.

use std::time::Duration;

use exeunt_engine::ports::{LockState, Locker};

/// A screen to lock, and a way to open it behind the port's back.
pub trait LockerRig {
    /// The implementation.
    fn locker(&self) -> &dyn Locker;
    /// Ends the locker, which opens the screen.
    fn kill_locker(&self);
}

/// Runs the whole contract.
pub fn all<R: LockerRig>(make: impl Fn() -> R) {
    locks_and_notices_when_the_locker_is_gone(&make());
}

fn locks_and_notices_when_the_locker_is_gone<R: LockerRig>(rig: &R) {
    let locker = rig.locker();
    assert!(matches!(locker.is_locked(), LockState::NotProved { .. }));
    assert!(matches!(locker.wait_locked(Duration::ZERO), LockState::NotProved { .. }));
    locker.lock().expect("the lock is asked for");
    let state = locker.wait_locked(Duration::from_secs(20));
    assert!(matches!(state, LockState::Locked { .. }), "{state:?}");
    assert!(matches!(locker.is_locked(), LockState::Locked { .. }));
    rig.kill_locker();
    assert!(matches!(locker.is_locked(), LockState::NotProved { .. }));
    locker.lock().expect("the lock is asked for again");
    let state = locker.wait_locked(Duration::from_secs(20));
    assert!(matches!(state, LockState::Locked { .. }), "{state:?}");
    rig.kill_locker();
}
