//! The names that one subject is known by.
//!
//! It refuses a join without a reason: whoever reads the audit must learn why two names are one.

use exeunt_domain::{Subject, Timestamp};
use serde::{Deserialize, Serialize};

/// `GET /v1/subject?subject=KEY`: everything by which a subject is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SubjectInfo {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The name that was asked for.
    pub subject: Subject,
    /// Every name, that one first. A sign-out of any reaches all of them.
    pub aliases: Vec<Alias>,
    /// How many live sessions they have together.
    pub sessions: u64,
}

/// One name of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alias {
    /// The name as the registry is keyed by it.
    pub alias: String,
    /// Why it is one of them: `asked`, `operator`, `id-token`, `set`, or `rule:NAME`.
    pub how: String,
    /// Who said so: as the audit names them.
    pub by: Option<String>,
    /// Since when.
    pub at: Option<Timestamp>,
    /// When the sessions under this name were last signed out.
    pub signed_out: Option<Timestamp>,
}

/// `POST /v1/subject/join`: two names are one subject's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// One name, as people type it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub subject: String,
    /// The other.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub alias: String,
    /// Why, for the record.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub reason: String,
}

/// `POST /v1/subject/split`: a name is not that subject's. No rule and no identity provider joins
/// it again; an operator may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SplitRequest {
    /// The name that is taken out, as people type it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub alias: String,
    /// Why, for the record.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub reason: String,
}
