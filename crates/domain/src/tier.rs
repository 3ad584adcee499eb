//! How much an order ends.
//!
//! It refuses any tier beyond `purge`: nothing here formats or wipes a disk.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much is ended, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Lock the screen. Nothing is closed or removed.
    Lock,
    /// End every session: stores of authenticated state go, documents and settings stay.
    SignOut,
    /// Also what policy keeps at sign-out, such as saved passwords.
    Purge,
}

impl Tier {
    /// The word people type and read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Lock => "lock",
            Tier::SignOut => "sign-out",
            Tier::Purge => "purge",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no tier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown tier {0:?}: use lock, sign-out or purge")]
pub struct UnknownTier(pub String);

impl std::str::FromStr for Tier {
    type Err = UnknownTier;
    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        match text {
            "lock" => Ok(Tier::Lock),
            "sign-out" => Ok(Tier::SignOut),
            "purge" => Ok(Tier::Purge),
            other => Err(UnknownTier(other.to_owned())),
        }
    }
}
