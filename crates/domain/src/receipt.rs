//! What a device swears to after it looked again.
//!
//! It refuses to be edited: the signed form is a SET, and this is only the body inside it.

use serde::{Deserialize, Serialize};

use crate::order::Authority;
use crate::{Outcome, Subject, Tier, Timestamp, Txn, Verdict};

/// The claims inside a receipt's event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiptBody {
    /// The device, or `unenrolled`.
    pub device: String,
    /// The transaction this receipt answers.
    pub txn: Txn,
    /// Position in the device's own chain, from 1.
    pub seq: u64,
    /// SHA-256, hexadecimal, of the previous receipt's compact form; empty for the first.
    pub previous: String,
    /// Who demanded it.
    pub authority: Authority,
    /// Whose sessions.
    pub subject: Option<Subject>,
    /// How much was to end.
    pub tier: Tier,
    /// Whether the device's key came with an enrolment, so that a hub can vouch for it.
    pub pinned: bool,
    /// `installed` (a root warden) or `user` (no isolation from the account itself).
    pub mode: Mode,
    /// The worst part.
    pub outcome: Outcome,
    /// When the demand was accepted, by the wall clock.
    pub accepted: Timestamp,
    /// When the last look was taken, by the wall clock.
    pub checked: Timestamp,
    /// Per store: found, done, found again.
    pub stores: Vec<StoreReport>,
    /// Per step: time and error.
    pub steps: Vec<StepReport>,
    /// Whether the screen is locked, as proved.
    pub lock: LockReport,
    /// Version of the catalogue that was looked for.
    pub catalogue: String,
    /// SHA-256, hexadecimal, over everything that was looked for.
    pub coverage: String,
    /// What "everywhere" did not include, and until when.
    pub not_covered: Vec<NotCovered>,
    /// Sentences a reader must not miss: an interruption, a failed journal, a store that came back.
    pub remarks: Vec<String>,
}

/// Whether the warden is isolated from the account that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A root warden for the whole machine.
    Installed,
    /// The account's own processes, for one home; claims no isolation.
    User,
}

/// What happened to one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// The catalogue's id of the app.
    pub app: String,
    /// Which profile of it; empty when the app has none.
    pub profile: String,
    /// The catalogue's id of the store.
    pub store: String,
    /// Where, relative to the home; non-UTF-8 names are escaped.
    pub place: String,
    /// What the survey found.
    pub before: Before,
    /// What the last look found. None: not looked at, as in a survey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why, when the verdict is not `gone`.
    pub detail: Option<String>,
}

/// What the survey found of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// Something is there.
    Present,
    /// It lies out of bounds, or could not be opened.
    Refused,
    /// It appeared after the survey and was contained as well.
    Appeared,
}

/// One step of containment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// `journal`, `lock`, `freeze`, `keychain`, `end`, `quarantine`, `unlink`, `survey`, …
    pub step: String,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// When it ended, in milliseconds after the demand was accepted.
    pub at_ms: f64,
    /// What went wrong, if anything.
    pub error: Option<String>,
    /// How it was done, where that is not always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether the screen is locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LockReport {
    /// The probe saw a living locker that holds the screen.
    Proved {
        /// What the probe looked at.
        how: String,
    },
    /// The lock was asked for, and the probe could not prove it.
    NotProved {
        /// What was missing.
        why: String,
    },
    /// No session was named, so no lock was asked; this never worsens the outcome.
    NotAsked,
}

/// A place that "everywhere" did not include.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCovered {
    /// What it is.
    pub what: String,
    /// Until when it may stay usable, if anyone knows.
    pub until: Option<Timestamp>,
}

impl ReceiptBody {
    /// The worst part: every store's verdict and the lock.
    #[must_use]
    pub fn judge(stores: &[StoreReport], lock: &LockReport) -> Outcome {
        let parts = stores.iter().map(|store| match store.verdict {
            Some(verdict) => verdict.outcome(),
            None => Outcome::Unreachable,
        });
        let lock = match lock {
            LockReport::Proved { .. } | LockReport::NotAsked => Outcome::Verified,
            LockReport::NotProved { .. } => Outcome::Partial,
        };
        Outcome::worst(parts.chain([lock]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(verdict: Option<Verdict>) -> StoreReport {
        StoreReport {
            app: "aws".into(),
            profile: String::new(),
            store: "sso".into(),
            place: ".aws/sso/cache".into(),
            before: Before::Present,
            verdict,
            detail: None,
        }
    }

    #[test]
    fn a_store_that_was_not_looked_at_again_is_never_verified() {
        let judged = ReceiptBody::judge(&[store(None)], &LockReport::NotAsked);
        assert_eq!(judged, Outcome::Unreachable);
    }

    #[test]
    fn an_unproved_lock_makes_the_whole_partial() {
        let lock = LockReport::NotProved { why: "no locker".into() };
        let judged = ReceiptBody::judge(&[store(Some(Verdict::Gone))], &lock);
        assert_eq!(judged, Outcome::Partial);
    }

    #[test]
    fn a_lock_that_was_not_asked_never_worsens_the_outcome() {
        let judged = ReceiptBody::judge(&[store(Some(Verdict::Unusable))], &LockReport::NotAsked);
        assert_eq!(judged, Outcome::Verified);
    }
}
