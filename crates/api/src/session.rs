//! What a relying service says about its sessions.
//!
//! It refuses times in seconds: every time here is in milliseconds since the Unix epoch.

use exeunt_domain::{SessionId, SessionKind, Subject, Timestamp};
use serde::{Deserialize, Serialize};

/// A session that a relying service has just begun. `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Whose.
    pub subject: Subject,
    /// Its id at the service; the hub keeps only the hash.
    pub session_id: SessionId,
    /// What it is.
    pub kind: SessionKind,
    /// When the person really authenticated, in milliseconds: an identity provider's `auth_time`,
    /// never the time of this call.
    pub auth_time: Timestamp,
    /// The device, if the service knows it; for people, it directs no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// A phrase a person recognises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where, for people; the service's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The identity provider's `sid`, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp_sid: Option<String>,
}

/// The registration's place in the hub's sequence; keep it with the session, the check wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Its sequence number.
    pub seq: u64,
}
