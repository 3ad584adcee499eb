//! The agent as its neighbours see it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod relay;
mod stage;
