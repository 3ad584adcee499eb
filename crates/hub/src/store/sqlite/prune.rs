//! What is of no further use goes, a few rows at a time: orders that were acknowledged, identifiers
//! too old to be taken again, denials of sessions that cannot live any more.
//!
//! It refuses the audit, receipts and transactions: those are proof.

use exeunt_domain::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::store::{Keep, Pruned, StoreError};

const DAY_MS: u64 = 86_400_000;

/// How far a round has come: which table, and after which row. A new process begins a new round.
#[derive(Debug, Default)]
pub(super) struct Round(Place);

#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Start,
    Log(u64),
    Seen(String, String),
    Denials([u8; 32]),
}

/// Looks at the next `most` rows of one table, and takes away what is of no use there.
pub(super) fn step(
    db: &mut Connection,
    round: &mut Round,
    now: Timestamp,
    keep: &Keep,
    most: usize,
) -> Result<Pruned, StoreError> {
    let tx = db.transaction()?;
    let (pruned, next) = match std::mem::take(&mut round.0) {
        Place::Start => (leftovers(&tx, now)?, Some(Place::Log(0))),
        Place::Log(after) => log(&tx, after, most)?,
        Place::Seen(iss, jti) => seen(&tx, (&iss, &jti), now, keep, most)?,
        Place::Denials(after) => denials(&tx, after, now, keep, most)?,
    };
    tx.commit()?;
    let whole = next.is_none();
    round.0 = next.unwrap_or_default();
    Ok(Pruned { whole, ..pruned })
}

/// Enrolment tokens a day after they ended, and acknowledgements of orders that are gone.
fn leftovers(tx: &Transaction<'_>, now: Timestamp) -> Result<Pruned, StoreError> {
    let ended = now.0.saturating_sub(DAY_MS);
    let tokens = tx.execute("DELETE FROM enrol_tokens WHERE expires < ?1", [ended])?;
    let acks = tx.execute(
        "DELETE FROM acks WHERE pos NOT IN (SELECT pos FROM log)
           OR pos <= (SELECT cursor FROM devices WHERE devices.id = acks.device)",
        [],
    )?;
    Ok(Pruned { tokens: tokens as u64, acks: acks as u64, ..Pruned::default() })
}

/// Orders that their device acknowledged, or that were for an enrolment which is over; but never the
/// last one of a device, which its next order and its lease name; so that the last of all stays too,
/// after which positions are given.
fn log(
    tx: &Transaction<'_>,
    after: u64,
    most: usize,
) -> Result<(Pruned, Option<Place>), StoreError> {
    let last: Option<u64> =
        last(tx, "SELECT pos FROM log WHERE pos > ?1 ORDER BY pos LIMIT ?2", after, most, |row| {
            row.get(0)
        })?;
    let Some(last) = last else {
        return Ok((Pruned::default(), Some(Place::Seen(String::new(), String::new()))));
    };
    let gone = tx.execute(
        "DELETE FROM log WHERE pos > ?1 AND pos <= ?2 AND scope = 'device'
           AND pos <= (SELECT cursor FROM devices WHERE devices.id = log.addressee)
           AND EXISTS (SELECT 1 FROM log AS later WHERE later.scope = 'device'
             AND later.addressee = log.addressee AND later.pos > log.pos)",
        params![after, last],
    )?;
    Ok((Pruned { orders: gone as u64, ..Pruned::default() }, Some(Place::Log(last))))
}

/// Identifiers of SETs that are refused by their time.
fn seen(
    tx: &Transaction<'_>,
    after: (&str, &str),
    now: Timestamp,
    keep: &Keep,
    most: usize,
) -> Result<(Pruned, Option<Place>), StoreError> {
    let last: Option<(String, String)> = tx
        .prepare_cached(
            "SELECT iss, jti FROM (SELECT iss, jti FROM seen WHERE (iss, jti) > (?1, ?2)
               ORDER BY iss, jti LIMIT ?3) ORDER BY iss DESC, jti DESC LIMIT 1",
        )?
        .query_row(params![after.0, after.1, most as u64], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some(last) = last else {
        return Ok((Pruned::default(), Some(Place::Denials([0; 32]))));
    };
    let gone = tx.execute(
        "DELETE FROM seen WHERE (iss, jti) > (?1, ?2) AND (iss, jti) <= (?3, ?4) AND at < ?5",
        params![after.0, after.1, last.0, last.1, keep.forgotten(now).0],
    )?;
    Ok((Pruned { seen: gone as u64, ..Pruned::default() }, Some(Place::Seen(last.0, last.1))))
}

/// Denials of sessions that began longer ago than any session lives.
fn denials(
    tx: &Transaction<'_>,
    after: [u8; 32],
    now: Timestamp,
    keep: &Keep,
    most: usize,
) -> Result<(Pruned, Option<Place>), StoreError> {
    let sql = "SELECT hash FROM denials WHERE hash > ?1 ORDER BY hash LIMIT ?2";
    let last: Option<[u8; 32]> = last(tx, sql, after, most, |row| row.get(0))?;
    let Some(last) = last else { return Ok((Pruned::default(), None)) };
    let gone = tx.execute(
        "DELETE FROM denials WHERE hash > ?1 AND hash <= ?2
           AND (SELECT since FROM sessions WHERE sessions.hash = denials.hash) < ?3",
        params![after, last, now.0.saturating_sub(keep.session_ms)],
    )?;
    Ok((Pruned { denials: gone as u64, ..Pruned::default() }, Some(Place::Denials(last))))
}

/// The last of the rows that `sql` finds after `after`.
fn last<K: rusqlite::ToSql, T>(
    tx: &Transaction<'_>,
    sql: &str,
    after: K,
    most: usize,
    read: impl Fn(&Row<'_>) -> Result<T, rusqlite::Error>,
) -> Result<Option<T>, StoreError> {
    let mut find = tx.prepare_cached(sql)?;
    let mut rows = find.query(params![after, most as u64])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        last = Some(read(row)?);
    }
    Ok(last)
}
