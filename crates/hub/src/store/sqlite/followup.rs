//! What is to be seen to after a sign-out: opened by a playbook, ticked by people.
//!
//! It refuses a tick for something that only counts after the sessions had ended, when it was done
//! before, or while an identity provider has not answered.

use exeunt_api::Followup;
use exeunt_api::playbook::Playbook;
use exeunt_domain::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::words::{any, id};
use super::{Done, Note, Stop, Work};
use crate::store::command::{SignOut, Tick};
use crate::store::{Refused, Reply, StoreError};

/// Opens a playbook's items under its sign-out.
pub(super) fn open(work: &Work<'_>, ask: &SignOut, playbook: &Playbook) -> Result<(), Stop> {
    let mut insert = work.db.prepare_cached(
        "INSERT INTO followups (txn, playbook, subject, item, text, opened, after_end)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for item in playbook.followups {
        insert.execute(params![
            ask.txn.as_str(),
            playbook.name,
            ask.subject.key(),
            item.name,
            item.text,
            work.now.0,
            item.after_end
        ])?;
    }
    Ok(())
}

pub(super) fn tick(work: &mut Work<'_>, ask: &Tick) -> Result<Done, Stop> {
    type Row = (String, String, String, String, bool, bool, u64, u64);
    let found: Option<Row> = work
        .db
        .prepare_cached(
            "SELECT followups.txn, followups.playbook, followups.subject, followups.item,
               followups.after_end, followups.ticked IS NOT NULL, txns.at, txns.seq
             FROM followups JOIN txns ON txns.txn = followups.txn WHERE followups.id = ?1",
        )?
        .query_row([ask.id], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
                row.get(7)?,
            ))
        })
        .optional()?;
    let Some((txn, playbook, subject, item, after_end, ticked, ended_at, ended_seq)) = found else {
        return Err(Refused::UnknownFollowup.into());
    };
    if ticked {
        return Ok(Done::silent(Reply::Repeated));
    }
    let done_at = ask.done_at.unwrap_or(work.now);
    let mut said = json!({ "playbook": playbook, "item": item, "done_at": done_at });
    if after_end {
        if done_at.0 < ended_at {
            return Err(Refused::DoneTooEarly.into());
        }
        let open = "SELECT 1 FROM targets
            WHERE txn = ?1 AND kind = 'identity-provider' AND answered = 0";
        if any(work.db, open, [&txn])? {
            return Err(Refused::StillEnding.into());
        }
        said["sessions_ended"] = json!({ "seq": ended_seq, "at": ended_at,
            "before_ms": done_at.0 - ended_at });
    }
    work.db
        .prepare_cached(
            "UPDATE followups SET ticked = ?2, ticked_by = ?3, done_at = ?4, note = ?5
             WHERE id = ?1",
        )?
        .execute(params![ask.id, work.now.0, ask.actor, done_at.0, ask.note])?;
    let note = Note::new(&ask.actor, "followup-ticked").because(ask.note.clone()).with(said);
    let note = Note { subject: Some(subject), txn: Some(txn), ..note };
    Ok(Done::noted(Reply::Done, note))
}

/// Follow-ups, oldest first: of one subject's names or of everyone; the open ones, or all.
///
/// # Errors
/// [`StoreError`].
pub(super) fn list(
    db: &Connection,
    keys: Option<&[String]>,
    all: bool,
) -> Result<Vec<Followup>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT id, txn, playbook, subject, item, text, opened, after_end, ticked, ticked_by,
           done_at, note FROM followups WHERE ?1 OR ticked IS NULL ORDER BY id",
    )?;
    let mut rows = find.query([all])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let one = Followup {
            id: row.get(0)?,
            txn: id(row.get(1)?)?,
            playbook: row.get(2)?,
            subject: row.get(3)?,
            item: row.get(4)?,
            text: row.get(5)?,
            opened: Timestamp(row.get(6)?),
            after_end: row.get(7)?,
            ticked: row.get::<_, Option<u64>>(8)?.map(Timestamp),
            ticked_by: row.get(9)?,
            done_at: row.get::<_, Option<u64>>(10)?.map(Timestamp),
            note: row.get(11)?,
        };
        if keys.is_none_or(|keys| keys.contains(&one.subject)) {
            found.push(one);
        }
    }
    Ok(found)
}
