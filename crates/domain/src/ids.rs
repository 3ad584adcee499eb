//! Distinct identifier types, so that a device can never be passed where a session belongs.
//!
//! It refuses empty, oversized and unprintable identifiers at the edge.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Longer than [`MAX_ID_BYTES`].
    #[error("{0} is longer than {MAX_ID_BYTES} bytes")]
    TooLong(&'static str),
    /// Holds a space, a control character or something outside printable ASCII.
    #[error("{0} holds a character outside printable ASCII")]
    BadCharacter(&'static str),
}

/// Longest identifier accepted from anywhere, in bytes.
pub const MAX_ID_BYTES: usize = 256;

fn checked(what: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty(what));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidId::TooLong(what));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(InvalidId::BadCharacter(what));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses an identifier.
            ///
            /// # Errors
            /// [`InvalidId`] when it is empty, too long, or not printable ASCII without spaces.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                checked($what, &text)?;
                Ok(Self(text))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES, "pattern": "^[!-~]+$"
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A device as the hub named it at enrolment.
    DeviceId,
    "device id"
);
id!(
    /// A group of devices, such as all kiosks, as a device's enrolment fixed it.
    Group,
    "group"
);
id!(
    /// A tenant that devices belong to, as a device's enrolment fixed it.
    Tenant,
    "tenant"
);
id!(
    /// A session at its issuer. The hub stores only its hash.
    SessionId,
    "session id"
);
id!(
    /// The transaction that ties every SET, order and receipt of one cause (RFC 8417 §2.2 `txn`).
    Txn,
    "txn"
);
id!(
    /// The unique identifier of one SET (RFC 8417 §2.2 `jti`).
    Jti,
    "jti"
);
id!(
    /// A key, named by its RFC 7638 thumbprint.
    Kid,
    "kid"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ids_with_spaces_controls_or_nothing() {
        assert_eq!(Txn::parse(""), Err(InvalidId::Empty("txn")));
        assert_eq!(Txn::parse("a b"), Err(InvalidId::BadCharacter("txn")));
        assert_eq!(Jti::parse("a\n"), Err(InvalidId::BadCharacter("jti")));
        assert_eq!(Kid::parse("x".repeat(257)), Err(InvalidId::TooLong("kid")));
        assert!(DeviceId::parse("occ-07").is_ok());
    }

    #[test]
    fn refuses_bad_ids_when_deserializing() {
        assert!(serde_json::from_str::<SessionId>("\"\"").is_err());
        assert!(serde_json::from_str::<SessionId>("\"s-1\"").is_ok());
    }
}
