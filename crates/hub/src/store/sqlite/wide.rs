//! Orders that approvers agreed to: to one device, to several, to a group, a tenant or everyone.
//!
//! It refuses devices that were enrolled after the proposal was made: their wardens would refuse it.

use std::collections::{BTreeSet, HashSet};

use exeunt_api::SessionInfo;
use exeunt_domain::order::WideOrder;
use exeunt_domain::session::SessionHash;
use exeunt_domain::{DeviceId, Subject, Targets, Tier, Timestamp};
use rusqlite::{Connection, params};
use serde_json::json;

use super::proposal::Enacted;
use super::session::{INFO, info, short};
use super::words::{id, word};
use super::{Done, Stop, Work, connector, log, sign_out, stream};
use crate::store::command::{DeviceLimit, SignOut};
use crate::store::{Addressee, Entry, Refused, Reply, StoreError};

type Session = (SessionHash, SessionInfo);

/// The devices at which a subject is signed in.
///
/// # Errors
/// [`Stop`].
pub(super) fn devices_of(db: &Connection, subject: &Subject) -> Result<Targets, Stop> {
    let known = "SELECT 1 FROM sessions WHERE subject = ?1";
    if !super::words::any(db, known, [subject.key()])? {
        return Err(Refused::UnknownSubject.into());
    }
    let sessions = sessions_of(db, &subject.key())?;
    let ids = sign_out::devices_at(db, &sessions, None)?.into_iter().collect();
    Ok(Targets::Devices { ids })
}

/// The devices among `targets` that were enrolled by `proposed`, in order.
///
/// # Errors
/// [`Stop`].
pub(super) fn members(
    db: &Connection,
    targets: &Targets,
    proposed: Timestamp,
) -> Result<Vec<DeviceId>, Stop> {
    let (sql, name) = match targets {
        Targets::Devices { ids } => {
            let mut there = Vec::new();
            for device in ids {
                let sql = "SELECT 1 FROM devices WHERE id = ?1 AND enrolled <= ?2";
                if super::words::any(db, sql, params![device.as_str(), proposed.0])? {
                    there.push(device.clone());
                }
            }
            return Ok(there);
        }
        Targets::Group { .. } | Targets::Tenant { .. } | Targets::Everyone => membership(targets),
    };
    let sql = format!("SELECT id FROM devices WHERE {sql} AND enrolled <= ?2 ORDER BY id");
    let mut find = db.prepare_cached(&sql)?;
    let found = find.query_map(params![name, proposed.0], |row| row.get(0))?;
    let found = found.collect::<Result<Vec<String>, _>>()?;
    Ok(found.into_iter().map(id).collect::<Result<_, _>>()?)
}

/// The condition on a row of devices that belongs to a group, a tenant or everyone, and its name.
fn membership(targets: &Targets) -> (&'static str, &str) {
    match targets {
        Targets::Devices { .. } => ("?1 <> ?1", ""),
        Targets::Group { name } => ("grp = ?1", name.as_str()),
        Targets::Tenant { name } => ("tenant = ?1", name.as_str()),
        Targets::Everyone => ("?1 = ''", ""),
    }
}

/// Live sessions that end with an order: everywhere, or at `devices` only.
///
/// # Errors
/// [`Stop`].
pub(super) fn sessions_at(
    db: &Connection,
    user: Option<&Subject>,
    devices: &[DeviceId],
    everywhere: bool,
) -> Result<Vec<Session>, Stop> {
    let subjects: BTreeSet<String> = match user {
        Some(subject) => BTreeSet::from([subject.key()]),
        None => signed_in(db, devices)?,
    };
    let here: HashSet<&str> = devices.iter().map(DeviceId::as_str).collect();
    let mut all = Vec::new();
    for subject in subjects {
        let found = sessions_of(db, &subject)?;
        all.extend(found.into_iter().filter(|(_, info)| {
            let device = info.device.as_deref();
            everywhere
                || here.contains(info.aud.as_str())
                || device.is_some_and(|d| here.contains(d))
        }));
    }
    Ok(all)
}

/// Whose console sessions are live at `devices`.
fn signed_in(db: &Connection, devices: &[DeviceId]) -> Result<BTreeSet<String>, Stop> {
    let mut find = db.prepare_cached(
        "SELECT subject FROM sessions WHERE aud = ?1 AND proof IS NOT NULL AND status = 'active'",
    )?;
    let mut subjects = BTreeSet::new();
    for device in devices {
        let found = find.query_map([device.as_str()], |row| row.get(0))?;
        subjects.extend(found.collect::<Result<Vec<String>, _>>()?);
    }
    Ok(subjects)
}

fn sessions_of(db: &Connection, subject: &str) -> Result<Vec<Session>, StoreError> {
    let sql = format!("SELECT {INFO} FROM sessions WHERE subject = ?1 AND status = 'active'");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([subject])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(info(row)?);
    }
    Ok(found)
}

