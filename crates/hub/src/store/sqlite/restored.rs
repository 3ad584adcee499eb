//! The first thing that happens to a record that was restored: what it cannot know is made harmless.
//!
//! It refuses to go on counting where the copy ends: the lost hub gave those numbers out already.

use exeunt_api::number::LARGEST;
use rusqlite::{Connection, params};
use serde_json::json;

use super::{Note, SqliteStore, append};
use crate::audit::RESTORED;
use crate::store::{Anew, Head, Restored, StoreError};

/// How many numbers the lost hub may have given out in a millisecond, at the very most.
const PER_MS: u64 = 100;
/// The shortest time that is reckoned with: clocks differ.
const LEAST_MS: u64 = 86_400_000;

/// How far enrolments of a restored hub are from those that it may have forgotten.
const EPOCHS_APART: u64 = 1_000_000;

pub(super) fn begin_anew(store: &mut SqliteStore, what: &Restored) -> Result<Anew, StoreError> {
    let head = store.head;
    let unknown = what.now.0.saturating_sub(what.taken.0).max(LEAST_MS);
    let last = head.seq.saturating_add(unknown.saturating_mul(PER_MS));
    if last >= LARGEST {
        return Err(StoreError::Damaged("no sequence numbers are left".into()));
    }
    let tx = store.begin()?;
    let ended = if what.keep_sessions { 0 } else { end_sessions(&tx, last + 1, what.now.0)? };
    tx.execute("DELETE FROM operators", [])?;
    tx.execute("DELETE FROM enrol_tokens WHERE used_by IS NULL", [])?;
    tx.execute(
        "INSERT INTO restores (seq, at, taken) VALUES (?1, ?2, ?3)",
        params![last + 1, what.now.0, what.taken.0],
    )?;
    let note = Note::new("hub", RESTORED)
        .with(json!({ "after": head.seq, "taken": what.taken, "sessions_ended": ended }));
    let next = append(&tx, Head { seq: last, ..head }, what.now, &note)?;
    tx.commit()?;
    store.head = next;
    Ok(Anew { rows_to: head.seq, seq: next.seq, sessions_ended: ended })
}

/// Ends every session at a relying service, each subject by a watermark: any of them may have been
/// revoked after the copy was taken. Sessions at devices stay, for orders go by them.
fn end_sessions(db: &Connection, seq: u64, at: u64) -> Result<u64, StoreError> {
    db.execute(
        "INSERT INTO watermarks (subject, seq, at, txn)
         SELECT DISTINCT subject, ?1, ?2, 'restored-' || ?1 FROM sessions
         WHERE proof IS NULL
         ON CONFLICT (subject) DO UPDATE SET seq = excluded.seq, at = excluded.at,
           txn = excluded.txn",
        params![seq, at],
    )?;
    let ended = db.execute(
        "UPDATE sessions SET status = 'ended', last_seen = ?1
         WHERE status = 'active' AND proof IS NULL",
        [at],
    )?;
    Ok(ended as u64)
}

/// The epoch that every enrolment must be beyond: what was enrolled after the copy was taken, and is
/// forgotten, had a lower one.
pub(super) fn epoch_floor(db: &Connection) -> Result<u64, rusqlite::Error> {
    let restores: u64 =
        db.prepare_cached("SELECT count(*) FROM restores")?.query_row([], |row| row.get(0))?;
    Ok(restores.saturating_mul(EPOCHS_APART))
}
