//! Playbooks: what is to be done around a sign-out, as data, one file each.
//!
//! It refuses to do anything by itself: a playbook is the sign-out that every operator can ask for,
//! and a list of what people must see to afterwards.

mod contractor_end;
mod exposed_secret;
mod leaver;
mod lost_laptop;
mod rogue_agent;

use std::fmt;

use exeunt_domain::{Timestamp, Txn};
use serde::{Deserialize, Serialize};

/// One playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playbook {
    /// What it is called, in commands and in the audit.
    pub name: &'static str,
    /// When it is for, in one sentence.
    pub when: &'static str,
    /// The subject is put on hold: no session of it begins until an operator releases it.
    pub hold: bool,
    /// What is to be seen to afterwards.
    pub followups: &'static [Item],
}

/// Something to be seen to after a sign-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called.
    pub name: &'static str,
    /// What is to be done, for people.
    pub text: &'static str,
    /// It counts only when it was done after the sessions had ended: it is refused with an earlier
    /// time, or while an identity provider has not answered.
    pub after_end: bool,
}

/// Every playbook.
pub const PLAYBOOKS: [Playbook; 5] = [
    leaver::PLAYBOOK,
    exposed_secret::PLAYBOOK,
    rogue_agent::PLAYBOOK,
    lost_laptop::PLAYBOOK,
    contractor_end::PLAYBOOK,
];

/// The text names no playbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPlaybook(pub String);

impl fmt::Display for UnknownPlaybook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = PLAYBOOKS.map(|one| one.name).join(", ");
        write!(f, "{:?} is no playbook: they are {all}", self.0)
    }
}

impl std::error::Error for UnknownPlaybook {}

impl Playbook {
    /// The playbook of that name.
    ///
    /// # Errors
    /// [`UnknownPlaybook`].
    pub fn named(name: &str) -> Result<&'static Self, UnknownPlaybook> {
        let found = PLAYBOOKS.iter().find(|one| one.name == name);
        found.ok_or_else(|| UnknownPlaybook(name.to_owned()))
    }
}

/// `POST /v1/playbooks/{playbook}`: the sign-out of a subject everywhere, and what belongs to it.
/// Answered like `POST /v1/sign-out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlaybookRequest {
    /// Whose sessions, as people type it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub subject: String,
    /// Why, for the record and for the person; the playbook's own words when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub reason: Option<String>,
    /// Show what would end, and touch nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// The digest of the preview that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// A repeat with the same key answers the first call's transaction and does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    pub idempotency_key: Option<String>,
}

/// `GET /v1/playbooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlaybookList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Each.
    pub playbooks: Vec<PlaybookInfo>,
}

/// One playbook, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlaybookInfo {
    /// What it is called.
    pub name: String,
    /// When it is for.
    pub when: String,
    /// The subject is put on hold.
    pub hold: bool,
    /// What is to be seen to afterwards, in words.
    pub followups: Vec<String>,
}

impl From<&Playbook> for PlaybookInfo {
    fn from(one: &Playbook) -> Self {
        let followups = one.followups.iter().map(|item| item.text.to_owned()).collect();
        Self { name: one.name.into(), when: one.when.into(), hold: one.hold, followups }
    }
}

/// `GET /v1/followups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FollowupList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Each, the oldest first.
    pub followups: Vec<Followup>,
}

/// Something that is to be seen to after a sign-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Followup {
    /// Its number, by which it is ticked.
    pub id: u64,
    /// Under which transaction.
    pub txn: Txn,
    /// Which playbook.
    pub playbook: String,
    /// Whose sessions ended.
    pub subject: String,
    /// What it is called.
    pub item: String,
    /// What is to be done.
    pub text: String,
    /// Since when.
    pub opened: Timestamp,
    /// It counts only when it was done after the sessions had ended.
    pub after_end: bool,
    /// When it was ticked; None: it is open.
    pub ticked: Option<Timestamp>,
    /// By whom.
    pub ticked_by: Option<String>,
    /// When it was done, in that one's word.
    pub done_at: Option<Timestamp>,
    /// What that one said of it.
    pub note: Option<String>,
}

/// `POST /v1/followups/{id}/tick`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TickRequest {
    /// What was done, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub note: Option<String>,
    /// When it was done, in milliseconds since 1970; now when absent.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<u64>,
}

/// `GET /v1/holds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Each that is in force, the oldest first.
    pub holds: Vec<Hold>,
}

/// A subject of whom no session may begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hold {
    /// Who, by the name that was asked for; it holds under every other of theirs.
    pub subject: String,
    /// Since when.
    pub since: Timestamp,
    /// Who put it there.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The transaction that it belongs to.
    pub txn: Option<Txn>,
}

/// `POST /v1/holds` and `POST /v1/holds/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Who, as people type it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub subject: String,
    /// Why, for the record.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_playbook_proves_itself() {
        for one in &PLAYBOOKS {
            assert_eq!(Playbook::named(one.name), Ok(one));
            assert!(one.when.ends_with('.') && !one.followups.is_empty(), "{}", one.name);
            let mut names: Vec<_> = one.followups.iter().map(|item| item.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), one.followups.len(), "{}", one.name);
        }
        assert!(Playbook::named("panic").unwrap_err().to_string().contains("rogue-agent"));
    }

    #[test]
    fn a_leaked_secret_is_rotated_after_its_sessions_ended_and_not_before() {
        let items = exposed_secret::PLAYBOOK.followups;
        let rotate = items.iter().find(|item| item.name == "rotate").unwrap();
        assert!(rotate.after_end);
    }
}
