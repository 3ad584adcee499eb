//! The revocation check on the wire.
//!
//! It refuses gaps: a batch of deltas names the sequence that it follows.

use exeunt_domain::Timestamp;
use serde::{Deserialize, Serialize};

/// The revocation state as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotResponse {
    /// Up to which sequence it is complete.
    pub seq: u64,
    /// The asking service's own audience, by which it hashes session ids.
    #[serde(default)]
    pub aud: String,
    /// Subject key, sequence, and hub time in milliseconds.
    pub watermarks: Vec<(String, u64, Timestamp)>,
    /// Session hash in hexadecimal, and sequence.
    pub denied: Vec<(String, u64)>,
}

/// What to ask of [`crate::path::CHECK_DELTAS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltasQuery {
    /// What the caller already holds; it also reports how far the caller's check is.
    pub after: u64,
    /// Seconds to wait for a change, at most 25.
    #[serde(default)]
    pub wait: u64,
    /// Names one process of a service that runs several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Changes, in order, complete from `after` to `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltasResponse {
    /// The sequence these follow.
    pub after: u64,
    /// Up to which sequence they are complete; a heartbeat has no deltas.
    pub seq: u64,
    /// Each change.
    pub deltas: Vec<WireDelta>,
}

/// One change of the revocation state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "delta", rename_all = "snake_case")]
pub enum WireDelta {
    /// Every session of the subject up to `seq` is dead.
    Watermark {
        /// The subject's key.
        subject: String,
        /// The sequence.
        seq: u64,
        /// Hub time.
        at: Timestamp,
    },
    /// One session is dead.
    Denied {
        /// Its hash in hexadecimal.
        session: String,
        /// The sequence.
        seq: u64,
    },
}

/// What to ask of [`crate::path::CHECK`]. 204: accepted; 401: refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// The subject's key.
    pub subject: String,
    /// The session's id at the asking service.
    pub session: String,
    /// The `seq` that its registration answered.
    pub issued_seq: u64,
}
