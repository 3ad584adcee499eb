//! The shard's log: orders signed and addressed, acknowledged, and signed again when they went
//! unanswered.
//!
//! It refuses to take an acknowledgement for more than transport.

use exeunt_domain::{DeviceId, Jti, Order, Quorum, Subject, Tier, Timestamp, Txn};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::words::{any, id, meaning, object};
use super::{Done, Note, Stop, Work};
use crate::store::command::{Ack, Settled};
use crate::store::{Addressee, Entry, Refused, Reply, StoreError};

/// What an order says, whatever the device.
pub(super) struct Ordering<'a> {
    pub(super) txn: &'a Txn,
    /// Whose sessions. None: whoever is there.
    pub(super) subject: Option<&'a Subject>,
    pub(super) tier: Tier,
    pub(super) reason: Option<&'a str>,
    pub(super) good_for_ms: u64,
    /// What approvers signed for it. Then its deadline is theirs.
    pub(super) quorum: Option<&'a Quorum>,
    /// The device has answered this transaction, and is to begin anew.
    pub(super) again: bool,
}

/// Signs an order for `device`, puts it into the log, and makes or renews the target.
pub(super) fn order(
    work: &mut Work<'_>,
    what: &Ordering<'_>,
    device: &DeviceId,
    done: &mut Done,
) -> Result<(), Stop> {
    let epoch: u64 = work
        .db
        .prepare_cached("SELECT epoch FROM devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?
        .ok_or(Refused::UnknownDevice)?;
    let previous = last(work.db, device)?;
    let own = || work.now.plus_ms(what.good_for_ms);
    let deadline = what.quorum.map_or_else(own, |quorum| quorum.proposal.deadline);
    let order = Order {
        device: device.clone(),
        epoch,
        user: what.subject.cloned(),
        tier: what.tier,
        deadline,
        issued: work.now,
        previous,
        reason: what.reason.map(ToOwned::to_owned),
        quorum: what.quorum.cloned(),
        again: what.again,
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
            "INSERT INTO targets (txn, kind, id, outcome, at, detail, epoch, order_jti, order_pos,
               deadline, by_quorum)
             VALUES (?1, 'device', ?2, 'requested', ?3, NULL, ?4, ?5, ?8, ?6, ?7)
             ON CONFLICT (txn, kind, id)
             DO UPDATE SET order_jti = ?5, order_pos = ?8, deadline = ?6",
        )?
        .execute(params![
            what.txn.as_str(),
            device.as_str(),
            work.now.0,
            epoch,
            jti.as_str(),
            deadline.0,
            what.quorum.is_some(),
            pos
        ])?;
    let to = Addressee::Device(device.clone());
    done.effects.entries.push(Entry { pos, to, jti, compact });
    Ok(())
}

/// The last SET that was addressed to this enrolment of a device, by whichever name.
///
/// # Errors
/// [`StoreError`].
pub(super) fn last(db: &Connection, device: &DeviceId) -> Result<Option<Jti>, StoreError> {
    let jti: Option<String> = db
        .prepare_cached(
            "SELECT log.jti FROM devices JOIN log ON log.pos = max(
               coalesce((SELECT max(pos) FROM log
                 WHERE scope = 'device' AND addressee = devices.id), 0),
               coalesce((SELECT max(pos) FROM log
                 WHERE scope = 'group' AND addressee = devices.grp), 0),
               coalesce((SELECT max(pos) FROM log
                 WHERE scope = 'tenant' AND addressee = devices.tenant), 0),
               coalesce((SELECT max(pos) FROM log WHERE scope = 'all' AND addressee = ''), 0))
             WHERE devices.id = ?1 AND log.pos > devices.base",
        )?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?;
    jti.map(id::<Jti>).transpose()
}

