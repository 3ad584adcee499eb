//! Sign-out: one transaction that revokes, advances the watermark and signs the orders.
//!
//! It refuses a subject of whom nothing is known, rather than to report an empty success.

use std::collections::{BTreeMap, BTreeSet};

use exeunt_api::{CannotEnd, SessionInfo};
use exeunt_check::{Delta, SubjectHash, Watermark};
use exeunt_domain::session::{SessionHash, hex};
use exeunt_domain::{DeviceId, Outcome, Subject, Tier, Txn};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::session::{INFO, deny, info, short};
use super::words::{any, id, meaning, word};
use super::{
    Done, Note, Stop, Work, alias, check_epoch, connector, first_sight, followup, hold, keyed, log,
    reached,
};
use crate::aliases::Rules;
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
    if let Some(earlier) = repeated(work.db, work.rules, ask)? {
        return Ok(Done::silent(Reply::SignedOut(Box::new(earlier))));
    }
    if let Some(at) = &ask.at_device {
        admit(work, ask, at)?;
    }
    let plan = plan(work.db, work.rules, ask)?;
    if ask.digest.as_ref().is_some_and(|shown| *shown != plan.digest) {
        return Err(Refused::PreviewChanged.into());
    }
    let devices: Vec<_> = plan.devices.iter().map(|(device, _)| device.clone()).collect();
    reached::admit(work, &ask.actor, &devices, &ask.limit)?;
    let sessions: Vec<String> = plan.sessions.iter().map(|(hash, _)| short(hash)).collect();
    let note = Note::new(&ask.actor, "sign-out")
        .of(&ask.subject)
        .under(&ask.txn)
        .because(ask.reason.clone())
        .touching(sessions)
        .with(said(ask, &plan, &devices));
    let note = match &ask.at_device {
        Some(at) => note.at_device(&at.from.device),
        None => note,
    };
    let mut done = Done::noted(Reply::Done, note);
    record(work, ask, &plan)?;
    if let Some(playbook) = ask.playbook {
        followup::open(work, ask, playbook)?;
        if playbook.hold {
            let reason = ask.reason.as_deref().unwrap_or(playbook.when);
            hold::put(work, &ask.subject, &ask.actor, reason, Some(&ask.txn))?;
        }
    }
    if ask.tier != Tier::Lock {
        let marked = if ask.only.is_none() { plan.keys.as_slice() } else { &[] };
        revoke(work, &ask.txn, marked, &plan.sessions, &mut done)?;
        if ask.only.is_none() {
            connector::target(work, ask)?;
        }
        if ask.only.is_none() {
            super::stream::tell(work, ask, &plan.names_at(), &mut done)?;
        }
    }
    for (device, subject) in &plan.devices {
        let order = log::Ordering {
            txn: &ask.txn,
            subject: Some(subject),
            tier: ask.tier,
            reason: ask.reason.as_deref(),
            good_for_ms: ask.good_for_ms,
            quorum: None,
            again: false,
        };
        log::order(work, &order, device, &mut done)?;
    }
    done.effects.changed.push(ask.txn.clone());
    let outcome = state(work.db, &ask.txn)?;
    done.reply = Reply::SignedOut(Box::new(SignedOut {
        txn: Some(ask.txn.clone()),
        outcome,
        ..plan.shown(work.seq)
    }));
    Ok(done)
}

/// What the audit says of it.
fn said(ask: &SignOut, plan: &Plan, devices: &[DeviceId]) -> serde_json::Value {
    let mut said = json!({ "tier": ask.tier, "devices": devices, "only": ask.only });
    if let Some(playbook) = ask.playbook {
        said["playbook"] = json!(playbook.name);
        said["hold"] = json!(playbook.hold);
    }
    if plan.keys.len() > 1 {
        said["aliases"] = json!(plan.keys);
    }
    if !plan.cannot.is_empty() {
        said["cannot"] = json!(plan.cannot);
    }
    said
}

/// What a sign-out would end.
///
/// # Errors
/// [`Stop`].
pub(super) fn preview(
    db: &Connection,
    rules: &Rules,
    ask: &SignOut,
    seq: u64,
) -> Result<SignedOut, Stop> {
    Ok(plan(db, rules, ask)?.shown(seq))
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
    /// Every name of the subject, the one that was asked for first.
    keys: Vec<String>,
    sessions: Vec<(SessionHash, SessionInfo)>,
    /// Each device, and under which name it knows the subject.
    devices: Vec<(DeviceId, Subject)>,
    cannot: Vec<CannotEnd>,
    digest: String,
}

impl Plan {
    fn shown(self, seq: u64) -> SignedOut {
        SignedOut {
            txn: None,
            seq,
            aliases: self.keys,
            sessions: self.sessions.into_iter().map(|(_, info)| info).collect(),
            devices: self.devices.into_iter().map(|(device, _)| device).collect(),
            outcome: Outcome::Requested,
            digest: self.digest,
            cannot: self.cannot,
        }
    }

