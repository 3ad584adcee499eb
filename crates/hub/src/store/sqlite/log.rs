//! The shard's log: orders signed and addressed, acknowledged, and signed again when they went
//! unanswered.
//!
//! It refuses to take an acknowledgement for more than transport.

use exeunt_domain::{DeviceId, Jti, Order, Subject, Tier, Timestamp, Txn};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::words::{any, id, meaning};
use super::{Done, Note, Stop, Work};
use crate::store::command::Ack;
use crate::store::{Addressee, Entry, Refused, Reply};

/// What an order says, whatever the device.
pub(super) struct Ordering<'a> {
    pub(super) txn: &'a Txn,
    pub(super) subject: &'a Subject,
    pub(super) tier: Tier,
    pub(super) reason: Option<&'a str>,
    pub(super) good_for_ms: u64,
}

/// Signs an order for `device`, puts it into the log, and makes or renews the target.
pub(super) fn order(
    work: &mut Work<'_>,
    what: &Ordering<'_>,
    device: &DeviceId,
    done: &mut Done,
) -> Result<(), Stop> {
    let (epoch, base): (u64, u64) = work
        .db
        .prepare_cached("SELECT epoch, base FROM devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(Refused::UnknownDevice)?;
    let previous: Option<String> = work
        .db
        .prepare_cached(
            "SELECT jti FROM log WHERE scope = 'device' AND addressee = ?1 AND pos > ?2
             ORDER BY pos DESC LIMIT 1",
        )?
        .query_row(params![device.as_str(), base], |row| row.get(0))
        .optional()?;
    let deadline = work.now.plus_ms(what.good_for_ms);
    let order = Order {
        device: device.clone(),
        epoch,
        user: Some(what.subject.clone()),
        tier: what.tier,
        deadline,
        issued: work.now,
        previous: previous.map(id::<Jti>).transpose()?,
        reason: what.reason.map(ToOwned::to_owned),
        quorum: None,
    };
    let (jti, compact) = work.mint.order(&order, what.txn)?;
    work.db
        .prepare_cached(
            "INSERT INTO log (seq, scope, addressee, jti, txn, compact)
             VALUES (?1, 'device', ?2, ?3, ?4, ?5)",
        )?
        .execute(params![work.seq, device.as_str(), jti.as_str(), what.txn.as_str(), compact])?;
    let pos = uint(work.db.last_insert_rowid());
    work.db
        .prepare_cached(
            "INSERT INTO targets (txn, kind, id, outcome, at, detail, epoch, order_jti, deadline)
             VALUES (?1, 'device', ?2, 'requested', ?3, NULL, ?4, ?5, ?6)
             ON CONFLICT (txn, kind, id) DO UPDATE SET order_jti = ?5, deadline = ?6",
        )?
        .execute(params![
            what.txn.as_str(),
            device.as_str(),
            work.now.0,
            epoch,
            jti.as_str(),
            deadline.0
        ])?;
    let to = Addressee::Device(device.clone());
    done.effects.entries.push(Entry { pos, to, jti, compact });
    Ok(())
}

pub(super) fn ack(work: &mut Work<'_>, ask: &Ack) -> Result<Done, Stop> {
    let cursor: Option<u64> = work
        .db
        .prepare_cached("SELECT cursor FROM devices WHERE id = ?1 AND epoch = ?2")?
        .query_row(params![ask.device.as_str(), ask.epoch], |row| row.get(0))
        .optional()?;
    let Some(cursor) = cursor else { return Err(Refused::OldEpoch.into()) };
    let acked = ask.acked.iter().map(|jti| (jti, None));
    let refused = ask.refused.iter().map(|(jti, err)| (jti, Some(err)));
    let mut done = Done::silent(Reply::Done);
    let mut refusals = Vec::new();
    for (jti, err) in acked.chain(refused) {
        let entry: Option<(u64, String)> = work
            .db
            .prepare_cached(
                "SELECT pos, txn FROM log
                 WHERE jti = ?1 AND scope = 'device' AND addressee = ?2 AND pos > ?3",
            )?
            .query_row(params![jti.as_str(), ask.device.as_str(), cursor], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((pos, txn)) = entry else { continue };
        let new = work
            .db
            .prepare_cached("INSERT OR IGNORE INTO acks (device, pos, err) VALUES (?1, ?2, ?3)")?
            .execute(params![ask.device.as_str(), pos, err])?;
        if let (1, Some(err)) = (new, err) {
            refusals.push(json!({ "jti": jti, "txn": txn, "err": err }));
            note_refusal(work, ask, jti, &txn, err)?;
            done.effects.changed.push(id::<Txn>(txn)?);
        }
    }
    advance(work.db, &ask.device, cursor)?;
    if !refusals.is_empty() {
        let note = Note::new(format!("agent:{}", ask.device), "order-refused-in-transport");
        done.note = Some(note.at_device(&ask.device).with(json!({ "orders": refusals })));
    }
    Ok(done)
}

/// An agent's refusal is unsigned: it is shown, and decides nothing.
fn note_refusal(work: &Work<'_>, ask: &Ack, jti: &Jti, txn: &str, err: &str) -> Result<(), Stop> {
    let detail = format!("the device answered {err} to the order; that answer is not signed");
    work.db
        .prepare_cached(
            "UPDATE targets SET detail = ?4
             WHERE txn = ?1 AND kind = 'device' AND id = ?2 AND order_jti = ?3 AND answered = 0",
        )?
        .execute(params![txn, ask.device.as_str(), jti.as_str(), detail])?;
    Ok(())
}

/// Moves a device's cursor over everything that it acknowledged without a gap.
fn advance(db: &Connection, device: &DeviceId, cursor: u64) -> Result<(), Stop> {
    let first_open: Option<u64> = db
        .prepare_cached(
            "SELECT min(pos) FROM log WHERE scope = 'device' AND addressee = ?1 AND pos > ?2
               AND pos NOT IN (SELECT pos FROM acks WHERE device = ?1)",
        )?
        .query_row(params![device.as_str(), cursor], |row| row.get(0))?;
    let next = match first_open {
        Some(open) => open - 1,
        None => db
            .prepare_cached("SELECT coalesce(max(pos), ?2) FROM acks WHERE device = ?1")?
            .query_row(params![device.as_str(), cursor], |row| row.get(0))?,
    };
    if next > cursor {
        db.prepare_cached("UPDATE devices SET cursor = ?2 WHERE id = ?1")?
            .execute(params![device.as_str(), next])?;
        db.prepare_cached("DELETE FROM acks WHERE device = ?1 AND pos <= ?2")?
            .execute(params![device.as_str(), next])?;
    }
    Ok(())
}

pub(super) fn overdue(work: &mut Work<'_>, txn: &Txn, device: &DeviceId) -> Result<Done, Stop> {
    let changed = work
        .db
        .prepare_cached(
            "UPDATE targets SET outcome = 'unreachable', at = ?3,
               detail = 'no receipt before the deadline; last known: ' || outcome
                 || '. The order is signed again until the device answers'
             WHERE txn = ?1 AND kind = 'device' AND id = ?2 AND deadline <= ?3
               AND outcome IN ('requested', 'delivered', 'fenced', 'contained')",
        )?
        .execute(params![txn.as_str(), device.as_str(), work.now.0])?;
    if changed == 0 {
        return Ok(Done::silent(Reply::Repeated));
    }
    let note = Note::new("hub", "order-overdue").under(txn).with(json!({ "device": device }));
    let mut done = Done::noted(Reply::Done, note);
    done.effects.changed.push(txn.clone());
    done.effects.owing = Some((device.clone(), owes(work.db, device)?));
    Ok(done)
}

/// Signs again what a device owes an answer to: every overdue order, and with them every other
/// that it has not acknowledged, so that each still names the one before it.
pub(super) fn resign(
    work: &mut Work<'_>,
    device: &DeviceId,
    good_for_ms: u64,
) -> Result<Done, Stop> {
    let due = due(work, device)?;
    let mut done = Done::silent(Reply::Done);
    done.effects.owing = Some((device.clone(), owes(work.db, device)?));
    if !due.iter().any(|owed| owed.deadline <= work.now) {
        return Ok(done);
    }
    let again: Vec<_> =
        due.iter().filter(|owed| owed.deadline <= work.now || owed.waiting.is_some()).collect();
    for owed in &again {
        if let Some(pos) = owed.waiting {
            work.db.prepare_cached("DELETE FROM log WHERE pos = ?1")?.execute([pos])?;
            done.effects.withdrawn.push(pos);
        }
    }
    for owed in &again {
        let what = Ordering {
            txn: &owed.txn,
            subject: &owed.subject,
            tier: owed.tier,
            reason: owed.reason.as_deref(),
            good_for_ms,
        };
        order(work, &what, device, &mut done)?;
        done.effects.changed.push(owed.txn.clone());
    }
    let txns: Vec<_> = again.iter().map(|owed| &owed.txn).collect();
    let note = Note::new("hub", "order-signed-again");
    done.note = Some(note.with(json!({ "device": device, "txns": txns })));
    Ok(done)
}

/// Whether a device owes an answer to an order that was found overdue.
///
/// # Errors
/// [`Stop`].
pub(super) fn owes(db: &Connection, device: &DeviceId) -> Result<bool, Stop> {
    let sql = "SELECT 1 FROM targets WHERE kind = 'device' AND id = ?1 AND answered = 0
               AND outcome = 'unreachable'";
    Ok(any(db, sql, [device.as_str()])?)
}

struct Owed {
    txn: Txn,
    subject: Subject,
    tier: Tier,
    reason: Option<String>,
    deadline: Timestamp,
    /// Where its order waits in the log, when the device has not acknowledged it.
    waiting: Option<u64>,
}

fn due(work: &Work<'_>, device: &DeviceId) -> Result<Vec<Owed>, Stop> {
    let mut find = work.db.prepare_cached(
        "SELECT txns.txn, txns.subject, txns.tier, txns.reason, targets.deadline,
           CASE WHEN log.pos > devices.cursor
             AND log.pos NOT IN (SELECT pos FROM acks WHERE device = ?1) THEN log.pos END
         FROM targets JOIN txns ON txns.txn = targets.txn
           JOIN devices ON devices.id = targets.id AND devices.epoch = targets.epoch
           LEFT JOIN log ON log.jti = targets.order_jti
         WHERE targets.kind = 'device' AND targets.id = ?1 AND targets.answered = 0
         ORDER BY coalesce(log.pos, 0)",
    )?;
    let mut rows = find.query([device.as_str()])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let subject: String = row.get(1)?;
        due.push(Owed {
            txn: id(row.get(0)?)?,
            subject: Subject::parse(&subject)
                .map_err(|error| crate::store::StoreError::Damaged(error.to_string()))?,
            tier: meaning(row.get(2)?)?,
            reason: row.get(3)?,
            deadline: Timestamp(row.get(4)?),
            waiting: row.get(5)?,
        });
    }
    Ok(due)
}

/// A row id, which SQLite counts from 1.
fn uint(rowid: i64) -> u64 {
    u64::try_from(rowid).unwrap_or_default()
}