/// Carries an order out: sessions, log, targets, all under the proposal's transaction.
///
/// # Errors
/// [`Stop`].
pub(super) fn order(
    work: &mut Work<'_>,
    enacted: &Enacted<'_>,
    tier: Tier,
    user: Option<&Subject>,
) -> Result<Done, Stop> {
    let proposal = &enacted.info.proposal;
    let devices = members(work.db, &proposal.targets, proposal.proposed)?;
    let sessions = match tier {
        Tier::Lock => Vec::new(),
        Tier::SignOut | Tier::Purge => sessions_at(work.db, user, &devices, enacted.everywhere)?,
    };
    let touched = sessions.iter().map(|(hash, _)| short(hash)).collect();
    let note = enacted.note("sign-out", json!({ "tier": tier })).touching(touched);
    let mut done = Done::noted(Reply::Done, note);
    record(work, enacted, tier, user)?;
    let whole = user.filter(|_| enacted.everywhere);
    if tier != Tier::Lock {
        let marked: Vec<_> = whole.map(Subject::key).into_iter().collect();
        sign_out::revoke(work, &proposal.txn, &marked, &sessions, &mut done)?;
    }
    if let Some(subject) = whole.filter(|_| tier != Tier::Lock) {
        let ask = told(enacted, subject, tier);
        connector::target(work, &ask)?;
        stream::tell(work, &ask, &BTreeSet::new(), &mut done)?;
    }
    match &proposal.targets {
        Targets::Devices { .. } => {
            each(work, enacted, tier, user, &devices, &sessions, &mut done)?;
        }
        Targets::Group { .. } | Targets::Tenant { .. } | Targets::Everyone => {
            at_once(work, enacted, &mut done)?;
        }
    }
    done.effects.changed.push(proposal.txn.clone());
    Ok(done)
}

/// Each device has an order of its own. Where the subject signed in after the proposal was made, the
/// approvals do not reach: the hub alone vouches for a sign-out there.
fn each(
    work: &mut Work<'_>,
    enacted: &Enacted<'_>,
    tier: Tier,
    user: Option<&Subject>,
    devices: &[DeviceId],
    sessions: &[Session],
    done: &mut Done,
) -> Result<(), Stop> {
    let approved = log::Ordering {
        txn: &enacted.info.proposal.txn,
        subject: user,
        tier,
        reason: enacted.info.reason.as_deref(),
        good_for_ms: enacted.good_for_ms,
        quorum: Some(enacted.quorum),
        again: false,
    };
    for device in devices {
        log::order(work, &approved, device, done)?;
    }
    if !enacted.everywhere {
        return Ok(());
    }
    let plain = log::Ordering { tier: tier.min(Tier::SignOut), quorum: None, ..approved };
    for device in sign_out::devices_at(work.db, sessions, None)? {
        if !devices.contains(&device) {
            log::order(work, &plain, &device, done)?;
        }
    }
    Ok(())
}

/// One entry, one signature, the same bytes to every device.
fn at_once(work: &mut Work<'_>, enacted: &Enacted<'_>, done: &mut Done) -> Result<(), Stop> {
    let proposal = &enacted.info.proposal;
    let order = WideOrder {
        quorum: enacted.quorum.clone(),
        issued: work.now,
        reason: enacted.info.reason.clone(),
    };
    let (jti, compact) = work.mint.wide_order(&order)?;
    let to = Addressee::of(&proposal.targets).ok_or(Refused::NobodyThere)?;
    let (scope, addressee) = to.parts();
    work.db
        .prepare_cached(
            "INSERT INTO log (seq, scope, addressee, jti, txn, compact)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            work.seq,
            scope,
            addressee,
            jti.as_str(),
            proposal.txn.as_str(),
            compact
        ])?;
    let pos = log::uint(work.db.last_insert_rowid());
    // The same devices as `members` finds, by one statement: there may be very many.
    let (among, name) = membership(&proposal.targets);
    let sql = format!(
        "INSERT INTO targets (txn, kind, id, outcome, at, detail, epoch, order_jti, order_pos, deadline,
           by_quorum)
         SELECT ?3, 'device', id, 'requested', ?4, NULL, epoch, ?5, ?7, ?6, 1
         FROM devices WHERE {among} AND enrolled <= ?2 ORDER BY id"
    );
    work.db.prepare_cached(&sql)?.execute(params![
        name,
        proposal.proposed.0,
        proposal.txn.as_str(),
        work.now.0,
        jti.as_str(),
        proposal.deadline.0,
        pos
    ])?;
    done.effects.entries.push(Entry { pos, to, jti, compact });
    Ok(())
}

fn record(
    work: &Work<'_>,
    enacted: &Enacted<'_>,
    tier: Tier,
    user: Option<&Subject>,
) -> Result<(), Stop> {
    let proposal = &enacted.info.proposal;
    let quorum = serde_json::to_string(enacted.quorum)
        .map_err(|error| StoreError::Damaged(format!("a quorum: {error}")))?;
    work.db
        .prepare_cached(
            "INSERT INTO txns (txn, seq, at, actor, subject, tier, reason, digest, quorum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            proposal.txn.as_str(),
            work.seq,
            work.now.0,
            proposal.requester,
            user.map(Subject::key).unwrap_or_default(),
            word(&tier),
            enacted.info.reason,
            enacted.info.digest,
            quorum
        ])?;
    Ok(())
}

/// The same as others hear of any sign-out.
fn told(enacted: &Enacted<'_>, subject: &Subject, tier: Tier) -> SignOut {
    let proposal = &enacted.info.proposal;
    SignOut {
        actor: proposal.requester.clone(),
        txn: proposal.txn.clone(),
        subject: subject.clone(),
        tier,
        reason: enacted.info.reason.clone(),
        only: None,
        idempotency_key: None,
        digest: None,
        cannot: Vec::new(),
        playbook: None,
        at_device: None,
        limit: DeviceLimit::NONE,
        good_for_ms: enacted.good_for_ms,
    }
}
