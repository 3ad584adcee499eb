//! Changes of what enrolments fixed, and of the policy: in force at the hub with the last approval,
//! and on their way to every device.
//!
//! It refuses to call a device changed before its own warden says what it holds itself to.

use std::collections::BTreeSet;

use exeunt_domain::{Act, DeviceId, Kid};
use exeunt_ssf::{ChangeEvent, InForce, Jwks, PublicJwk};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::proposal::Enacted;
use super::words::{id, object};
use super::{Done, Note, Stop, Work, approver, log, wide};
use crate::store::command::Standing;
use crate::store::{Addressee, Entry, Refused, Reply, StoreError};

/// The setting that holds the hourly limit.
pub(super) const ORDERS_PER_HOUR: &str = "orders_per_hour";
/// The setting that holds the thumbprint of the key that signs.
const HUB_KEY: &str = "hub_key";
/// The setting that holds the thumbprints of those that signed before.
const HUB_KEYS_BEFORE: &str = "hub_keys_before";
/// The setting that holds the policy.
const POLICY: &str = "policy";

/// Puts a change in force, and sends it to every device.
///
/// # Errors
/// [`Stop`].
pub(super) fn enact(work: &mut Work<'_>, enacted: &Enacted<'_>) -> Result<Done, Stop> {
    let proposal = &enacted.info.proposal;
    let matter = &enacted.info.matter;
    match &proposal.act {
        Act::Approvers(set) => approver::put(work, &matter.approvers, Some(set.needed))?,
        Act::OrderLimit { orders_per_hour } => {
            set(work, ORDERS_PER_HOUR, &orders_per_hour.to_string())?;
            approver::void_tokens(work)?;
        }
        Act::Policy { .. } => set(work, POLICY, matter.policy.as_deref().unwrap_or_default())?,
        Act::HubKeys { keys } => {
            // Whoever restored the record alone has it without its keys: nothing may be promised then.
            if !keys.iter().all(|kid| work.mint.has_key(kid)) {
                return Err(Refused::Contradiction("the hub does not hold that key").into());
            }
            approver::void_tokens(work)?;
        }
        Act::Order { .. } => {
            return Err(Refused::Contradiction("this is no change that a hub sends").into());
        }
    }
    let note = enacted.note("changed", json!({}));
    let mut done = Done::noted(Reply::Done, note);
    let quorum = serde_json::to_string(enacted.quorum)
        .map_err(|error| StoreError::Damaged(format!("a quorum: {error}")))?;
    work.db
        .prepare_cached(
            "INSERT INTO txns (txn, seq, at, actor, subject, tier, reason, digest, quorum)
             VALUES (?1, ?2, ?3, ?4, '', '', ?5, ?6, ?7)",
        )?
        .execute(params![
            proposal.txn.as_str(),
            work.seq,
            work.now.0,
            proposal.requester,
            enacted.info.reason,
            enacted.info.digest,
            quorum
        ])?;
    for device in wide::members(work.db, &proposal.targets, proposal.proposed)? {
        send(work, enacted, &device, &mut done)?;
    }
    if let Act::HubKeys { keys } = &proposal.act {
        rekey(work, keys, &mut done)?;
    }
    done.effects.changed.push(proposal.txn.clone());
    Ok(done)
}

/// From here on the new key signs; every device was told by the old one.
fn rekey(work: &mut Work<'_>, keys: &BTreeSet<Kid>, done: &mut Done) -> Result<(), Stop> {
    let (_, mut before) = hub_keys(work.db)?;
    before.push(work.mint.kid());
    for kid in keys {
        work.mint.rekey(kid)?;
        set(work, HUB_KEY, kid.as_str())?;
        let list = serde_json::to_string(&before)
            .map_err(|error| StoreError::Damaged(format!("the keys before: {error}")))?;
        set(work, HUB_KEYS_BEFORE, &list)?;
        done.effects.hub_keys = Some((kid.clone(), before.clone()));
    }
    Ok(())
}

/// The key that signs, if it was ever changed, and those that signed before it.
///
/// # Errors
/// [`StoreError`].
pub(super) fn hub_keys(db: &Connection) -> Result<(Option<Kid>, Vec<Kid>), StoreError> {
    let now: Option<Kid> = setting(db, HUB_KEY)?.map(id).transpose()?;
    let before = setting(db, HUB_KEYS_BEFORE)?;
    Ok((now, before.as_deref().map(object).transpose()?.unwrap_or_default()))
}

