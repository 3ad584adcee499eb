//! Sign-out: one transaction that revokes, advances the watermark and signs the orders.
//!
//! It refuses a subject of whom nothing is known, rather than to report an empty success.

use std::collections::BTreeSet;

use exeunt_api::SessionInfo;
use exeunt_check::{Delta, SubjectHash, Watermark};
use exeunt_domain::session::{SessionHash, hex};
use exeunt_domain::{DeviceId, Outcome, Subject, Tier, Txn};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::session::{INFO, deny, info, short};
use super::words::{any, id, meaning, word};
use super::{Done, Note, Stop, Work, check_epoch, connector, first_sight, keyed, log, reached};
use crate::store::command::{AtDevice, SignOut, SignedOut};
use crate::store::{Refused, Reply, StoreError};

const HOUR_MS: u64 = 3_600_000;

pub(super) fn sign_out(work: &mut Work<'_>, ask: &SignOut) -> Result<Done, Stop> {
    if let Some(at) = &ask.at_device {
        check_epoch(work.db, &at.from)?;
        if !first_sight(work, &at.from)? {
            return Ok(Done::silent(Reply::Repeated));
        }
    }
    if let Some(earlier) = repeated(work.db, ask)? {
        return Ok(Done::silent(Reply::SignedOut(Box::new(earlier))));
    }
    if let Some(at) = &ask.at_device {
        admit(work, ask, at)?;
    }
    let plan = plan(work.db, ask)?;
    if ask.digest.as_ref().is_some_and(|shown| *shown != plan.digest) {
        return Err(Refused::PreviewChanged.into());
    }
    reached::admit(work, &ask.actor, &plan.devices, &ask.limit)?;
    let sessions: Vec<String> = plan.sessions.iter().map(|(hash, _)| short(hash)).collect();
    let note = Note::new(&ask.actor, "sign-out")
        .of(&ask.subject)
        .under(&ask.txn)
        .because(ask.reason.clone())
        .touching(sessions)
        .with(json!({ "tier": ask.tier, "devices": plan.devices, "only": ask.only }));
    let note = match &ask.at_device {
        Some(at) => note.at_device(&at.from.device),
        None => note,
    };
    let mut done = Done::noted(Reply::Done, note);
    record(work, ask, &plan)?;
    if ask.tier != Tier::Lock {
        let whole = ask.only.is_none().then_some(&ask.subject);
        revoke(work, &ask.txn, whole, &plan.sessions, &mut done)?;
        if ask.only.is_none() {
            connector::target(work, ask)?;
        }
        if ask.only.is_none() {
            super::stream::tell(work, ask, &mut done)?;
        }
    }
    for device in &plan.devices {
        let order = log::Ordering {
            txn: &ask.txn,
            subject: Some(&ask.subject),
            tier: ask.tier,
            reason: ask.reason.as_deref(),
            good_for_ms: ask.good_for_ms,
            quorum: None,
        };
        log::order(work, &order, device, &mut done)?;
    }
    done.effects.changed.push(ask.txn.clone());
    let outcome = state(work.db, &ask.txn)?;
    let sessions = plan.sessions.into_iter().map(|(_, info)| info).collect();
    done.reply = Reply::SignedOut(Box::new(SignedOut {
        txn: Some(ask.txn.clone()),
        seq: work.seq,
        sessions,
        devices: plan.devices,
        outcome,
        digest: plan.digest,
    }));
    Ok(done)
}

/// What a sign-out would end.
///
/// # Errors
/// [`Stop`].
pub(super) fn preview(db: &Connection, ask: &SignOut, seq: u64) -> Result<SignedOut, Stop> {
    let plan = plan(db, ask)?;
    Ok(SignedOut {
        txn: None,
        seq,
        sessions: plan.sessions.into_iter().map(|(_, info)| info).collect(),
        devices: plan.devices,
        outcome: Outcome::Requested,
        digest: plan.digest,
    })
}

pub(super) fn cancel(work: &mut Work<'_>, actor: &str, txn: &Txn) -> Result<Done, Stop> {
    let open: Option<bool> = work
        .db
        .prepare_cached("SELECT cancelled IS NULL FROM txns WHERE txn = ?1")?
        .query_row([txn.as_str()], |row| row.get(0))
        .optional()?;
    match open {
        None => return Err(Refused::UnknownTxn.into()),
        Some(false) => return Ok(Done::silent(Reply::Repeated)),
        Some(true) => {}
    }
    work.db
        .prepare_cached("UPDATE txns SET cancelled = ?2 WHERE txn = ?1")?
        .execute(params![txn.as_str(), work.now.0])?;
    work.db
        .prepare_cached(
            "UPDATE targets SET answered = 1,
               detail = 'cancelled; it was ' || outcome,
               outcome = CASE WHEN outcome IN ('requested', 'delivered', 'fenced', 'contained')
                 THEN 'unreachable' ELSE outcome END,
               at = ?2
             WHERE txn = ?1 AND kind IN ('device', 'identity-provider') AND answered = 0",
        )?
        .execute(params![txn.as_str(), work.now.0])?;
    let mut done = Done::noted(Reply::Done, Note::new(actor, "cancelled").under(txn));
    done.effects.changed.push(txn.clone());
    Ok(done)
}

