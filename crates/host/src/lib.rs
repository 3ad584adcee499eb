//! The operating system behind the engine's ports: files, processes, keychains, a locker, a clock.
//!
//! It refuses to decide anything: what is contained, and in which order, is the engine's.

#[cfg(not(target_os = "linux"))]
compile_error!("exeunt-host has adapters for Linux only");

pub mod agents;
mod bounded;
pub mod clock;
pub mod disks;
pub mod files;
pub mod hand_over;
pub mod journal;
pub mod keychain;
pub mod locker;
mod mounts;
pub mod process;
pub mod reported;
pub mod sessions;
pub mod socket;
pub mod users;
pub mod watch;
