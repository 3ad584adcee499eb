//! What a device's warden says: sessions at its console, and how far it is with an order.
//!
//! It refuses to go back: progress only rises, and nothing follows an answer but another answer.

use exeunt_domain::{Outcome, SessionStatus, Tier, Txn};
use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::session::short;
use super::words::{any, id, meaning, word};
use super::{Done, Note, Stop, Work, alias, check_epoch, first_sight, hold, log};
use crate::store::command::{DeviceSession, Progressed};
use crate::store::{Refused, Reply};

pub(super) fn session(work: &mut Work<'_>, ask: &DeviceSession) -> Result<Done, Stop> {
    check_epoch(work.db, &ask.from)?;
    if !first_sight(work, &ask.from)? {
        return Ok(Done::silent(Reply::Repeated));
    }
    if ask.ended {
        return ended(work, ask);
    }
    let known: Option<(String, String)> = work
        .db
        .prepare_cached("SELECT subject, aud FROM sessions WHERE hash = ?1")?
        .query_row([ask.session.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((subject, _)) if subject == ask.subject.key() => {
            work.db
                .prepare_cached("UPDATE sessions SET last_seen = ?2 WHERE hash = ?1")?
                .execute(params![ask.session.0, work.now.0])?;
            Ok(Done::silent(Reply::Repeated))
        }
        Some(_) => Err(Refused::SessionTaken.into()),
        None => began(work, ask),
    }
}

fn ended(work: &mut Work<'_>, ask: &DeviceSession) -> Result<Done, Stop> {
    let changed = work
        .db
        .prepare_cached(
            "UPDATE sessions SET status = 'ended', last_seen = ?3
             WHERE hash = ?1 AND aud = ?2 AND status = 'active'",
        )?
        .execute(params![ask.session.0, ask.from.device.as_str(), work.now.0])?;
    if changed == 0 {
        return Ok(Done::silent(Reply::Repeated));
    }
    Ok(Done::noted(Reply::Done, said(ask, "session-ended")))
}

/// A session that began. One that began before its subject was signed out is revoked at once, and
/// its device is given the order that it was too late for.
fn began(work: &mut Work<'_>, ask: &DeviceSession) -> Result<Done, Stop> {
    let keys = alias::known_as(work.db, work.rules, &ask.subject.key())?;
    let late = match (hold::on(work.db, &keys)?, alias::signed_out(work.db, &keys)?) {
        (Some(txn), _) => Late::Held(txn),
        (None, Some((at, txn))) if ask.since < at => late(work, ask, txn)?,
        (None, Some(_) | None) => Late::No,
    };
    let (status, revoked_by) = match &late {
        Late::No => (SessionStatus::Active, None),
        Late::Held(txn) => (SessionStatus::Revoked, txn.as_ref().map(Txn::as_str)),
        Late::Ordered(txn) | Late::ToOrder(txn) => (SessionStatus::Revoked, Some(txn.as_str())),
    };
    insert(work, ask, status, revoked_by)?;
    let note = said(ask, "session-registered");
    let mut done = Done::noted(Reply::Registered(work.seq), note);
    let (Late::ToOrder(txn) | Late::Held(Some(txn))) = &late else { return Ok(done) };
    let again = matches!(late, Late::Held(_));
    let what = log::Ordering {
        txn,
        subject: Some(&ask.subject),
        tier: Tier::SignOut,
        reason: None,
        good_for_ms: ask.good_for_ms,
        quorum: None,
        again,
    };
    if again {
        log::order_again(work, &what, &ask.from.device, &mut done)?;
    } else {
        log::order(work, &what, &ask.from.device, &mut done)?;
    }
    done.effects.changed.push(txn.clone());
    Ok(done)
}

enum Late {
    /// It began after the last sign-out, or the device has answered that one already.
    No,
    /// The device has the order already.
    Ordered(Txn),
    /// The device was not known to hold this subject's session.
    ToOrder(Txn),
    /// The subject is on hold, perhaps since a sign-out: the device closes it again.
    Held(Option<Txn>),
}

fn late(work: &Work<'_>, ask: &DeviceSession, txn: String) -> Result<Late, Stop> {
    let answered: Option<bool> = work
        .db
        .prepare_cached(
            "SELECT answered FROM targets WHERE txn = ?1 AND kind = 'device' AND id = ?2",
        )?
        .query_row([&txn, ask.from.device.as_str()], |row| row.get(0))
        .optional()?;
    let txn: Txn = id(txn)?;
    // The mark of a restore ends what is at relying services, and orders nothing.
    if !any(work.db, "SELECT 1 FROM txns WHERE txn = ?1", [txn.as_str()])? {
        return Ok(Late::No);
    }
    Ok(match answered {
        None => Late::ToOrder(txn),
        Some(false) => Late::Ordered(txn),
        Some(true) => Late::No,
    })
}

fn insert(
    work: &Work<'_>,
    ask: &DeviceSession,
    status: SessionStatus,
    revoked_by: Option<&str>,
) -> Result<(), Stop> {
    let device = ask.from.device.as_str();
    work.db
        .prepare_cached(
            "INSERT INTO sessions (hash, seq, subject, aud, kind, device, label, place, auth_time,
               since, last_seen, status, proof, revoked_by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?6, ?4, ?7, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            ask.session.0,
            work.seq,
            ask.subject.key(),
            device,
            word(&ask.kind),
            format!("Signed in at {device}"),
            ask.since.0,
            work.now.0,
            word(&status),
            word(&ask.proof),
            revoked_by
        ])?;
    Ok(())
}

