//! Holds: subjects of whom no session begins until an operator has looked.
//!
//! It refuses to lapse by itself: whoever releases a hold says why.

use exeunt_api::Hold;
use exeunt_domain::{Subject, Timestamp, Txn};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::words::id;
use super::{Done, Note, Stop, Work, alias};
use crate::store::command::{PlaceHold, ReleaseHold};
use crate::store::{Refused, Reply, StoreError};

/// A hold that is in force for one of these names: the transaction that it belongs to.
///
/// # Errors
/// [`Stop`].
pub(super) fn on(db: &Connection, keys: &[String]) -> Result<Option<Option<Txn>>, Stop> {
    let mut find = db.prepare_cached("SELECT txn FROM holds WHERE subject = ?1")?;
    for key in keys {
        if let Some(txn) =
            find.query_row([key], |row| row.get::<_, Option<String>>(0)).optional()?
        {
            return Ok(Some(txn.map(id).transpose()?));
        }
    }
    Ok(None)
}

/// Puts a subject on hold; one that is, stays as it was.
pub(super) fn put(
    work: &Work<'_>,
    subject: &Subject,
    by: &str,
    reason: &str,
    txn: Option<&Txn>,
) -> Result<bool, Stop> {
    let inserted = work
        .db
        .prepare_cached(
            "INSERT OR IGNORE INTO holds (subject, since, by, reason, txn)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![subject.key(), work.now.0, by, reason, txn.map(Txn::as_str)])?;
    Ok(inserted == 1)
}

pub(super) fn place(work: &mut Work<'_>, ask: &PlaceHold) -> Result<Done, Stop> {
    if !put(work, &ask.subject, &ask.actor, &ask.reason, None)? {
        return Ok(Done::silent(Reply::Repeated));
    }
    let note = Note::new(&ask.actor, "hold-placed").of(&ask.subject);
    Ok(Done::noted(Reply::Done, note.because(Some(ask.reason.clone()))))
}

pub(super) fn release(work: &mut Work<'_>, ask: &ReleaseHold) -> Result<Done, Stop> {
    let mut released = Vec::new();
    for key in alias::known_as(work.db, work.rules, &ask.subject.key())? {
        let gone = work
            .db
            .prepare_cached("DELETE FROM holds WHERE subject = ?1 RETURNING by, since, txn")?
            .query_row([&key], |row| {
                let txn: Option<String> = row.get(2)?;
                Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?, txn))
            })
            .optional()?;
        released.extend(gone.map(|(by, since, txn)| {
            json!({ "subject": key, "placed_by": by, "since": since, "txn": txn })
        }));
    }
    if released.is_empty() {
        return Err(Refused::NoHold.into());
    }
    let note = Note::new(&ask.actor, "hold-released")
        .of(&ask.subject)
        .because(Some(ask.reason.clone()))
        .with(json!({ "released": released }));
    Ok(Done::noted(Reply::Done, note))
}

/// Every hold in force, the oldest first.
///
/// # Errors
/// [`StoreError`].
pub(super) fn list(db: &Connection) -> Result<Vec<Hold>, StoreError> {
    let mut find =
        db.prepare_cached("SELECT subject, since, by, reason, txn FROM holds ORDER BY since")?;
    let mut rows = find.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let txn: Option<String> = row.get(4)?;
        found.push(Hold {
            subject: row.get(0)?,
            since: Timestamp(row.get(1)?),
            by: row.get(2)?,
            reason: row.get(3)?,
            txn: txn.map(id).transpose()?,
        });
    }
    Ok(found)
}
