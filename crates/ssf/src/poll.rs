//! The bodies of poll delivery (RFC 8936 §2.2–2.4) and of a push error (RFC 8935 §2.3).
//!
//! It refuses a missing member to mean anything but its default in the RFC.

use std::collections::BTreeMap;

use exeunt_domain::Jti;
use serde::{Deserialize, Serialize};

/// Media type of a SET (RFC 8417 §2.3).
pub const SET_MEDIA_TYPE: &str = "application/secevent+jwt";

/// What a receiver asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollRequest {
    /// At most so many SETs; 0 only acknowledges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_events: Option<u32>,
    /// Answer at once, even with nothing. False: a long poll.
    #[serde(default)]
    pub return_immediately: bool,
    /// SETs that are durable at the receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ack: Vec<Jti>,
    /// SETs that the receiver refuses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_errs: BTreeMap<Jti, SetErr>,
}

/// What a transmitter answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollResponse {
    /// Compact SETs by `jti`. Ours are time-ordered ids, so that map order is sending order.
    pub sets: BTreeMap<Jti, String>,
    /// More are waiting.
    #[serde(default)]
    pub more_available: bool,
}

/// Why a SET was refused; also the body of a refused push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetErr {
    /// A code of RFC 8935 §2.4.
    pub err: String,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// The body of a refused push (RFC 8935 §2.3) has the shape of one `setErrs` entry.
pub type ErrBody = SetErr;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_request_is_a_long_poll_for_anything() {
        let request: PollRequest = serde_json::from_str("{}").unwrap();
        assert!(!request.return_immediately);
        assert_eq!(request.max_events, None);
    }

    #[test]
    fn writes_the_member_names_of_the_rfc() {
        let jti = Jti::parse("j").unwrap();
        let error = SetErr { err: "invalid_key".into(), description: "?".into() };
        let request = PollRequest {
            max_events: Some(0),
            return_immediately: true,
            ack: vec![jti.clone()],
            set_errs: BTreeMap::from([(jti, error)]),
        };
        let json = serde_json::to_value(&request).unwrap();
        for member in ["maxEvents", "returnImmediately", "ack", "setErrs"] {
            assert!(json.get(member).is_some(), "{member}");
        }
    }
}