fn setting(db: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    Ok(db
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

fn send(
    work: &mut Work<'_>,
    enacted: &Enacted<'_>,
    device: &DeviceId,
    done: &mut Done,
) -> Result<(), Stop> {
    let proposal = &enacted.info.proposal;
    let (epoch, held): (u64, Option<String>) = work
        .db
        .prepare_cached("SELECT epoch, in_force FROM devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let held: Option<InForce> = held.as_deref().map(object).transpose()?;
    let already = held.is_some_and(|held| holds(&held, &proposal.act));
    let change = ChangeEvent {
        device: device.clone(),
        epoch,
        act: proposal.act.clone(),
        jwks: enacted.info.matter.hub_key.as_deref().map(jwks).transpose()?,
        policy: enacted.info.matter.policy.clone(),
        quorum: Some(enacted.quorum.clone()),
        deadline: proposal.deadline,
        issued: work.now,
        previous: log::last(work.db, device)?,
    };
    let (jti, compact) = work.mint.change(&change, &proposal.txn)?;
    work.db
        .prepare_cached(
            "INSERT INTO log (seq, scope, addressee, jti, txn, compact)
             VALUES (?1, 'device', ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            work.seq,
            device.as_str(),
            jti.as_str(),
            proposal.txn.as_str(),
            compact
        ])?;
    let pos = log::uint(work.db.last_insert_rowid());
    work.db
        .prepare_cached(
            "INSERT INTO targets (txn, kind, id, outcome, at, epoch, order_jti, order_pos, deadline,
               answered, by_quorum)
             VALUES (?1, 'device', ?2, iif(?7, 'verified', 'requested'), ?3, ?4, ?5, ?8, ?6, ?7, 1)",
        )?
        .execute(params![
            proposal.txn.as_str(),
            device.as_str(),
            work.now.0,
            epoch,
            jti.as_str(),
            proposal.deadline.0,
            already,
            pos
        ])?;
    done.effects.entries.push(Entry { pos, to: Addressee::Device(device.clone()), jti, compact });
    Ok(())
}

fn jwks(x: &str) -> Result<Jwks, StoreError> {
    let key = PublicJwk::from_x(x);
    key.map(|key| Jwks::of(&key))
        .map_err(|error| StoreError::Damaged(format!("the hub's new key: {error}")))
}

/// A device's warden says what it holds itself to: what it was sent and now holds is done.
///
/// # Errors
/// [`Stop`].
pub(super) fn stands(work: &mut Work<'_>, ask: &Standing) -> Result<Done, Stop> {
    let held = serde_json::to_string(&ask.in_force)
        .map_err(|error| StoreError::Damaged(format!("what is in force: {error}")))?;
    let changed = work
        .db
        .prepare_cached(
            "UPDATE devices SET in_force = ?3 WHERE id = ?1 AND epoch = ?2 AND in_force IS NOT ?3",
        )?
        .execute(params![ask.device.as_str(), ask.epoch, held])?;
    let mut find = work.db.prepare_cached(
        "SELECT targets.txn, proposals.proposal FROM targets
           JOIN proposals ON proposals.txn = targets.txn JOIN txns ON txns.txn = targets.txn
         WHERE targets.kind = 'device' AND targets.id = ?1 AND targets.epoch = ?2
           AND (targets.answered = 0 OR targets.outcome = 'unreachable') AND txns.tier = ''",
    )?;
    let open = find.query_map(params![ask.device.as_str(), ask.epoch], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let open = open.collect::<Result<Vec<_>, _>>()?;
    let mut done = Done::silent(Reply::Done);
    let mut held = Vec::new();
    for (txn, proposal) in open {
        let proposal: exeunt_domain::Proposal = object(&proposal)?;
        if !holds(&ask.in_force, &proposal.act) {
            continue;
        }
        work.db
            .prepare_cached(
                "UPDATE targets SET outcome = 'verified', at = ?3, answered = 1,
                   detail = 'its warden says that it holds itself to this'
                 WHERE txn = ?1 AND kind = 'device' AND id = ?2",
            )?
            .execute(params![txn, ask.device.as_str(), work.now.0])?;
        done.effects.changed.push(proposal.txn);
        held.push(txn);
    }
    if changed > 0 || !held.is_empty() {
        done.effects.in_force = Some((ask.device.clone(), ask.in_force.clone()));
        let note = Note::new(format!("device:{}", ask.device), "in-force").at_device(&ask.device);
        done.note = Some(note.with(json!({ "in_force": ask.in_force, "txns": held })));
    }
    Ok(done)
}

fn holds(held: &InForce, act: &Act) -> bool {
    match act {
        Act::Order { .. } => false,
        Act::Policy { sha256 } => held.policy.as_ref() == Some(sha256),
        Act::HubKeys { keys } => held.hub_keys == *keys,
        Act::Approvers(set) => held.approvers.as_ref() == Some(set),
        Act::OrderLimit { orders_per_hour } => held.orders_per_hour == *orders_per_hour,
    }
}

fn set(work: &Work<'_>, name: &str, value: &str) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO settings (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = ?2",
        )?
        .execute([name, value])?;
    Ok(())
}

/// The hourly limit that a quorum set, if one did.
///
/// # Errors
/// [`StoreError`].
pub(super) fn orders_per_hour(db: &Connection) -> Result<Option<u32>, StoreError> {
    let kept = setting(db, ORDERS_PER_HOUR)?;
    let read = |text: String| {
        text.parse().map_err(|_| StoreError::Damaged("the hourly limit is no number".into()))
    };
    kept.map(read).transpose()
}
