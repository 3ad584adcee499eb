//! What holds a screen locked, as it was seen.
//!
//! It refuses to stand without a living process: the guard watches that one.

use exeunt_engine::ports::{LockState, ProcessId};

use super::screensaver::ScreenSaver;

/// A lock that was seen.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// What was seen, for people.
    pub(super) how: String,
    /// The process without which the screen would be open.
    pub(super) locker: ProcessId,
    /// What its end means.
    pub(super) kind: Kind,
}

/// How a lock ends when it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The locker ends, without an error, once the password was typed.
    Password,
    /// The locker lives on and holds nothing any more.
    Daemon,
    /// The same, and it says so on the bus.
    Saver(&'static ScreenSaver),
    /// Never by itself: somebody in charge ends it.
    Curtain,
}

/// A lock, or why none was seen.
pub(super) type Seen = Result<Proof, String>;

/// A look as the engine is told of it.
pub(super) fn told(seen: Seen) -> LockState {
    match seen {
        Ok(proof) => LockState::Locked { how: proof.how },
        Err(why) => LockState::NotProved { why },
    }
}
