//! What every implementation of a port must do, as functions that tests call with a rig.
//!
//! It refuses to know whether it looks at a fake or at an operating system.

pub mod agents;
pub mod files;
pub mod journal;
pub mod keychains;
pub mod locker;
pub mod processes;
pub mod watch;
