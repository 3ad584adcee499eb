//! How the hub says no.
//!
//! It refuses to explain more than the caller may know: a code, a sentence, a next step.

use serde::{Deserialize, Serialize};

/// An error of every interface but the SET and OAuth endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// [`crate::VERSION`].
    pub v: u16,
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ErrorDetail {
    /// A stable code: `invalid_request`, `unauthorized`, `forbidden`, `not_found`, `conflict`,
    /// `stale_auth`, `on_hold`, `tier_refused`, `preview_changed`, `rate_limited`, `snapshot_needed`,
    /// `too_large`, `tls_required`, `storage_full`, `storage_failed`, `unavailable`, `internal`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// What to do next.
    #[serde(default)]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// An error with the given code and sentence.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        let hint = hint.map(str::to_owned);
        Self {
            v: crate::VERSION,
            error: ErrorDetail { code: code.to_owned(), message: message.into(), hint },
        }
    }
}

/// An error of a SET endpoint (RFC 8935 §2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetErrorBody {
    /// RFC 8935 §2.4: `invalid_request`, `invalid_key`, `invalid_issuer`, `invalid_audience`,
    /// `authentication_failed`, `access_denied`.
    pub err: String,
    /// One sentence for people.
    pub description: String,
}
