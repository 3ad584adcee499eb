//! Claims inside the SETs that a device's warden signs for the hub, and inside the hub's
//! countersignature.
//!
//! It refuses unknown fields: both ends ship together.

use exeunt_domain::{
    Jti, Outcome, Proof, SessionId, SessionKind, StoreReport, Subject, Tier, Timestamp, Txn,
};
use serde::{Deserialize, Serialize};

/// Event type of the hub's countersignature of a receipt.
pub const COUNTERSIGNED_EVENT: &str = "urn:exeunt:secevent:countersigned";

/// Claims of `PROGRESS_EVENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Which transaction.
    pub txn: Txn,
    /// `delivered`, `fenced` or `contained`; anything else belongs in a receipt.
    pub outcome: Outcome,
    /// When, by the device's wall clock.
    pub at: Timestamp,
    /// The enrolment it speaks in.
    pub epoch: u64,
    /// The order it answers, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Jti>,
}

/// Claims of `SESSION_ESTABLISHED_EVENT` as a device sends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionEstablished {
    /// Whose.
    pub subject: Subject,
    /// Its id at the device.
    pub session_id: SessionId,
    /// `console`.
    pub kind: SessionKind,
    /// How the subject was established.
    pub proof: Proof,
    /// Since when, by the device's wall clock.
    pub since: Timestamp,
    /// True when that session has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// Claims of `SIGN_OUT_REQUESTED_EVENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignOutRequested {
    /// The transaction the warden minted.
    pub txn: Txn,
    /// Whose sessions.
    pub subject: Subject,
    /// How much is to end.
    pub tier: Tier,
    /// Words for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the person asked, by the device's wall clock.
    pub requested: Timestamp,
    /// The console session in which they asked.
    pub session: SessionId,
}

/// Claims of `STORES_RETURNED_EVENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoresReturned {
    /// The transaction of the close that they came back after.
    pub after: Txn,
    /// When they were found, by the device's wall clock.
    pub at: Timestamp,
    /// The enrolment it speaks in.
    pub epoch: u64,
    /// Whose sessions those were, when known.
    #[serde(default)]
    pub subject: Option<Subject>,
    /// Which stores, without a verdict.
    pub stores: Vec<StoreReport>,
    /// Whether the device contains them again, under a transaction of its own.
    pub contains: bool,
}

/// Claims of [`COUNTERSIGNED_EVENT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Countersigned {
    /// The device whose receipt this is.
    pub device: String,
    /// The transaction.
    pub txn: Txn,
    /// SHA-256, hexadecimal, of the receipt's compact form.
    pub receipt: String,
    /// The receipt's place in the device's chain.
    pub device_seq: u64,
    /// Whether the chain is whole up to here.
    pub chained: bool,
    /// `installed`, or `user`: unattested, the account itself could have signed it.
    pub assurance: String,
    /// The outcome the hub derived.
    pub outcome: Outcome,
    /// When the hub received it, by hub time.
    pub received: Timestamp,
}
