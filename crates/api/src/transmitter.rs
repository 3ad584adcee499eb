//! Parties that send SETs to the hub, as operators register and see them.
//!
//! It refuses a transmitter without bounds: whom it may speak about is part of its registration.

use exeunt_domain::{Tier, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most clients of one provider.
pub const MOST_CLIENTS: usize = 256;
/// Most sign-outs an hour.
pub const HIGHEST_RATE: u64 = 100_000;

/// A transmitter to register.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TransmitterRequest {
    /// The issuer of its SETs. With `poll` it may be left out: its metadata names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub issuer: Option<String>,
    /// Its keys, or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// where they are. With `poll` neither is given: its metadata says where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Our name there; our issuer name when absent, and with `poll` what its stream says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Whom it may speak about.
    pub may_speak_about: Scope,
    /// The most that it may cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_ceiling: Option<Tier>,
    /// How many sign-outs an hour it may cause.
    #[serde(
        default,
        deserialize_with = "crate::number::whole",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = HIGHEST_RATE)))]
    pub rate_per_hour: Option<u64>,
    /// Clients of that provider whose logout and command tokens are taken here; `aud` alone when
    /// absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = MOST_CLIENTS)))]
    pub clients: Vec<String>,
    /// It is polled, by the hub; otherwise it pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollSettings>,
    /// Its pushes must carry a bearer token, which the answer names once.
    #[serde(default)]
    pub with_token: bool,
}

/// How the hub reaches a transmitter that it polls. Either client credentials or a token.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PollSettings {
    /// Its issuer, or the address of its metadata.
    pub url: String,
    /// Our client there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Where tokens are had; found by RFC 8414 or OpenID discovery when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// What to ask for; `ssf.read ssf.manage` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// A bearer token that it handed out, in place of a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
}

impl std::fmt::Debug for PollSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollSettings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How a transmitter's SETs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DeliveryMethod {
    /// It pushes them (RFC 8935).
    Push,
    /// The hub polls them (RFC 8936).
    Poll,
}

/// Whom a transmitter may speak about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Issuers of `iss_sub` subjects.
    #[serde(default)]
    pub issuers: Vec<String>,
    /// Domains of `email` and `account` subjects.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// A registered transmitter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TransmitterInfo {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Its name here.
    pub id: String,
    /// The issuer of its SETs.
    pub issuer: String,
    /// Our name there.
    pub aud: String,
    /// Clients of that provider whose logout and command tokens are taken here.
    pub clients: Vec<String>,
    /// Where its keys are.
    pub jwks_uri: Option<String>,
    /// Whom it may speak about.
    pub may_speak_about: Scope,
    /// The most that it may cause.
    pub tier_ceiling: Tier,
    /// How many sign-outs an hour it may cause.
    pub rate_per_hour: u64,
    /// How its SETs come.
    pub delivery: DeliveryMethod,
    /// How its stream stands.
    pub stream: StreamInfo,
    /// Whether it answers, when it is polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkInfo>,
    /// Where it pushes, or where it is polled.
    pub endpoint_url: String,
    /// What its pushes must carry. Shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_header: Option<String>,
}

/// What a transmitter last said of its stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamInfo {
    /// `enabled` until it says otherwise; `paused` and `disabled` bring nothing.
    pub status: String,
    /// Its reason.
    pub reason: Option<String>,
    /// When it said so.
    pub at: Option<Timestamp>,
    /// Since when a verification event that was asked for is missing.
    pub awaiting_since: Option<Timestamp>,
    /// When a verification event last came.
    pub verified_at: Option<Timestamp>,
}

/// Whether a polled transmitter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// No attempt has ended yet.
    Connecting,
    /// It answered the last attempt.
    Up,
    /// It did not; the next attempt comes by itself.
    Down,
}

/// How the hub's polling of a transmitter goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LinkInfo {
    /// Whether it answers.
    pub state: LinkState,
    /// Since when.
    pub since: Timestamp,
    /// What is wrong.
    pub error: Option<String>,
}

/// `GET /v1/transmitters`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TransmitterList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// All of them.
    pub transmitters: Vec<TransmitterInfo>,
}

/// A state to expect in a verification event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExpectRequest {
    /// The state.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub state: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_a_credential_in_debug_output() {
        let settings = PollSettings {
            url: "https://tr.example".into(),
            client_secret: Some("s3cret".into()),
            access_token: Some("t0ken".into()),
            ..PollSettings::default()
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}
