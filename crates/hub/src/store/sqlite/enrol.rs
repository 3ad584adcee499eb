//! Who takes part: enrolment tokens and devices, relying services.
//!
//! It refuses a token twice, and a device's name to anyone but its operator's choice.

use exeunt_domain::session::SessionHash;
use exeunt_domain::{DeviceId, Group, Tenant};
use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::session::{deny, short};
use super::words::{any, id, word};
use super::{Done, Note, Stop, Work, approver};
use crate::store::command::{Enrol, MintToken};
use crate::store::{Device, Refused, Reply, Service, StoreError};

pub(super) fn mint(work: &mut Work<'_>, ask: &MintToken) -> Result<Done, Stop> {
    let name = ask.name.as_ref().map(DeviceId::as_str);
    let approvers = approver::pinned(&approver::list(work.db)?);
    if approvers != ask.approvers {
        return Err(Refused::ApproversChanged.into());
    }
    let (group, tenant) = (ask.group.as_ref().map(Group::as_str), ask.tenant.as_ref());
    let tenant = tenant.map(Tenant::as_str);
    work.db
        .prepare_cached(
            "INSERT INTO enrol_tokens (secret, name, expires, grp, tenant)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![ask.secret, name, ask.expires.0, group, tenant])?;
    let note = Note::new(&ask.actor, "device-token-minted").with(json!({
        "name": name, "expires": ask.expires, "group": group, "tenant": tenant,
        "approvers": approvers,
    }));
    Ok(Done::noted(Reply::Done, note))
}

pub(super) fn enrol(work: &mut Work<'_>, ask: &Enrol) -> Result<Done, Stop> {
    let token = redeem(work, ask)?;
    let (device, named, group, tenant) = match token {
        Token::Repeated(device) => return repeated(work, device),
        Token::Good { name: Some(device), group, tenant } => (device, true, group, tenant),
        Token::Good { name: None, group, tenant } => (ask.name.clone(), false, group, tenant),
    };
    let earlier: Option<u64> = work
        .db
        .prepare_cached("SELECT epoch FROM devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?;
    if earlier.is_some() && !named {
        return Err(Refused::NameTaken.into());
    }
    let kid = ask.device_key.kid();
    let taken = "SELECT 1 FROM devices WHERE device_kid = ?1 AND id <> ?2";
    if any(work.db, taken, [kid.as_str(), device.as_str()])? {
        return Err(Refused::KeyTaken.into());
    }
    let floor = super::restored::epoch_floor(work.db)?;
    let earlier_or_removed = earlier.max(removed(work, &device)?);
    let epoch = earlier_or_removed.unwrap_or(0).max(floor) + 1;
    write(work, ask, &device, epoch)?;
    work.db
        .prepare_cached("UPDATE devices SET grp = ?2, tenant = ?3, in_force = NULL WHERE id = ?1")?
        .execute(params![
            device.as_str(),
            group.as_ref().map(Group::as_str),
            tenant.as_ref().map(Tenant::as_str)
        ])?;
    work.db
        .prepare_cached("UPDATE enrol_tokens SET used_by = ?2, used_jti = ?3 WHERE secret = ?1")?
        .execute(params![ask.secret, device.as_str(), ask.jti.as_str()])?;
    let note = Note::new(format!("device:{device}"), "enrolled").at_device(&device).with(json!({
        "epoch": epoch, "device_kid": kid, "mode": ask.mode, "group": group, "tenant": tenant,
    }));
    let mut done = Done::noted(Reply::Enrolled { device: device.clone(), epoch }, note);
    if earlier.is_some() {
        close_earlier(work, &device, epoch, "enrolled anew", &mut done)?;
    }
    done.effects.owing = Some((device.clone(), false));
    done.effects.device = Some(Device {
        id: device,
        epoch,
        device_key: ask.device_key.clone(),
        agent_key: ask.agent_key.clone(),
        group,
        tenant,
        in_force: None,
    });
    Ok(done)
}

enum Token {
    /// It may be used.
    Good {
        /// What the device is called; None: the machine's own name will do, if it is free.
        name: Option<DeviceId>,
        /// Its group.
        group: Option<Group>,
        /// Its tenant.
        tenant: Option<Tenant>,
    },
    /// This very SET used it before.
    Repeated(DeviceId),
}

fn redeem(work: &Work<'_>, ask: &Enrol) -> Result<Token, Stop> {
    type Row =
        (Option<String>, u64, Option<String>, Option<String>, Option<String>, Option<String>);
    let row: Option<Row> = work
        .db
        .prepare_cached(
            "SELECT name, expires, used_by, used_jti, grp, tenant FROM enrol_tokens
             WHERE secret = ?1",
        )?
        .query_row([ask.secret], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()?;
    match row {
        None => Err(Refused::UnknownToken.into()),
        Some((_, _, Some(device), Some(jti), ..)) if jti == ask.jti.as_str() => {
            Ok(Token::Repeated(id(device)?))
        }
        Some((_, _, Some(_), ..)) => Err(Refused::UsedToken.into()),
        Some((_, expires, None, ..)) if expires < work.now.0 => Err(Refused::ExpiredToken.into()),
        Some((name, _, None, _, group, tenant)) => Ok(Token::Good {
            name: name.map(id).transpose()?,
            group: group.map(id).transpose()?,
            tenant: tenant.map(id).transpose()?,
        }),
    }
}

fn repeated(work: &Work<'_>, device: DeviceId) -> Result<Done, Stop> {
    let epoch = work
        .db
        .prepare_cached("SELECT epoch FROM devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?
        .ok_or(Refused::UsedToken)?;
    Ok(Done::silent(Reply::Enrolled { device, epoch }))
}

fn write(work: &Work<'_>, ask: &Enrol, device: &DeviceId, epoch: u64) -> Result<(), Stop> {
    let json = |key| {
        serde_json::to_string(key).map_err(|error| StoreError::Damaged(format!("a key: {error}")))
    };
    work.db
        .prepare_cached(
            "INSERT INTO devices (id, epoch, device_key, device_kid, agent_key, mode, enrolled,
               base, cursor)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, last, last
               FROM (SELECT coalesce(max(pos), 0) AS last FROM log) WHERE true
             ON CONFLICT (id) DO UPDATE SET epoch = ?2, device_key = ?3, device_kid = ?4,
               agent_key = ?5, mode = ?6, enrolled = ?7, base = excluded.base,
               cursor = excluded.cursor, receipt_seq = 0, receipt_hash = ''",
        )?
        .execute(params![
            device.as_str(),
            epoch,
            json(&ask.device_key)?,
            ask.device_key.kid().as_str(),
            json(&ask.agent_key)?,
            word(&ask.mode),
            work.now.0
        ])?;
    Ok(())
}

/// Nothing of an earlier enrolment is delivered or expected any more.
fn close_earlier(
    work: &Work<'_>,
    device: &DeviceId,
    epoch: u64,
    what: &str,
    done: &mut Done,
) -> Result<(), Stop> {
    work.db.prepare_cached("DELETE FROM acks WHERE device = ?1")?.execute([device.as_str()])?;
    let mut find = work.db.prepare_cached(
        "SELECT txn FROM targets WHERE kind = 'device' AND id = ?1 AND answered = 0",
    )?;
    let txns = find.query_map([device.as_str()], |row| row.get(0))?;
    let txns = txns.collect::<Result<Vec<String>, _>>()?;
    work.db
        .prepare_cached(
            "UPDATE targets SET outcome = 'unreachable', at = ?2, answered = 1,
               detail = 'the device was ' || ?4 || ' before it answered; it was ' || outcome
             WHERE kind = 'device' AND id = ?1 AND answered = 0 AND epoch < ?3",
        )?
        .execute(params![device.as_str(), work.now.0, epoch, what])?;
    for txn in txns {
        done.effects.changed.push(id(txn)?);
    }
    Ok(())
}

/// The last epoch of a device of this name that was removed.
fn removed(work: &Work<'_>, device: &DeviceId) -> Result<Option<u64>, Stop> {
    Ok(work
        .db
        .prepare_cached("SELECT epoch FROM removed_devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?)
}

/// Ends a device's enrolment: its keys, its tokens and its console sessions. Its epoch is remembered.
pub(super) fn remove(work: &mut Work<'_>, actor: &str, device: &DeviceId) -> Result<Done, Stop> {
    let epoch: u64 = work
        .db
        .prepare_cached("SELECT epoch FROM devices WHERE id = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?
        .ok_or(Refused::UnknownDevice)?;
    let mut find = work.db.prepare_cached(
        "SELECT hash FROM sessions WHERE aud = ?1 AND proof IS NOT NULL AND status = 'active'",
    )?;
    let hashes = find.query_map([device.as_str()], |row| Ok(SessionHash(row.get(0)?)))?;
    let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
    let touched = hashes.iter().map(short).collect();
    let note = Note::new(actor, "device-removed")
        .at_device(device)
        .touching(touched)
        .with(json!({ "epoch": epoch }));
    let mut done = Done::noted(Reply::Done, note);
    for hash in &hashes {
        work.db
            .prepare_cached("UPDATE sessions SET status = 'ended', last_seen = ?2 WHERE hash = ?1")?
            .execute(params![hash.0, work.now.0])?;
        deny(work, hash, &mut done)?;
    }
    close_earlier(work, device, epoch + 1, "removed", &mut done)?;
    work.db
        .prepare_cached("DELETE FROM enrol_tokens WHERE name = ?1 AND used_by IS NULL")?
        .execute([device.as_str()])?;
    work.db
        .prepare_cached(
            "INSERT INTO removed_devices (id, epoch) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET epoch = ?2",
        )?
        .execute(params![device.as_str(), epoch])?;
    work.db.prepare_cached("DELETE FROM devices WHERE id = ?1")?.execute([device.as_str()])?;
    done.effects.owing = Some((device.clone(), false));
    done.effects.removed_device = Some(device.clone());
    Ok(done)
}

pub(super) fn add_service(
    work: &mut Work<'_>,
    actor: &str,
    service: &Service,
) -> Result<Done, Stop> {
    let taken = "SELECT 1 FROM services WHERE aud = ?1 UNION SELECT 1 FROM devices WHERE id = ?1";
    if any(work.db, taken, [&service.aud])? {
        return Err(Refused::AudTaken.into());
    }
    work.db
        .prepare_cached(
            "INSERT INTO services (client_id, name, aud, secret, registered, scopes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            service.client_id,
            service.name,
            service.aud,
            service.secret,
            work.now.0,
            service.scopes.join(" ")
        ])?;
    let note = Note::new(actor, "service-registered")
        .with(json!({ "client_id": service.client_id, "name": service.name, "aud": service.aud,
            "scopes": service.scopes }));
    let mut done = Done::noted(Reply::Done, note);
    done.effects.service = Some(service.clone());
    Ok(done)
}
