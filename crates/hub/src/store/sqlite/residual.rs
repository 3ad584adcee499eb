//! How a transaction stands, and what of it stays usable, where, and until when.
//!
//! It refuses to leave out a target that nobody answered for.

use exeunt_api::{Residual, Target, TxnState};
use exeunt_domain::{DeviceId, Outcome, Timestamp, Txn};
use rusqlite::{Connection, OptionalExtension as _};

use super::words::meaning;
use crate::store::StoreError;
use crate::store::command::Remains;

/// A transaction, for an operator, or for a device that is a target of it.
///
/// # Errors
/// [`StoreError`].
pub(super) fn txn(
    db: &Connection,
    txn: &Txn,
    device: Option<&DeviceId>,
) -> Result<Option<TxnState>, StoreError> {
    let known: Option<(u64, Option<String>)> = db
        .prepare_cached("SELECT at, playbook FROM txns WHERE txn = ?1")?
        .query_row([txn.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((committed, playbook)) = known else { return Ok(None) };
    let committed = Timestamp(committed);
    let mut find = db.prepare_cached(
        "SELECT kind, id, outcome, at, detail, rejected_after_ms, not_covered FROM targets
         WHERE txn = ?1 ORDER BY kind, id",
    )?;
    let mut rows = find.query([txn.as_str()])?;
    let (mut targets, mut residual) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let target = Target {
            kind: row.get(0)?,
            id: row.get(1)?,
            outcome: meaning(row.get(2)?)?,
            at: Timestamp(row.get(3)?),
            detail: row.get(4)?,
            rejected_after_ms: row.get(5)?,
        };
        let declared: Option<String> = row.get(6)?;
        residual.extend(left_over(&target, declared.as_deref(), committed)?);
        targets.push(target);
    }
    let asked = device.is_none_or(|device| {
        targets.iter().any(|target| target.kind == "device" && target.id == device.as_str())
    });
    let outcome = Outcome::worst(targets.iter().map(|target| target.outcome));
    let spread_ms = spread(committed, &targets);
    let (v, txn) = (exeunt_api::VERSION, txn.clone());
    let state = TxnState { v, txn, outcome, targets, playbook, spread_ms, residual };
    Ok(asked.then_some(state))
}

/// From the hub's own rejection, at its commit, to the last one that was seen elsewhere.
fn spread(committed: Timestamp, targets: &[Target]) -> Option<u64> {
    let seen = targets.iter().filter(|target| target.outcome == Outcome::Verified);
    seen.map(|target| target.at.since_ms(committed)).max()
}

/// What stays usable at one target.
fn left_over(
    target: &Target,
    declared: Option<&str>,
    committed: Timestamp,
) -> Result<Vec<Residual>, StoreError> {
    let at = |what: &str, until: &str, lapses| Residual {
        place: target.id.clone(),
        what: what.to_owned(),
        until: until.to_owned(),
        lapses,
    };
    let mut all = Vec::new();
    // What was not ended at all outweighs what the call never covers.
    if let Some((what, until)) = unended(target) {
        all.push(at(what, until, None));
    }
    let declared: Vec<Remains> = match declared {
        None => Vec::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| StoreError::Damaged(format!("what a target leaves: {error}")))?,
    };
    for gap in declared {
        let after = gap.lapses_after_s.map(|s| committed.plus_ms(s.saturating_mul(1000)));
        all.push(at(&gap.what, &gap.until, gap.lapses.or(after)));
    }
    Ok(all)
}

/// What a target that did not end well keeps, and until when.
fn unended(target: &Target) -> Option<(&'static str, &'static str)> {
    let is_device = match target.kind.as_str() {
        "device" => true,
        "identity-provider" => false,
        // A session is refused by the hub from the commit on.
        _ => return None,
    };
    let all = if is_device {
        "whatever is signed in on this device"
    } else {
        "everything of the person at this provider"
    };
    match target.outcome {
        Outcome::Contained | Outcome::Verified => None,
        Outcome::Requested | Outcome::Delivered | Outcome::Fenced => {
            Some((all, "until it answers"))
        }
        Outcome::Unreachable if is_device => Some((all, "until it answers or its lease lapses")),
        Outcome::Unreachable => Some((all, "until it is ended there by hand")),
        Outcome::Partial | Outcome::Refused if is_device => {
            Some(("what this device's receipt names as left", "until it is ended by hand"))
        }
        Outcome::Partial | Outcome::Refused => {
            let what = "what the provider did not end, or was not seen to end";
            Some((what, "until it is ended there by hand"))
        }
    }
}