fn said(ask: &DeviceSession, action: &'static str) -> Note {
    Note::new(format!("device:{}", ask.from.device), action)
        .at_device(&ask.from.device)
        .of(&ask.subject)
        .touching(vec![short(&ask.session)])
        .with(json!({ "kind": ask.kind, "proof": ask.proof }))
}

pub(super) fn progress(work: &mut Work<'_>, ask: &Progressed) -> Result<Done, Stop> {
    check_epoch(work.db, &ask.from)?;
    if !first_sight(work, &ask.from)? {
        return Ok(Done::silent(Reply::Repeated));
    }
    let device = ask.from.device.as_str();
    let Some(rank) = rank(ask.outcome) else {
        return Err(Refused::Contradiction("progress ends at contained: send a receipt").into());
    };
    let target: Option<(String, bool)> = work
        .db
        .prepare_cached(
            "SELECT outcome, answered FROM targets WHERE txn = ?1 AND kind = 'device' AND id = ?2",
        )?
        .query_row([ask.txn.as_str(), device], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // A device closes itself on a local request, too: then there is no target, and nothing to show.
    let Some((outcome, answered)) = target else { return Ok(Done::silent(Reply::Done)) };
    let held: Outcome = meaning(outcome)?;
    if answered || self::rank(held).is_some_and(|held| held >= rank) {
        return Ok(Done::silent(Reply::Done));
    }
    work.db
        .prepare_cached(
            "UPDATE targets SET outcome = ?3, at = ?4, detail = NULL
             WHERE txn = ?1 AND kind = 'device' AND id = ?2",
        )?
        .execute(params![ask.txn.as_str(), device, word(&ask.outcome), work.now.0])?;
    let note = Note::new(format!("device:{device}"), "progress")
        .at_device(&ask.from.device)
        .under(&ask.txn)
        .with(json!({ "outcome": ask.outcome }));
    let mut done = Done::noted(Reply::Done, note);
    done.effects.changed.push(ask.txn.clone());
    done.effects.owing = Some((ask.from.device.clone(), log::owes(work.db, &ask.from.device)?));
    Ok(done)
}

/// How far along the way to a receipt an outcome is; None for an end.
fn rank(outcome: Outcome) -> Option<u8> {
    match outcome {
        Outcome::Requested => Some(0),
        Outcome::Delivered => Some(1),
        Outcome::Fenced => Some(2),
        Outcome::Contained => Some(3),
        Outcome::Verified | Outcome::Partial | Outcome::Unreachable | Outcome::Refused => None,
    }
}
