//! Transmitter metadata (SSF 1.0 §7.1).
//!
//! It refuses empty arrays: a member without content is left out.

use serde::{Deserialize, Serialize};

/// Where the metadata lies: the issuer's path, if any, follows (SSF 1.0 §7.2).
pub const WELL_KNOWN: &str = "/.well-known/ssf-configuration";
/// Push delivery (RFC 8935).
pub const PUSH: &str = "urn:ietf:rfc:8935";
/// Poll delivery (RFC 8936).
pub const POLL: &str = "urn:ietf:rfc:8936";
/// OAuth 2.0.
pub const OAUTH: &str = "urn:ietf:rfc:6749";

/// One way to be authorised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationScheme {
    /// Its specification.
    pub spec_urn: String,
}

/// A transmitter's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `1_0`; absent means a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_version: Option<String>,
    /// The issuer of its SETs.
    pub issuer: String,
    /// Its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// [`PUSH`], [`POLL`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delivery_methods_supported: Vec<String>,
    /// Streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_endpoint: Option<String>,
    /// A stream's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_endpoint: Option<String>,
    /// Adds a subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_subject_endpoint: Option<String>,
    /// Removes a subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_subject_endpoint: Option<String>,
    /// Asks for a verification event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_endpoint: Option<String>,
    /// Members of a complex subject that a receiver must understand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical_subject_members: Vec<String>,
    /// How to be authorised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_schemes: Vec<AuthorizationScheme>,
    /// `ALL` or `NONE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_subjects: Option<String>,
}

/// The path of an issuer, which follows [`WELL_KNOWN`]; empty when it has none.
#[must_use]
pub fn issuer_path(issuer: &str) -> &str {
    let after = issuer.split_once("://").map_or(issuer, |(_, after)| after);
    after.find('/').map_or("", |at| after[at..].trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuers_path_follows_the_well_known_name() {
        assert_eq!(issuer_path("https://tr.example"), "");
        assert_eq!(issuer_path("https://tr.example/"), "");
        assert_eq!(issuer_path("https://tr.example/a/b"), "/a/b");
    }

    #[test]
    fn leaves_out_what_is_empty() {
        let text = r#"{"issuer":"https://tr.example"}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&metadata).unwrap(), text);
    }
}
