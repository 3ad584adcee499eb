//! Who operates the hub: roles, tokens, and signing in through the organisation's own identity
//! provider.
//!
//! It refuses a token without a role.

use std::fmt;

use exeunt_domain::Timestamp;
use serde::{Deserialize, Serialize};

/// What an operator may do. The hub's table of doors says which role opens which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Signs one named subject out at a time, and sees that subject alone.
    HelpDesk,
    /// Looks, and signs out.
    Responder,
    /// Looks, and approves what needs a quorum.
    Approver,
    /// Looks, the audit included.
    Auditor,
    /// Sets the hub up, and may do everything that one person alone may do.
    Administrator,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 6] = [
        Role::Viewer,
        Role::HelpDesk,
        Role::Responder,
        Role::Approver,
        Role::Auditor,
        Role::Administrator,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::HelpDesk => "help-desk",
            Role::Responder => "responder",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
            Role::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRole(pub String);

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Role::ALL.map(Role::as_str).join(", ");
        write!(f, "{:?} is no role: they are {all}", self.0)
    }
}

impl std::error::Error for UnknownRole {}

impl std::str::FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// `POST /v1/admin-tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AdminTokenRequest {
    /// Who will use it; the audit names them so.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), regex(pattern = crate::NAME)))]
    pub name: String,
    /// What they may do; at least one.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub roles: Vec<Role>,
    /// Seconds until it expires; never when absent.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub ttl_s: Option<u64>,
}

/// An operator's token. Shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdminTokenResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The token.
    pub token: String,
}

/// `GET /v1/operator`: who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperatorInfo {
    /// [`crate::VERSION`].
    pub v: u16,
    /// As the audit names them.
    pub name: String,
    /// What they may do.
    pub roles: Vec<Role>,
    /// When their token expires, by hub time.
    pub expires: Option<Timestamp>,
}

/// `POST /v1/sign-in`: begins a sign-in at the organisation's identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// Where the browser comes back to: an `http` address on loopback (RFC 8252 §7.3), or one below
    /// the hub's own base URL.
    pub redirect_uri: String,
    /// SHA-256 of the verifier, base64url without padding (RFC 7636 §4.2, `S256`).
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[A-Za-z0-9_-]{43}$")))]
    pub code_challenge: String,
}

/// Where to send the browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignInResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The identity provider's page.
    pub authorization_url: String,
    /// Comes back with the browser (RFC 6749 §4.1.1).
    pub state: String,
    /// Until when it is good, by hub time.
    pub expires: Timestamp,
}

/// `POST /v1/sign-in/finish`: the browser has come back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignInFinish {
    /// As it came back.
    pub state: String,
    /// The authorization code.
    pub code: String,
    /// The verifier (RFC 7636 §4.1).
    pub code_verifier: String,
    /// The issuer as it came back, if the identity provider names itself (RFC 9207).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
}

/// The operator's token. Shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedIn {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The token.
    pub token: String,
    /// As the audit names them.
    pub name: String,
    /// What they may do.
    pub roles: Vec<Role>,
    /// When the token expires, by hub time.
    pub expires: Timestamp,
}

macro_rules! hides_secret {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
hides_secret!(AdminTokenResponse, SignInFinish, SignedIn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_spelt_alike_in_words_and_in_messages() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn a_token_without_roles_is_no_request() {
        assert!(serde_json::from_str::<AdminTokenRequest>(r#"{"name":"olive"}"#).is_err());
    }
}
