//! `exeunt` as people and scripts see it: the built program, run.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a played warden answers what it was asked")]

mod admin;
mod approvals;
mod device;
mod offline;
mod schema;
mod stage;
mod usage;
