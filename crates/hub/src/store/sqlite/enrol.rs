//! Who takes part: enrolment tokens and devices, relying services.
//!
//! It refuses a token twice, and a device's name to anyone but its operator's choice.

use exeunt_domain::DeviceId;
use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::words::{any, id, word};
use super::{Done, Note, Stop, Work};
use crate::store::command::{Enrol, MintToken};
use crate::store::{Device, Refused, Reply, Service, StoreError};

pub(super) fn mint(work: &mut Work<'_>, ask: &MintToken) -> Result<Done, Stop> {
    let name = ask.name.as_ref().map(DeviceId::as_str);
    work.db
        .prepare_cached("INSERT INTO enrol_tokens (secret, name, expires) VALUES (?1, ?2, ?3)")?
        .execute(params![ask.secret, name, ask.expires.0])?;
    let note = Note::new(&ask.actor, "device-token-minted")
        .with(json!({ "name": name, "expires": ask.expires }));
    Ok(Done::noted(Reply::Done, note))
}

pub(super) fn enrol(work: &mut Work<'_>, ask: &Enrol) -> Result<Done, Stop> {
    let token = redeem(work, ask)?;
    let (device, named) = match token {
        Token::Repeated(device) => return repeated(work, device),
        Token::For(device) => (device, true),
        Token::Anyone => (ask.name.clone(), false),
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
    let epoch = earlier.unwrap_or(0).max(floor) + 1;
    write(work, ask, &device, epoch)?;
    work.db
        .prepare_cached("UPDATE enrol_tokens SET used_by = ?2, used_jti = ?3 WHERE secret = ?1")?
        .execute(params![ask.secret, device.as_str(), ask.jti.as_str()])?;
    let note = Note::new(format!("device:{device}"), "enrolled")
        .at_device(&device)
        .with(json!({ "epoch": epoch, "device_kid": kid, "mode": ask.mode }));
    let mut done = Done::noted(Reply::Enrolled { device: device.clone(), epoch }, note);
    if earlier.is_some() {
        close_earlier(work, &device, epoch, &mut done)?;
    }
    done.effects.owing = Some((device.clone(), false));
    done.effects.device = Some(Device {
        id: device,
        epoch,
        device_key: ask.device_key.clone(),
        agent_key: ask.agent_key.clone(),
    });
    Ok(done)
}

enum Token {
    /// It names the device.
    For(DeviceId),
    /// The machine's own name will do, if it is free.
    Anyone,
    /// This very SET used it before.
    Repeated(DeviceId),
}

fn redeem(work: &Work<'_>, ask: &Enrol) -> Result<Token, Stop> {
    type Row = (Option<String>, u64, Option<String>, Option<String>);
    let row: Option<Row> = work
        .db
        .prepare_cached(
            "SELECT name, expires, used_by, used_jti FROM enrol_tokens WHERE secret = ?1",
        )?
        .query_row([ask.secret], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    match row {
        None => Err(Refused::UnknownToken.into()),
        Some((_, _, Some(device), Some(jti))) if jti == ask.jti.as_str() => {
            Ok(Token::Repeated(id(device)?))
        }
        Some((_, _, Some(_), _)) => Err(Refused::UsedToken.into()),
        Some((_, expires, None, _)) if expires < work.now.0 => Err(Refused::ExpiredToken.into()),
        Some((Some(name), _, None, _)) => Ok(Token::For(id(name)?)),
        Some((None, _, None, _)) => Ok(Token::Anyone),
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
               FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'log'), 0)
                 AS last) WHERE true
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
               detail = 'the device was enrolled anew before it answered; it was ' || outcome
             WHERE kind = 'device' AND id = ?1 AND answered = 0 AND epoch < ?3",
        )?
        .execute(params![device.as_str(), work.now.0, epoch])?;
    for txn in txns {
        done.effects.changed.push(id(txn)?);
    }
    Ok(())
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
