//! Sessions: a subject signed in to something.
//!
//! It refuses to hold a session's secret: only its identifier, or that one's hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::SessionId;

/// What a subject is signed in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SessionKind {
    /// A browser session at a relying service.
    Web,
    /// A person at this device's console.
    Console,
    /// A desktop application.
    Desktop,
    /// A session at an identity provider.
    Federated,
    /// A long-lived key.
    ApiKey,
    /// An agent run: software acting for a subject.
    Agent,
}

/// How a console session's subject was established, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// An ID token that the hub verifies itself.
    IdToken,
    /// The operating-system account, mapped by policy.
    Account,
    /// Root or a named group said so, within the list enrolled for the device.
    Attested,
    /// A local user said so: enough to end this device only.
    Asserted,
}

impl Proof {
    /// Whether a session so proved may ask to sign its subject out everywhere.
    #[must_use]
    pub fn reaches_everywhere(self) -> bool {
        match self {
            Proof::IdToken | Proof::Account | Proof::Attested => true,
            Proof::Asserted => false,
        }
    }
}

/// Whether a session is still accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Accepted on its next request.
    Active,
    /// Ended by its own side: the person signed out there.
    Ended,
    /// Refused on its next request.
    Revoked,
}

/// The SHA-256 of a session id, the only form in which the hub stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionHash(pub [u8; 32]);

impl SessionHash {
    /// Hashes `sid`, bound to its audience so that equal ids of two services stay apart.
    #[must_use]
    pub fn of(aud: &str, sid: &SessionId) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((aud.len() as u64).to_be_bytes());
        hasher.update(aud.as_bytes());
        hasher.update(sid.as_str().as_bytes());
        Self(hasher.finalize().into())
    }

    /// Lowercase hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

/// Lowercase hexadecimal of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' + value - 10 });
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        out.push(digit(b >> 4));
        out.push(digit(b & 15));
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ids_of_two_audiences_hash_apart() {
        let sid = SessionId::parse("s1").unwrap();
        assert_ne!(SessionHash::of("a", &sid), SessionHash::of("b", &sid));
        assert_eq!(SessionHash::of("a", &sid).to_hex().len(), 64);
    }
}
