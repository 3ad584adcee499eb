//! What an operator is told about identity providers.
//!
//! It refuses to carry a credential back: settings go in, and never come out.

use serde::{Deserialize, Serialize};

/// One entry of `GET /v1/connectors`, which answers an array: a provider, without its credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectorInfo {
    /// [`crate::VERSION`].
    pub v: u16,
    /// What operators call it.
    pub name: String,
    /// What it is: `keycloak`, `okta`, …
    pub kind: String,
    /// The call by which it revokes.
    pub mechanism: String,
    /// What that call leaves alive.
    pub does_not_cover: Vec<ConnectorGap>,
    /// How its credentials are made anew.
    pub renewal: String,
    /// The audiences whose services may hand over tokens for it.
    pub audiences: Vec<String>,
}

/// Something that a provider's call leaves alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectorGap {
    /// What.
    pub what: String,
    /// Until when.
    pub how_long: String,
    /// How many seconds after the call it is over at the latest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_after_s: Option<u64>,
}

/// What `POST /v1/connectors/{name}/test` showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectorTest {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Which.
    pub name: String,
    /// The provider answered, and took the credentials.
    pub works: bool,
    /// What was tried, or what is wrong and how to mend it.
    pub said: String,
    /// How long that took, in milliseconds.
    pub ms: u64,
}
