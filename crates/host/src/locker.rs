//! The screen lock of the account's desktop session.
//!
//! It refuses to take a started program for a locked screen: the lock is proved by looking.

pub(crate) mod bus;
mod choose;
mod desktop;
mod display;
mod guard;
mod hold;
pub(crate) mod logind;
mod proof;
mod screensaver;
mod session;
mod start;
mod wayland;
mod x11;
mod xscreensaver;

use std::time::Duration;

use exeunt_engine::ports::{LockError, LockState, Locker};

pub use choose::Way;
pub use desktop::{Fallback, Here, Runner, SessionLocker, Wishes};
pub use guard::Guards;
pub use screensaver::ScreenSaver;
pub use session::DesktopSession;
pub use x11::X11Locker;

/// A program that locks an X11 screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockProgram {
    /// `xsecurelock`.
    Xsecurelock,
    /// `i3lock`.
    I3lock,
    /// `exeunt-tray curtain`: no password opens it.
    Curtain,
}

/// No session was named, so there is no screen to lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLocker;

impl Locker for NoLocker {
    fn lock(&self) -> Result<(), LockError> {
        Ok(())
    }

    fn is_locked(&self) -> LockState {
        LockState::NoSession
    }

    fn wait_locked(&self, _deadline: Duration) -> LockState {
        LockState::NoSession
    }
}
