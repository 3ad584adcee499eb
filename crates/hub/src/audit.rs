//! The audit chain: how a row is hashed to the one before, and the signed head kept beside.
//!
//! It refuses to repair: a chain that does not verify is reported and left as it is.

use exeunt_api::AuditVerdict;
use sha2::{Digest, Sha256};

use crate::store::Head;

pub mod head;

/// One row as it is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Contiguous from 1.
    pub seq: u64,
    /// Hub time in milliseconds.
    pub at: u64,
    /// Who.
    pub actor: &'a str,
    /// What.
    pub action: &'a str,
    /// From which device.
    pub source_device: Option<&'a str>,
    /// Whose sessions.
    pub subject: Option<&'a str>,
    /// Under which transaction.
    pub txn: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// Affected sessions, space-separated.
    pub sessions: &'a str,
    /// Particulars as JSON text.
    pub detail: &'a str,
}

/// The hash of `row` after a row whose hash is `previous`: SHA-256 over the previous hash and
/// every field under its length.
#[must_use]
pub fn link(previous: &[u8; 32], row: &Row<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(row.seq.to_be_bytes());
    hasher.update(row.at.to_be_bytes());
    let fields = [
        Some(row.actor),
        Some(row.action),
        row.source_device,
        row.subject,
        row.txn,
        row.reason,
        Some(row.sessions),
        Some(row.detail),
    ];
    for field in fields {
        match field {
            None => hasher.update([0]),
            Some(text) => {
                hasher.update([1]);
                hasher.update((text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().into()
}

/// What a look at every row found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Rows that hold, from the first.
    pub rows: u64,
    /// The last row that holds.
    pub head: Head,
    /// The hash of the row that was asked for, if it was reached.
    pub at: Option<[u8; 32]>,
    /// The first row that does not hold.
    pub broken: Option<String>,
}

impl Chain {
    /// Looks at the next row; false ends the walk.
    pub fn look(&mut self, row: &Row<'_>, stored: &[u8], at: u64) -> bool {
        let expected = self.head.seq + 1;
        if row.seq != expected && !self.goes_on_with(row) {
            self.broken = Some(format!("row {expected} is missing; row {} follows", row.seq));
            return false;
        }
        let hash = link(&self.head.hash, row);
        if hash != *stored {
            self.broken = Some(format!("row {} was changed", row.seq));
            return false;
        }
        self.rows += 1;
        self.head = Head { seq: row.seq, hash };
        if row.seq == at {
            self.at = Some(hash);
        }
        true
    }

    /// A restore leaves out the numbers that the lost record may have given out; its row says after
    /// which one.
    fn goes_on_with(&self, row: &Row<'_>) -> bool {
        let detail = || serde_json::from_str::<serde_json::Value>(row.detail).unwrap_or_default();
        row.seq > self.head.seq
            && row.action == RESTORED
            && detail()["after"].as_u64() == Some(self.head.seq)
    }
}

/// The action of the row with which a restored record goes on.
pub const RESTORED: &str = "restored";

/// Compares a chain with the signed head that lies beside it.
#[must_use]
pub fn judge(chain: &Chain, signed: Result<Option<Head>, head::HeadError>) -> AuditVerdict {
    let head_seq = signed.as_ref().ok().copied().flatten().map_or(0, |head| head.seq);
    let reason = match (&chain.broken, signed) {
        (Some(broken), _) => Some(broken.clone()),
        (None, Err(error)) => Some(error.to_string()),
        (None, Ok(None)) if chain.rows > 0 => Some("no signed head lies beside the log".into()),
        (None, Ok(None)) => None,
        (None, Ok(Some(head))) if head.seq > chain.head.seq => Some(format!(
            "the log ends at row {}, and row {} was signed: its tail is missing",
            chain.head.seq, head.seq
        )),
        (None, Ok(Some(head))) if head.seq > 0 && chain.at != Some(head.hash) => {
            Some(format!("row {} is not the one that was signed", head.seq))
        }
        (None, Ok(Some(_))) => None,
    };
    AuditVerdict {
        v: exeunt_api::VERSION,
        verified: reason.is_none(),
        rows: chain.rows,
        head_seq,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, actor: &'static str) -> Row<'static> {
        Row {
            seq,
            at: 5,
            actor,
            action: "a",
            source_device: None,
            subject: Some(""),
            txn: None,
            reason: None,
            sessions: "",
            detail: "{}",
        }
    }

    #[test]
    fn absent_and_empty_fields_hash_apart() {
        let empty = row(1, "x");
        let absent = Row { subject: None, ..empty };
        assert_ne!(link(&[0; 32], &empty), link(&[0; 32], &absent));
    }

    #[test]
    fn moving_bytes_between_fields_changes_the_hash() {
        let one = Row { action: "bc", ..row(1, "a") };
        let two = Row { action: "c", ..row(1, "ab") };
        assert_ne!(link(&[0; 32], &one), link(&[0; 32], &two));
    }

    #[test]
    fn names_a_changed_row_a_missing_row_and_a_missing_tail() {
        let first = link(&[0; 32], &row(1, "x"));
        let second = link(&first, &row(2, "y"));
        let mut whole = Chain::default();
        assert!(whole.look(&row(1, "x"), &first, 2) && whole.look(&row(2, "y"), &second, 2));
        let signed = Head { seq: 2, hash: second };
        assert!(judge(&whole, Ok(Some(signed))).verified);

        let mut changed = Chain::default();
        assert!(!changed.look(&row(1, "z"), &first, 2));
        assert!(judge(&changed, Ok(Some(signed))).reason.unwrap().contains("row 1 was changed"));

        let mut gap = Chain::default();
        assert!(gap.look(&row(1, "x"), &first, 2));
        assert!(!gap.look(&row(3, "y"), &second, 2));
        assert!(judge(&gap, Ok(Some(signed))).reason.unwrap().contains("row 2 is missing"));

        let restored = |after: u64| {
            let detail = if after == 1 { r#"{"after":1}"# } else { r#"{"after":2}"# };
            let row = Row { action: RESTORED, detail, ..row(9, "hub") };
            (row, link(&first, &row))
        };
        for (after, whole) in [(1, true), (2, false)] {
            let mut chain = Chain::default();
            let (row_of, hash) = restored(after);
            assert!(chain.look(&row(1, "x"), &first, 2));
            assert_eq!(chain.look(&row_of, &hash, 2), whole, "a gap is named by its own row");
            assert_eq!((chain.rows, chain.head.seq), if whole { (2, 9) } else { (1, 1) });
        }

        let mut short = Chain::default();
        assert!(short.look(&row(1, "x"), &first, 2));
        assert!(judge(&short, Ok(Some(signed))).reason.unwrap().contains("tail is missing"));
    }
}