    /// Under which names each audience knows the subject.
    fn names_at(&self) -> BTreeSet<(String, Subject)> {
        let name =
            |(_, info): &(SessionHash, SessionInfo)| (info.aud.clone(), info.subject.clone());
        self.sessions.iter().map(name).collect()
    }
}

fn plan(db: &Connection, rules: &Rules, ask: &SignOut) -> Result<Plan, Stop> {
    let keys = alias::known_as(db, rules, &ask.subject.key())?;
    if let Some(device) = &ask.only
        && !any(db, "SELECT 1 FROM devices WHERE id = ?1", [device.as_str()])?
    {
        return Err(Refused::UnknownDevice.into());
    }
    let only = ask.only.as_ref().map(DeviceId::as_str);
    let sql = format!(
        "SELECT {INFO} FROM sessions WHERE subject = ?1 AND status = 'active'
           AND (?2 IS NULL OR aud = ?2 OR device = ?2)"
    );
    let mut find = db.prepare_cached(&sql)?;
    let mut sessions = Vec::new();
    for key in &keys {
        let mut rows = find.query(params![key, only])?;
        while let Some(row) = rows.next()? {
            sessions.push(info(row)?);
        }
    }
    let mut known = !sessions.is_empty();
    for key in &keys {
        known = known || any(db, "SELECT 1 FROM sessions WHERE subject = ?1", [key])?;
    }
    if !known {
        return Err(Refused::UnknownSubject.into());
    }
    // Here and not in the statement, which would build a table for it.
    sessions.sort_unstable_by_key(|(_, info)| std::cmp::Reverse(info.seq));
    let mut cannot = ask.cannot.clone();
    let mut devices = devices_of(db, &sessions, only, &mut cannot)?;
    if let Some(device) = &ask.only
        && !devices.iter().any(|(known, _)| known == device)
    {
        devices.push((device.clone(), ask.subject.clone()));
    }
    if ask.tier == Tier::Lock {
        sessions.clear();
    }
    let digest = digest(ask, &keys, &sessions, &devices, &cannot);
    Ok(Plan { keys, sessions, devices, cannot, digest })
}

/// The same devices, whatever they call the subject.
///
/// # Errors
/// [`Stop`].
pub(super) fn devices_at(
    db: &Connection,
    sessions: &[(SessionHash, SessionInfo)],
    only: Option<&str>,
) -> Result<Vec<DeviceId>, Stop> {
    let found = devices_of(db, sessions, only, &mut Vec::new())?;
    Ok(found.into_iter().map(|(device, _)| device).collect())
}

/// Devices whose own warden says that the subject is signed in there, in order, each with the name
/// of the session that began last there. An order names one subject: a session under another name
/// at the same device is named in `cannot`.
fn devices_of(
    db: &Connection,
    sessions: &[(SessionHash, SessionInfo)],
    only: Option<&str>,
    cannot: &mut Vec<CannotEnd>,
) -> Result<Vec<(DeviceId, Subject)>, Stop> {
    let mut found: BTreeMap<&str, &Subject> = BTreeMap::new();
    let proved = sessions.iter().map(|(_, info)| info).filter(|info| info.proof.is_some());
    let mut left = BTreeSet::new();
    for info in proved.filter(|info| only.is_none_or(|only| only == info.aud)) {
        let first = found.entry(&info.aud).or_insert(&info.subject);
        if **first != info.subject {
            left.insert((info.aud.as_str(), info.subject.key()));
        }
    }
    for (device, name) in left {
        cannot.push(CannotEnd {
            place: device.to_owned(),
            what: format!("the console session that was begun there as {name}"),
            until: "refused at the hub at once; the device closes it when that name is signed out \
                    at this device"
                .to_owned(),
        });
    }
    let mut devices = Vec::with_capacity(found.len());
    for (name, subject) in found {
        if any(db, "SELECT 1 FROM devices WHERE id = ?1", [name])? {
            devices.push((id(name.to_owned())?, subject.clone()));
        }
    }
    Ok(devices)
}

fn digest(
    ask: &SignOut,
    keys: &[String],
    sessions: &[(SessionHash, SessionInfo)],
    devices: &[(DeviceId, Subject)],
    cannot: &[CannotEnd],
) -> String {
    let mut hashes: Vec<_> = sessions.iter().map(|(hash, _)| hash.to_hex()).collect();
    hashes.sort_unstable();
    let shown = json!([ask.tier, keys, ask.only, hashes, devices, cannot]);
    hex(&Sha256::digest(shown.to_string()))
}

