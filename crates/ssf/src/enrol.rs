//! The one-time enrolment token, and the two events of an enrolment.
//!
//! It refuses a token without the thumbprint of a hub key: a device never trusts on first use.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::{Approvers, DeviceId, Group, Kid, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::key::{Jwks, PublicJwk};

const PREFIX: &str = "exeunt-enroll-";

/// What root hands to a warden, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolToken {
    /// Always 1.
    pub v: u16,
    /// The hub's base URL.
    pub hub: String,
    /// The hub's issuer name, as its SETs carry it.
    pub issuer: String,
    /// Names this enrolment, once.
    pub secret: String,
    /// Thumbprints of the hub's signing keys; at least one.
    pub thumbprints: Vec<Kid>,
    /// Who may approve what needs a quorum. None: nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// At most so many orders an hour that only the hub vouches for. None: what the hub's answer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders_per_hour: Option<u32>,
    /// The group that the device will belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// The tenant that the device will belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// What the device will be called, if the operator chose.
    pub name: Option<String>,
    /// Hub time after which the token is refused.
    pub expires: Timestamp,
}

impl std::fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolToken").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// The text is no enrolment token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It does not begin with `exeunt-enroll-`, or is cut short.
    #[error(
        "this is no enrolment token: copy the whole line that `exeunt admin device token` printed"
    )]
    Unreadable,
    /// It names no key of the hub.
    #[error("the enrolment token names no key of the hub")]
    NoThumbprint,
    /// Its approvers can never agree.
    #[error("the enrolment token names approvers who can never agree")]
    UnsoundApprovers,
}

impl EnrolToken {
    /// The text that an operator copies.
    #[must_use]
    pub fn encode(&self) -> String {
        // A struct of strings and numbers always serializes.
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads what an operator pasted.
    ///
    /// # Errors
    /// [`InvalidToken`].
    pub fn decode(text: &str) -> Result<Self, InvalidToken> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(InvalidToken::Unreadable)?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| InvalidToken::Unreadable)?;
        let token: Self = serde_json::from_slice(&json).map_err(|_| InvalidToken::Unreadable)?;
        if token.v != 1 {
            return Err(InvalidToken::Unreadable);
        }
        if token.thumbprints.is_empty() {
            return Err(InvalidToken::NoThumbprint);
        }
        if token.approvers.as_ref().is_some_and(|approvers| !approvers.is_sound()) {
            return Err(InvalidToken::UnsoundApprovers);
        }
        Ok(token)
    }
}

/// The claims of an `ENROL_EVENT`, signed by the device key that it presents.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolEvent {
    /// The token's secret.
    pub secret: String,
    /// The key that signs orders' receipts; it never leaves the warden.
    pub device_jwk: PublicJwk,
    /// The agent's transport key; it proves nothing else.
    pub agent_jwk: PublicJwk,
    /// What the machine calls itself.
    pub name: String,
    /// `installed` or `user`.
    pub mode: exeunt_domain::receipt::Mode,
}

/// The claims of an `ENROLLED_EVENT`, signed by the hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledEvent {
    /// What the hub calls the device; the audience of its orders.
    pub device: DeviceId,
    /// Which enrolment of that device.
    pub epoch: u64,
    /// The hub's signing keys; the device keeps those whose thumbprints the token named.
    pub hub_jwks: Jwks,
    /// The hub's clock.
    pub hub_time: Timestamp,
    /// At most so many orders an hour that only the hub vouches for, where the token names no number.
    pub orders_per_hour: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> EnrolToken {
        EnrolToken {
            v: 1,
            hub: "http://127.0.0.1:7443".into(),
            issuer: "http://127.0.0.1:7443".into(),
            secret: "s".into(),
            thumbprints: vec![Kid::parse("k").unwrap()],
            approvers: None,
            orders_per_hour: None,
            group: None,
            tenant: None,
            name: None,
            expires: Timestamp(1),
        }
    }

    #[test]
    fn reads_back_its_text() {
        assert_eq!(EnrolToken::decode(&token().encode()).unwrap(), token());
    }

    #[test]
    fn refuses_a_token_that_is_cut_short_or_names_no_key() {
        let text = token().encode();
        assert_eq!(EnrolToken::decode(&text[..text.len() - 4]), Err(InvalidToken::Unreadable));
        let keyless = EnrolToken { thumbprints: vec![], ..token() };
        assert_eq!(EnrolToken::decode(&keyless.encode()), Err(InvalidToken::NoThumbprint));
        let nobody = Approvers { keys: [].into(), needed: 0 };
        let open = EnrolToken { approvers: Some(nobody), ..token() };
        assert_eq!(EnrolToken::decode(&open.encode()), Err(InvalidToken::UnsoundApprovers));
    }

    #[test]
    fn never_shows_its_secret_in_debug_output() {
        let token = EnrolToken { secret: "hunter2".into(), ..token() };
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