/// The worst part of a transaction so far.
///
/// # Errors
/// [`Stop`].
pub(super) fn state(db: &Connection, txn: &Txn) -> Result<Outcome, Stop> {
    let mut find = db.prepare_cached("SELECT outcome FROM targets WHERE txn = ?1")?;
    let found = find.query_map([txn.as_str()], |row| row.get(0))?;
    let words = found.collect::<Result<Vec<String>, _>>()?;
    let parts = words.into_iter().map(meaning).collect::<Result<Vec<Outcome>, StoreError>>()?;
    Ok(Outcome::worst(parts))
}

struct Plan {
    sessions: Vec<(SessionHash, SessionInfo)>,
    devices: Vec<DeviceId>,
    digest: String,
}

fn plan(db: &Connection, ask: &SignOut) -> Result<Plan, Stop> {
    let subject = ask.subject.key();
    if let Some(device) = &ask.only
        && !any(db, "SELECT 1 FROM devices WHERE id = ?1", [device.as_str()])?
    {
        return Err(Refused::UnknownDevice.into());
    }
    if !any(db, "SELECT 1 FROM sessions WHERE subject = ?1", [&subject])? {
        return Err(Refused::UnknownSubject.into());
    }
    let only = ask.only.as_ref().map(DeviceId::as_str);
    let sql = format!(
        "SELECT {INFO} FROM sessions WHERE subject = ?1 AND status = 'active'
           AND (?2 IS NULL OR aud = ?2 OR device = ?2)"
    );
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query(params![subject, only])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(info(row)?);
    }
    // Here and not in the statement, which would build a table for it.
    sessions.sort_unstable_by_key(|(_, info)| std::cmp::Reverse(info.seq));
    let mut devices = devices_of(db, &sessions, only)?;
    if let Some(device) = &ask.only
        && !devices.contains(device)
    {
        devices.push(device.clone());
    }
    if ask.tier == Tier::Lock {
        sessions.clear();
    }
    let digest = digest(ask, &sessions, &devices);
    Ok(Plan { sessions, devices, digest })
}

/// Devices whose own warden says that the subject is signed in there, in order.
pub(super) fn devices_of(
    db: &Connection,
    sessions: &[(SessionHash, SessionInfo)],
    only: Option<&str>,
) -> Result<Vec<DeviceId>, Stop> {
    let proved = sessions.iter().filter(|(_, info)| info.proof.is_some());
    let names: BTreeSet<_> = proved.map(|(_, info)| info.aud.as_str()).collect();
    let mut devices = Vec::with_capacity(names.len());
    for name in names {
        let asked = only.is_none_or(|only| only == name);
        if asked && any(db, "SELECT 1 FROM devices WHERE id = ?1", [name])? {
            devices.push(id(name.to_owned())?);
        }
    }
    Ok(devices)
}

fn digest(ask: &SignOut, sessions: &[(SessionHash, SessionInfo)], devices: &[DeviceId]) -> String {
    let mut hashes: Vec<_> = sessions.iter().map(|(hash, _)| hash.to_hex()).collect();
    hashes.sort_unstable();
    let mut names: Vec<_> = devices.iter().map(DeviceId::as_str).collect();
    names.sort_unstable();
    let shown = json!([ask.tier, ask.subject.key(), ask.only, hashes, names]);
    hex(&Sha256::digest(shown.to_string()))
}

