//! In-memory fakes of the engine's ports, and the contracts that fakes and adapters both keep.
//!
//! It refuses to be part of a program: it is a dev-dependency only, and panics when misused.

#![expect(clippy::expect_used, reason = "a fake that a test misuses ends that test")]

mod agents;
pub mod contract;
mod files;
mod hand_over;
mod keychains;
mod locker;
pub mod mute;
mod processes;
mod time;
mod watcher;

pub use agents::FakeAgents;
pub use files::{FakeDir, FakeFiles, FakeQuarantine};
pub use hand_over::FakeHandOver;
pub use keychains::FakeKeychains;
pub use locker::FakeLocker;
pub use processes::FakeProcesses;
pub use time::{FakeClock, FakeJournal};
pub use watcher::FakeWatcher;
