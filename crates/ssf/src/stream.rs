//! A stream's configuration and status as receivers read and write them (SSF 1.0 §8.1).
//!
//! It refuses to let a receiver set what is the transmitter's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::discovery::POLL;

/// The event types that this transmitter sends.
pub const SUPPORTED: [&str; 1] = [SESSION_REVOKED];
/// Sessions of the subject were ended (CAEP 1.0).
pub const SESSION_REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// A stream proves that it works (SSF 1.0 §8.1.4).
pub const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
/// A stream's status changed at the transmitter (SSF 1.0 §8.1.5).
pub const STREAM_UPDATED: &str =
    "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

/// How SETs reach a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// [`crate::discovery::PUSH`] or [`POLL`].
    pub method: String,
    /// Where: the receiver's own for push, the transmitter's for poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// What a push carries as `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_header: Option<String>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { method: POLL.into(), endpoint_url: None, authorization_header: None }
    }
}

/// What a receiver may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Event types; everything supported when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_requested: Option<Vec<String>>,
    /// Poll when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The subject also within the event, where some receivers look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exeunt_subject_in_event: Option<bool>,
}

impl Wishes {
    /// What is delivered: the part of what is asked that is supported.
    #[must_use]
    pub fn delivered(&self) -> Vec<&'static str> {
        let asked = |event: &&str| {
            self.events_requested.as_ref().is_none_or(|asked| asked.iter().any(|one| one == event))
        };
        SUPPORTED.into_iter().filter(asked).collect()
    }

    /// The same with what `change` names put in its place.
    #[must_use]
    pub fn patched(self, change: Wishes) -> Self {
        Self {
            events_requested: change.events_requested.or(self.events_requested),
            delivery: change.delivery.or(self.delivery),
            description: change.description.or(self.description),
            exeunt_subject_in_event: change
                .exeunt_subject_in_event
                .or(self.exeunt_subject_in_event),
        }
    }
}

/// Members that only the transmitter sets.
pub const TRANSMITTERS: [&str; 7] = [
    "stream_id",
    "iss",
    "aud",
    "events_supported",
    "events_delivered",
    "min_verification_interval",
    "inactivity_timeout",
];

/// The first member of `body` that only the transmitter sets and that is not as in `current`
/// (SSF 1.0 §8.1.1.3). At creation nothing is current.
#[must_use]
pub fn overreach(body: &Value, current: &Value) -> Option<&'static str> {
    TRANSMITTERS
        .into_iter()
        .find(|name| body.get(name).is_some_and(|given| Some(given) != current.get(name)))
}

/// Whether a stream delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It delivers.
    Enabled,
    /// It holds what comes, in order.
    Paused,
    /// It drops what comes.
    Disabled,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Enabled => "enabled",
            Status::Paused => "paused",
            Status::Disabled => "disabled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn delivers_what_is_both_asked_and_supported() {
        assert_eq!(Wishes::default().delivered(), SUPPORTED);
        let asked = |events: &[&str]| Wishes {
            events_requested: Some(events.iter().map(ToString::to_string).collect()),
            ..Wishes::default()
        };
        assert_eq!(asked(&["urn:x", SESSION_REVOKED]).delivered(), [SESSION_REVOKED]);
        assert!(asked(&["urn:x"]).delivered().is_empty());
    }

    #[test]
    fn names_a_member_that_is_not_the_receivers_to_set() {
        let nothing = json!({});
        assert_eq!(overreach(&json!({"iss": "me"}), &nothing), Some("iss"));
        assert_eq!(overreach(&json!({"description": "d"}), &nothing), None);
        assert_eq!(overreach(&json!({"aud": "a"}), &json!({"aud": "a"})), None);
        assert_eq!(overreach(&json!({"aud": "b"}), &json!({"aud": "a"})), Some("aud"));
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let before = Wishes { description: Some("d".into()), ..Wishes::default() };
        let change = Wishes { delivery: Some(Delivery::default()), ..Wishes::default() };
        let after = before.patched(change);
        assert_eq!((after.description.as_deref(), after.delivery.is_some()), (Some("d"), true));
    }
}