/// The sign-out that this one repeats, if it repeats one.
fn repeated(db: &Connection, ask: &SignOut) -> Result<Option<SignedOut>, Stop> {
    let columns = "SELECT txn, seq, subject, tier, only_device, actor, digest FROM txns";
    let read = |row: &rusqlite::Row<'_>| {
        let key: (String, String, Option<String>, String) =
            (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
        Ok((row.get::<_, String>(0)?, row.get(1)?, key, row.get(6)?))
    };
    let found = match &ask.idempotency_key {
        Some(key) => db
            .prepare_cached(&format!("{columns} WHERE actor = ?1 AND idempotency_key = ?2"))?
            .query_row([&ask.actor, key], read)
            .optional()?,
        None => db
            .prepare_cached(&format!("{columns} WHERE txn = ?1"))?
            .query_row([ask.txn.as_str()], read)
            .optional()?,
    };
    let Some((txn, seq, key, digest)) = found else { return Ok(None) };
    let only = ask.only.as_ref().map(ToString::to_string);
    if key != (ask.subject.key(), word(&ask.tier), only, ask.actor.clone()) {
        let taken = txn == ask.txn.as_str();
        return Err(if taken { Refused::TxnTaken } else { Refused::KeyReused }.into());
    }
    let sql = format!("SELECT {INFO} FROM sessions WHERE revoked_by = ?1 ORDER BY seq DESC");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([&txn])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(info(row)?.1);
    }
    let mut find =
        db.prepare_cached("SELECT id FROM targets WHERE txn = ?1 AND kind = 'device'")?;
    let ids = find.query_map([&txn], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let devices = ids.into_iter().map(id).collect::<Result<Vec<_>, _>>()?;
    let txn: Txn = id(txn)?;
    let outcome = state(db, &txn)?;
    Ok(Some(SignedOut { txn: Some(txn), seq, sessions, devices, outcome, digest }))
}

/// Whether a person at a device may ask for this.
fn admit(work: &Work<'_>, ask: &SignOut, at: &AtDevice) -> Result<(), Stop> {
    let session: Option<(String, String, String, Option<String>)> = work
        .db
        .prepare_cached("SELECT subject, aud, status, proof FROM sessions WHERE hash = ?1")?
        .query_row([at.session.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let live = session.filter(|(subject, aud, status, _)| {
        *subject == ask.subject.key() && aud == at.from.device.as_str() && status == "active"
    });
    let Some((_, _, _, Some(proof))) = live else {
        return Err(Refused::NoLiveSession.into());
    };
    let proof: exeunt_domain::Proof = meaning(proof)?;
    if !proof.reaches_everywhere() {
        return Err(Refused::OnlyAsserted.into());
    }
    let recent: u64 = work
        .db
        .prepare_cached("SELECT count(*) FROM txns WHERE source_device = ?1 AND at > ?2")?
        .query_row(params![at.from.device.as_str(), work.now.0.saturating_sub(HOUR_MS)], |row| {
            row.get(0)
        })?;
    if recent >= at.per_hour {
        return Err(Refused::RateLimited.into());
    }
    Ok(())
}

fn record(work: &mut Work<'_>, ask: &SignOut, plan: &Plan) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO txns (txn, seq, at, actor, source_device, subject, tier, reason,
               only_device, idempotency_key, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            ask.txn.as_str(),
            work.seq,
            work.now.0,
            ask.actor,
            ask.at_device.as_ref().map(|at| at.from.device.as_str()),
            ask.subject.key(),
            word(&ask.tier),
            ask.reason,
            ask.only.as_ref().map(DeviceId::as_str),
            ask.idempotency_key,
            plan.digest
        ])?;
    Ok(())
}

/// Ends sessions: by the watermark of `whole`, everywhere, or one by one.
///
/// # Errors
/// [`Stop`].
pub(super) fn revoke(
    work: &mut Work<'_>,
    txn: &Txn,
    whole: Option<&Subject>,
    sessions: &[(SessionHash, SessionInfo)],
    done: &mut Done,
) -> Result<(), Stop> {
    if let Some(subject) = whole.map(Subject::key) {
        work.db
            .prepare_cached(
                "INSERT INTO watermarks (subject, seq, at, txn) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (subject) DO UPDATE SET seq = ?2, at = max(at, ?3), txn = ?4",
            )?
            .execute(params![subject, work.seq, work.now.0, txn.as_str()])?;
        let mark = Watermark { seq: work.seq, at: work.now };
        let delta = Delta::Watermark { subject: SubjectHash::of_key(&subject), mark };
        done.effects.deltas.push(keyed(delta, Some(subject)));
    }
    let mut update = work.db.prepare_cached(
        "UPDATE sessions SET status = 'revoked', revoked_by = ?2 WHERE hash = ?1",
    )?;
    let mut target = work.db.prepare_cached(
        "INSERT INTO targets (txn, kind, id, outcome, at, detail, aud, answered)
         VALUES (?1, 'session', ?2, 'contained', ?3, ?4, ?5, 1)",
    )?;
    for (hash, info) in sessions {
        update.execute(params![hash.0, txn.as_str()])?;
        if info.proof.is_some() {
            continue;
        }
        let detail = format!(
            "{}: refused at the hub; {}'s own check has not confirmed it yet",
            info.label, info.place
        );
        target.execute(params![txn.as_str(), short(hash), work.now.0, detail, info.aud])?;
        done.effects.unconfirmed.push((info.aud.clone(), work.seq));
    }
    drop((update, target));
    if whole.is_none() {
        for (hash, _) in sessions {
            deny(work, hash, done)?;
        }
    }
    Ok(())
}
