//! What a device's agent may ask on behalf of the person in front of it.
//!
//! It refuses session ids: a person recognises a place and a phrase.

use exeunt_domain::{Outcome, SessionKind, Timestamp, Txn};
use serde::{Deserialize, Serialize};

/// One session, as a person recognises it. `GET /v1/device/sessions?subject=KEY` answers an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSession {
    /// What it is.
    pub kind: SessionKind,
    /// Where: a device's or a service's name.
    pub place: String,
    /// A phrase a person recognises: "Chromium on occ-07".
    pub label: String,
    /// It is on the asking device.
    pub here: bool,
    /// Since when.
    pub since: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
}

/// How a transaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TxnState {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Which.
    pub txn: Txn,
    /// The worst part.
    pub outcome: Outcome,
    /// Each target.
    pub targets: Vec<Target>,
    /// The playbook that it was a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// Milliseconds from the first rejection, which is the hub's own, to the last one that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_ms: Option<u64>,
    /// What stays usable all the same, where, and until when.
    #[serde(default)]
    pub residual: Vec<Residual>,
}

impl TxnState {
    /// Nothing further is expected of any target.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.targets.iter().all(|target| target.outcome.is_final())
    }
}

/// One target of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Target {
    /// `device`, `session`, `service`, `identity-provider`.
    pub kind: String,
    /// A device's id, or the first 16 hexadecimal digits of a session's hash.
    pub id: String,
    /// How far it is.
    pub outcome: Outcome,
    /// Since when.
    pub at: Timestamp,
    /// One phrase for people.
    pub detail: Option<String>,
    /// How many milliseconds after the first call what was revoked there was seen refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_after_ms: Option<u64>,
}

/// Something that stays usable after a sign-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Residual {
    /// At which target: an identity provider's name, or a device's id.
    pub place: String,
    /// What.
    pub what: String,
    /// Until when, for people; may be empty.
    pub until: String,
    /// When it is over at the latest, where that is known.
    pub lapses: Option<Timestamp>,
}