/// Orders a device that has answered this transaction to begin anew: its target is open again.
pub(super) fn order_again(
    work: &mut Work<'_>,
    what: &Ordering<'_>,
    device: &DeviceId,
    done: &mut Done,
) -> Result<(), Stop> {
    order(work, what, device, done)?;
    work.db
        .prepare_cached(
            "UPDATE targets SET answered = 0, at = ?3,
               epoch = (SELECT epoch FROM devices WHERE id = ?2),
               detail = CASE outcome WHEN 'requested' THEN detail
                 ELSE 'asked again; before: ' || outcome || coalesce(', ' || detail, '') END,
               outcome = 'requested'
             WHERE txn = ?1 AND kind = 'device' AND id = ?2",
        )?
        .execute(params![what.txn.as_str(), device.as_str(), work.now.0])?;
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
                "SELECT pos, txn FROM addressed WHERE jti = ?1 AND device = ?2 AND pos > ?3",
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

/// Moves devices' cursors to where the hub's memory has seen them settled.
pub(super) fn settled(work: &mut Work<'_>, all: &[Settled]) -> Result<Done, Stop> {
    for Settled { device, epoch, pos } in all {
        let moved = work
            .db
            .prepare_cached(
                "UPDATE devices SET cursor = ?3 WHERE id = ?1 AND epoch = ?2 AND cursor < ?3",
            )?
            .execute(params![device.as_str(), epoch, pos])?;
        if moved == 1 {
            work.db
                .prepare_cached("DELETE FROM acks WHERE device = ?1 AND pos <= ?2")?
                .execute(params![device.as_str(), pos])?;
        }
    }
    Ok(Done::silent(Reply::Done))
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
            "SELECT pos FROM addressed WHERE device = ?1 AND pos > ?2
               AND pos NOT IN (SELECT pos FROM acks WHERE device = ?1) ORDER BY pos LIMIT 1",
        )?
        .query_row(params![device.as_str(), cursor], |row| row.get(0))
        .optional()?;
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
    // What stands on approvals ends with them: nobody may sign it again.
    let changed = work
        .db
        .prepare_cached(
            "UPDATE targets SET outcome = 'unreachable', at = ?3, answered = by_quorum,
               detail = 'no answer before the deadline; last known: ' || outcome
                 || CASE by_quorum WHEN 1 THEN '. The approvals have lapsed: propose it again'
                    ELSE '. The order is signed again until the device answers' END
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
            // Nobody's from here on, and gone below: a position that was the last is not given twice.
            let sql = "UPDATE log SET scope = 'withdrawn' WHERE pos = ?1";
            work.db.prepare_cached(sql)?.execute([pos])?;
            done.effects.withdrawn.push(pos);
        }
    }
    for owed in &again {
        let what = Ordering {
            txn: &owed.txn,
            subject: owed.subject.as_ref(),
            tier: owed.tier,
            reason: owed.reason.as_deref(),
            good_for_ms,
            quorum: owed.quorum.as_ref(),
            again: false,
        };
        order(work, &what, device, &mut done)?;
        done.effects.changed.push(owed.txn.clone());
    }
    for pos in &done.effects.withdrawn {
        work.db.prepare_cached("DELETE FROM log WHERE pos = ?1")?.execute([pos])?;
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
    /// None: whoever is there.
    subject: Option<Subject>,
    tier: Tier,
    reason: Option<String>,
    /// What approvers signed for it.
    quorum: Option<Quorum>,
    deadline: Timestamp,
    /// Where its order waits in the log, when the device has not acknowledged it.
    waiting: Option<u64>,
}

fn due(work: &Work<'_>, device: &DeviceId) -> Result<Vec<Owed>, Stop> {
    let mut find = work.db.prepare_cached(
        "SELECT txns.txn, txns.subject, txns.tier, txns.reason, targets.deadline,
           CASE WHEN log.pos > devices.cursor
             AND log.pos NOT IN (SELECT pos FROM acks WHERE device = ?1) THEN log.pos END,
           CASE targets.by_quorum WHEN 1 THEN txns.quorum END,
           txns.quorum IS NOT NULL
         FROM targets JOIN txns ON txns.txn = targets.txn
           JOIN devices ON devices.id = targets.id AND devices.epoch = targets.epoch
           LEFT JOIN log ON log.pos = targets.order_pos AND log.jti = targets.order_jti
         WHERE targets.kind = 'device' AND targets.id = ?1 AND targets.answered = 0
           AND (targets.by_quorum = 0
             OR (log.scope = 'device' AND targets.deadline > ?2 AND txns.tier <> ''))
         ORDER BY coalesce(log.pos, 0)",
    )?;
    let mut rows = find.query(params![device.as_str(), work.now.0])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let subject: String = row.get(1)?;
        let subject = (!subject.is_empty()).then(|| Subject::parse(&subject)).transpose();
        let quorum: Option<String> = row.get(6)?;
        let (tier, approved): (Tier, bool) = (meaning(row.get(2)?)?, row.get(7)?);
        // Beyond what was approved the hub alone vouches for it: then it is a sign-out.
        let alone = approved && quorum.is_none();
        due.push(Owed {
            txn: id(row.get(0)?)?,
            subject: subject.map_err(|error| StoreError::Damaged(error.to_string()))?,
            tier: if alone { tier.min(Tier::SignOut) } else { tier },
            quorum: quorum.as_deref().map(object).transpose()?,
            reason: row.get(3)?,
            deadline: Timestamp(row.get(4)?),
            waiting: row.get(5)?,
        });
    }
    Ok(due)
}

/// A row id, which SQLite counts from 1.
pub(super) fn uint(rowid: i64) -> u64 {
    u64::try_from(rowid).unwrap_or_default()
}
