//! Asking again what failed, under the same transaction.
//!
//! It refuses to touch what is under way or verified: a second request right after the first asks
//! nobody.

use exeunt_domain::{DeviceId, Outcome, Subject, Tier};
use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::words::{any, id, meaning};
use super::{Done, Note, Stop, Work, log, reached};
use crate::store::command::Retry;
use crate::store::{Refused, Reply, StoreError};

/// One target that failed.
struct Failed {
    kind: String,
    name: String,
    outcome: Outcome,
    /// It said so itself; otherwise it did not answer in time.
    answered: bool,
}

pub(super) fn retry(work: &mut Work<'_>, ask: &Retry) -> Result<Done, Stop> {
    type Row = (String, String, Option<String>, bool);
    let found: Option<Row> = work
        .db
        .prepare_cached(
            "SELECT subject, tier, reason, cancelled IS NOT NULL FROM txns WHERE txn = ?1",
        )?
        .query_row([ask.txn.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((subject, tier, reason, cancelled)) = found else {
        return Err(Refused::UnknownTxn.into());
    };
    if cancelled {
        return Err(Refused::Cancelled.into());
    }
    let failed = failed(work, ask)?;
    let devices = failed.iter().filter(|one| one.kind == "device" && one.answered);
    let devices = devices.map(|one| id(one.name.clone())).collect::<Result<Vec<_>, _>>()?;
    reached::admit(work, &ask.actor, &devices, &ask.limit)?;
    let note = Note::new(&ask.actor, "retried").under(&ask.txn);
    let mut done = Done::noted(Reply::Done, Note { subject: Some(subject.clone()), ..note });
    let (mut asked, mut left) = (Vec::new(), Vec::new());
    for one in &failed {
        let again = if one.kind == "identity-provider" {
            provider(work, ask, one)?;
            true
        } else if one.answered {
            let what = Demand { subject: &subject, tier: &tier, reason: reason.as_deref() };
            device(work, ask, one, &what, &mut done)?
        } else {
            overdue(work, ask, one, &mut done)?
        };
        let named = json!({ "kind": one.kind, "id": one.name, "was": one.outcome });
        if again { asked.push(named) } else { left.push(named) }
    }
    if asked.is_empty() {
        return Ok(Done::silent(Reply::Repeated));
    }
    if let Some(note) = &mut done.note {
        note.detail = json!({ "asked": asked, "left": left });
    }
    done.effects.changed.push(ask.txn.clone());
    Ok(done)
}

fn failed(work: &Work<'_>, ask: &Retry) -> Result<Vec<Failed>, Stop> {
    let mut find = work.db.prepare_cached(
        "SELECT kind, id, outcome, answered FROM targets
         WHERE txn = ?1 AND kind IN ('device', 'identity-provider')
           AND outcome IN ('unreachable', 'partial', 'refused') ORDER BY kind, id",
    )?;
    let mut rows = find.query([ask.txn.as_str()])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let outcome = meaning(row.get(2)?)?;
        all.push(Failed { kind: row.get(0)?, name: row.get(1)?, outcome, answered: row.get(3)? });
    }
    Ok(all)
}

/// Opens a provider's target again; whoever carries sign-outs to providers takes it up.
fn provider(work: &Work<'_>, ask: &Retry, one: &Failed) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "UPDATE targets SET outcome = 'requested', answered = 0, at = ?3,
               detail = 'asked again; before: ' || outcome || coalesce(', ' || detail, '')
             WHERE txn = ?1 AND kind = 'identity-provider' AND id = ?2",
        )?
        .execute(params![ask.txn.as_str(), one.name, work.now.0])?;
    Ok(())
}

/// What the transaction demands, as it is stored.
struct Demand<'a> {
    subject: &'a str,
    tier: &'a str,
    reason: Option<&'a str>,
}

/// Orders a device that answered to begin anew. False: it is enrolled no more, or what is demanded
/// goes beyond one person or beyond a sign-out, and has to be approved anew.
fn device(
    work: &mut Work<'_>,
    ask: &Retry,
    one: &Failed,
    what: &Demand<'_>,
    done: &mut Done,
) -> Result<bool, Stop> {
    let device: DeviceId = id(one.name.clone())?;
    let is_there = any(work.db, "SELECT 1 FROM devices WHERE id = ?1", [device.as_str()])?;
    let tier: Tier = meaning(what.tier.to_owned())?;
    if !is_there || what.subject.is_empty() || tier > Tier::SignOut {
        return Ok(false);
    }
    let asked = ordered_as(work, ask, &device, what.subject)?;
    let order = log::Ordering {
        txn: &ask.txn,
        subject: Some(&asked),
        tier,
        reason: what.reason,
        good_for_ms: ask.good_for_ms,
        quorum: None,
        again: true,
    };
    log::order_again(work, &order, &device, done)?;
    Ok(true)
}

/// The name under which the device knew the subject when it was ordered.
fn ordered_as(
    work: &Work<'_>,
    ask: &Retry,
    device: &DeviceId,
    asked: &str,
) -> Result<Subject, Stop> {
    let known: Option<String> = work
        .db
        .prepare_cached(
            "SELECT subject FROM sessions WHERE revoked_by = ?1 AND aud = ?2 AND proof IS NOT NULL
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![ask.txn.as_str(), device.as_str()], |row| row.get(0))
        .optional()?;
    let name = known.unwrap_or_else(|| asked.to_owned());
    Ok(Subject::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?)
}

/// Signs an overdue order again at once, which otherwise waits for the device's next poll.
fn overdue(work: &mut Work<'_>, ask: &Retry, one: &Failed, done: &mut Done) -> Result<bool, Stop> {
    let device: DeviceId = id(one.name.clone())?;
    let signed = log::resign(work, &device, ask.good_for_ms)?;
    let again = signed.note.is_some();
    let mut more = signed.effects;
    done.effects.entries.append(&mut more.entries);
    done.effects.withdrawn.append(&mut more.withdrawn);
    done.effects.changed.append(&mut more.changed);
    Ok(again)
}
