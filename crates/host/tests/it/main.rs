//! The adapters against the operating system itself, in throwaway homes and with throwaway
//! processes.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that fails says where")]

mod agents;
mod catalogue;
mod corpus;
mod disks;
mod edits;
mod erasing;
mod files;
mod homes;
mod journal;
mod keepassxc;
mod kernel;
mod keychain;
mod liar;
mod locker;
mod lockers;
mod mounts;
mod processes;
mod programs;
mod race;
mod reported;
mod wallets;
mod watch;
