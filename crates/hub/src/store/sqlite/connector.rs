//! Identity providers as targets of sign-outs.
//!
//! It refuses their credentials: the record holds names and outcomes alone.

use exeunt_domain::Subject;
use rusqlite::{Connection, params};
use serde_json::json;

use super::words::{id, word};
use super::{Done, Note, Stop, Work, alias};
use crate::aliases::Rules;
use crate::store::command::{Provided, ProviderTarget, Remains, SignOut};
use crate::store::{Refused, Reply, StoreError};

pub(super) fn add(
    work: &mut Work<'_>,
    actor: &str,
    name: &str,
    kind: &str,
    remains: &[Remains],
) -> Result<Done, Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO connectors (name, kind, registered, not_covered) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET kind = ?2, not_covered = ?4",
        )?
        .execute(params![name, kind, work.now.0, json!(remains).to_string()])?;
    let note = Note::new(actor, "connector-registered").with(json!({ "name": name, "kind": kind }));
    Ok(Done::noted(Reply::Done, note))
}

/// Keeps what a provider leaves alive, for the sign-outs to come.
pub(super) fn declare(work: &mut Work<'_>, name: &str, remains: &[Remains]) -> Result<Done, Stop> {
    work.db
        .prepare_cached("UPDATE connectors SET not_covered = ?2 WHERE name = ?1")?
        .execute(params![name, json!(remains).to_string()])?;
    Ok(Done::silent(Reply::Done))
}

pub(super) fn remove(work: &mut Work<'_>, actor: &str, name: &str) -> Result<Done, Stop> {
    let removed =
        work.db.prepare_cached("DELETE FROM connectors WHERE name = ?1")?.execute([name])?;
    if removed == 0 {
        return Err(Refused::UnknownConnector.into());
    }
    let note = Note::new(actor, "connector-removed").with(json!({ "name": name }));
    Ok(Done::noted(Reply::Done, note))
}

/// Makes every provider a target of a sign-out.
pub(super) fn target(work: &Work<'_>, ask: &SignOut) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO targets (txn, kind, id, outcome, at, detail, not_covered)
             SELECT ?1, 'identity-provider', name, 'requested', ?2, 'not asked yet', not_covered
             FROM connectors",
        )?
        .execute(params![ask.txn.as_str(), work.now.0])?;
    Ok(())
}

pub(super) fn provided(work: &mut Work<'_>, ask: &Provided) -> Result<Done, Stop> {
    let changed = work
        .db
        .prepare_cached(
            "UPDATE targets SET outcome = ?3, at = ?4, detail = ?5, answered = ?6,
               rejected_after_ms = ?7
             WHERE txn = ?1 AND kind = 'identity-provider' AND id = ?2 AND answered = 0",
        )?
        .execute(params![
            ask.txn.as_str(),
            ask.name,
            word(&ask.outcome),
            work.now.0,
            ask.detail,
            ask.outcome.is_final(),
            ask.rejected_after_ms
        ])?;
    if changed == 0 {
        return Err(Refused::UnknownTxn.into());
    }
    let detail = json!({
        "name": ask.name, "outcome": ask.outcome, "detail": ask.detail,
        "rejected_after_ms": ask.rejected_after_ms,
    });
    let note = Note::new("hub", "provider-answered").under(&ask.txn).with(detail);
    let mut done = Done::noted(Reply::Done, note);
    done.effects.changed.push(ask.txn.clone());
    Ok(done)
}

/// Providers that have no final outcome yet.
///
/// # Errors
/// [`StoreError`].
pub(super) fn open(db: &Connection, rules: &Rules) -> Result<Vec<ProviderTarget>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT targets.txn, targets.id, txns.subject FROM targets
         JOIN txns ON txns.txn = targets.txn
         WHERE targets.kind = 'identity-provider' AND targets.answered = 0",
    )?;
    let mut rows = find.query([])?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let subject: String = row.get(2)?;
        let subject = Subject::parse(&subject)
            .map_err(|error| StoreError::Damaged(format!("a subject: {error}")))?;
        let known = match alias::known_as(db, rules, &subject.key()) {
            Ok(known) => known,
            // More names than can be followed: the one that was asked for.
            Err(Stop::Refused(_)) => vec![subject.key()],
            Err(Stop::Store(error)) => return Err(error),
        };
        let aliases = known.iter().skip(1).filter_map(|key| Subject::parse(key).ok()).collect();
        open.push(ProviderTarget { txn: id(row.get(0)?)?, name: row.get(1)?, subject, aliases });
    }
    Ok(open)
}
