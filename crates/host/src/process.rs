//! The processes of the contained account.
//!
//! It refuses to signal a process that it did not identify by pid and start time, and one that it
//! stands on: its own ancestors.

mod holders;
mod linux;
mod pidfd;
mod proc;

pub use linux::{KeepList, LinuxProcesses};
pub(crate) use proc::{Pinned, is_trusted_program};
