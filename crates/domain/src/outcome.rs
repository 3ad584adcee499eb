//! Verdicts of stores and outcomes of orders, and how the worst part governs the whole.
//!
//! It refuses to let "received" stand for "done": `Verified` follows only from verdicts that were
//! looked at again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was found when a store was looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is there any more.
    Gone,
    /// Bytes may remain, but nothing that holds them open is alive and nobody can reach them.
    Unusable,
    /// Something usable is still there.
    Residual,
    /// The target refused: a locked keychain, an immutable file, a place out of bounds.
    Refused,
    /// It could not be looked at again.
    Unknown,
}

impl Verdict {
    /// Every verdict, best first.
    pub const ALL: [Verdict; 5] =
        [Verdict::Gone, Verdict::Unusable, Verdict::Residual, Verdict::Refused, Verdict::Unknown];

    /// The outcome that a single store with this verdict gives its order.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Verdict::Gone | Verdict::Unusable => Outcome::Verified,
            Verdict::Residual | Verdict::Refused => Outcome::Partial,
            Verdict::Unknown => Outcome::Unreachable,
        }
    }

    /// The word on receipts and screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Gone => "gone",
            Verdict::Unusable => "unusable",
            Verdict::Residual => "residual",
            Verdict::Refused => "refused",
            Verdict::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far an order came on one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Committed at the hub; nothing is known of the target yet.
    Requested,
    /// The target's own key says that the order arrived.
    Delivered,
    /// Journalled, lock asked, holders frozen or dead, every surveyed store renamed away.
    Fenced,
    /// Everything planned was done; not yet looked at again.
    Contained,
    /// Looked at again, and nothing usable was found.
    Verified,
    /// Something usable remains, or a store refused.
    Partial,
    /// The target did not answer, or a part could not be looked at.
    Unreachable,
    /// The target refused the order itself.
    Refused,
}

impl Outcome {
    /// Every outcome in the order an order passes through, then the three bad ends.
    pub const ALL: [Outcome; 8] = [
        Outcome::Requested,
        Outcome::Delivered,
        Outcome::Fenced,
        Outcome::Contained,
        Outcome::Verified,
        Outcome::Partial,
        Outcome::Unreachable,
        Outcome::Refused,
    ];

    /// Whether nothing further is expected of the target.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Outcome::Verified | Outcome::Partial | Outcome::Unreachable | Outcome::Refused => true,
            Outcome::Requested | Outcome::Delivered | Outcome::Fenced | Outcome::Contained => false,
        }
    }

    /// How bad this outcome is as a part of a whole; higher governs.
    ///
    /// Refused > unreachable > partial > unfinished (earliest state first) > verified.
    #[must_use]
    pub fn severity(self) -> u8 {
        match self {
            Outcome::Verified => 0,
            Outcome::Contained => 1,
            Outcome::Fenced => 2,
            Outcome::Delivered => 3,
            Outcome::Requested => 4,
            Outcome::Partial => 5,
            Outcome::Unreachable => 6,
            Outcome::Refused => 7,
        }
    }

    /// The worst of the parts; `Verified` when there are none.
    #[must_use]
    pub fn worst(parts: impl IntoIterator<Item = Outcome>) -> Outcome {
        parts.into_iter().max_by_key(|o| o.severity()).unwrap_or(Outcome::Verified)
    }

    /// The process exit code of a command whose order ended so: 0 verified, 3 partial,
    /// 4 unreachable or unfinished, 5 refused.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Verified => 0,
            Outcome::Partial => 3,
            Outcome::Refused => 5,
            Outcome::Unreachable
            | Outcome::Requested
            | Outcome::Delivered
            | Outcome::Fenced
            | Outcome::Contained => 4,
        }
    }

    /// The word on receipts and screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Requested => "requested",
            Outcome::Delivered => "delivered",
            Outcome::Fenced => "fenced",
            Outcome::Contained => "contained",
            Outcome::Verified => "verified",
            Outcome::Partial => "partial",
            Outcome::Unreachable => "unreachable",
            Outcome::Refused => "refused",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_part_governs() {
        use Outcome::{Partial, Refused, Requested, Unreachable, Verified};
        assert_eq!(Outcome::worst([Verified, Partial, Verified]), Partial);
        assert_eq!(Outcome::worst([Partial, Unreachable]), Unreachable);
        assert_eq!(Outcome::worst([Unreachable, Refused, Verified]), Refused);
        assert_eq!(Outcome::worst([Verified, Requested]), Requested);
        assert_eq!(Outcome::worst([]), Verified);
    }

    #[test]
    fn only_gone_and_unusable_verify() {
        for verdict in Verdict::ALL {
            let verifies = verdict.outcome() == Outcome::Verified;
            assert_eq!(verifies, matches!(verdict, Verdict::Gone | Verdict::Unusable), "{verdict}");
        }
    }

    #[test]
    fn only_verified_exits_with_zero() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.exit_code() == 0, outcome == Outcome::Verified, "{outcome}");
        }
    }
}