/// The sign-out that this one repeats, if it repeats one.
fn repeated(db: &Connection, rules: &Rules, ask: &SignOut) -> Result<Option<SignedOut>, Stop> {
    type Key = (String, String, Option<String>, String, Option<String>, Option<String>);
    let columns = "SELECT txn, seq, subject, tier, only_device, actor, digest, playbook, scope
       FROM txns";
    let read = |row: &rusqlite::Row<'_>| {
        let key: Key =
            (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(7)?, row.get(8)?);
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
    let playbook = ask.playbook.map(|playbook| playbook.name.to_owned());
    if key != (ask.subject.key(), word(&ask.tier), only, ask.actor.clone(), playbook, None) {
        let taken = txn == ask.txn.as_str();
        return Err(if taken { Refused::TxnTaken } else { Refused::KeyReused }.into());
    }
    let (aliases, cannot) = (alias::known_as(db, rules, &ask.subject.key())?, ask.cannot.clone());
    Ok(Some(SignedOut { aliases, cannot, ..done_before(db, id(txn)?, seq, digest)? }))
}

/// What was done under a transaction, without its names and what it could not end.
///
/// # Errors
/// [`Stop`].
pub(super) fn done_before(
    db: &Connection,
    txn: Txn,
    seq: u64,
    digest: String,
) -> Result<SignedOut, Stop> {
    let sql = format!("SELECT {INFO} FROM sessions WHERE revoked_by = ?1 ORDER BY seq DESC");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([txn.as_str()])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(info(row)?.1);
    }
    let mut find =
        db.prepare_cached("SELECT id FROM targets WHERE txn = ?1 AND kind = 'device'")?;
    let ids = find.query_map([txn.as_str()], |row| row.get(0))?;
    let ids = ids.collect::<Result<Vec<String>, _>>()?;
    let devices = ids.into_iter().map(id).collect::<Result<Vec<_>, _>>()?;
    let outcome = state(db, &txn)?;
    let (aliases, cannot, txn) = (Vec::new(), Vec::new(), Some(txn));
    Ok(SignedOut { txn, seq, aliases, sessions, devices, outcome, digest, cannot })
}

/// Whether a person at a device may ask for this.
fn admit(work: &Work<'_>, ask: &SignOut, at: &AtDevice) -> Result<(), Stop> {
    let session: Option<(String, String, String, Option<String>)> = work
        .db
        .prepare_cached("SELECT subject, aud, status, proof FROM sessions WHERE hash = ?1")?
        .query_row([at.session.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let keys = alias::known_as(work.db, work.rules, &ask.subject.key())?;
    let live = session.filter(|(subject, aud, status, _)| {
        keys.contains(subject) && aud == at.from.device.as_str() && status == "active"
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
               only_device, idempotency_key, digest, playbook)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
            plan.digest,
            ask.playbook.map(|playbook| playbook.name)
        ])?;
    Ok(())
}

/// Ends sessions: by a watermark of each name in `marked`, everywhere, or else one by one.
///
/// # Errors
/// [`Stop`].
pub(super) fn revoke(
    work: &mut Work<'_>,
    txn: &Txn,
    marked: &[String],
    sessions: &[(SessionHash, SessionInfo)],
    done: &mut Done,
) -> Result<(), Stop> {
    for subject in marked {
        work.db
            .prepare_cached(
                "INSERT INTO watermarks (subject, seq, at, txn) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (subject) DO UPDATE SET seq = ?2, at = max(at, ?3), txn = ?4",
            )?
            .execute(params![subject, work.seq, work.now.0, txn.as_str()])?;
        let mark = Watermark { seq: work.seq, at: work.now };
        let delta = Delta::Watermark { subject: SubjectHash::of_key(subject), mark };
        done.effects.deltas.push(keyed(delta, Some(subject.clone())));
    }
    let mut update = work.db.prepare_cached(
        "UPDATE sessions SET status = 'revoked', revoked_by = ?2 WHERE hash = ?1",
    )?;
    for (hash, info) in sessions {
        update.execute(params![hash.0, txn.as_str()])?;
        if info.proof.is_none() {
            target_of(work, txn, hash, info, done)?;
        }
    }
    drop(update);
    if marked.is_empty() {
        for (hash, _) in sessions {
            deny(work, hash, done)?;
        }
    }
    Ok(())
}

/// Makes a revoked session a target: refused at the hub, until the service's own check confirms it.
///
/// # Errors
/// [`Stop`].
pub(super) fn target_of(
    work: &Work<'_>,
    txn: &Txn,
    hash: &SessionHash,
    info: &SessionInfo,
    done: &mut Done,
) -> Result<(), Stop> {
    let detail = format!(
        "{}: refused at the hub; {}'s own check has not confirmed it yet",
        info.label, info.place
    );
    work.db
        .prepare_cached(
            "INSERT INTO targets (txn, kind, id, outcome, at, detail, aud, answered)
             VALUES (?1, 'session', ?2, 'contained', ?3, ?4, ?5, 1)",
        )?
        .execute(params![txn.as_str(), short(hash), work.now.0, detail, info.aud])?;
    done.effects.unconfirmed.push((info.aud.clone(), work.seq));
    Ok(())
}
