//! The processes of the contained account.
//!
//! It refuses to signal a process that it did not identify by pid and start time, and one that it
//! stands on: its own ancestors.

mod cgroup;
mod holders;
mod linux;
mod pidfd;
mod proc;
pub(crate) mod services;

pub(crate) use cgroup::Tree;
pub(crate) use linux::lineage;
pub use linux::{KeepList, LinuxProcesses};
pub(crate) use pidfd::Watched;
pub(crate) use proc::{Pinned, is_trusted_program};
