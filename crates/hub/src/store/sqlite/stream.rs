//! Streams to receivers: their configuration, and what waits in them.
//!
//! It refuses to let an event and its cause part: both are in one transaction.

use std::collections::BTreeSet;

use exeunt_domain::{Jti, Subject, Txn};
use exeunt_ssf::stream::{SESSION_REVOKED, STREAM_UPDATED, Status, VERIFICATION, Wishes};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};

use super::words::{any, id, meaning, object, word};
use super::{Done, Note, Stop, Work, stream_heard};
use crate::store::command::SignOut;
use crate::store::stream::{Stream, StreamCommand, Waiting};
use crate::store::{Refused, Reply, StoreError};

const COLUMNS: &str = "SELECT id, client, aud, wishes, status, reason FROM streams";

pub(super) fn stream(work: &mut Work<'_>, ask: &StreamCommand) -> Result<Done, Stop> {
    match ask {
        StreamCommand::Create { actor, stream } => create(work, actor, stream),
        StreamCommand::Configure { actor, stream, wishes } => {
            configure(work, actor, stream, wishes)
        }
        StreamCommand::SetStatus { actor, stream, status, reason } => {
            set_status(work, actor, stream, *status, reason.as_deref())
        }
        StreamCommand::Delete { actor, stream } => delete(work, actor, stream),
        StreamCommand::Subject { actor, stream, subject, included } => {
            include(work, actor, stream, subject, *included)
        }
        StreamCommand::Verify { actor, stream, state, every_ms } => {
            verify(work, actor, stream, state.as_deref(), *every_ms)
        }
        StreamCommand::Taken { stream, acked, refused } => taken(work, stream, acked, refused),
        StreamCommand::AddTransmitter { actor, transmitter } => {
            stream_heard::add(work, actor, transmitter)
        }
        StreamCommand::Expect { actor, transmitter, state } => {
            stream_heard::expect(work, actor, transmitter, state)
        }
        StreamCommand::RemoveTransmitter { actor, transmitter } => {
            stream_heard::remove(work, actor, transmitter)
        }
        StreamCommand::Alarm { transmitter, action, why } => {
            Ok(stream_heard::alarm(transmitter, action, why))
        }
        StreamCommand::Heard(heard) => stream_heard::heard(work, heard),
    }
}

/// What the audit says of a refusal; None where nobody with standing asked for it.
pub(super) fn note_of_refusal(ask: &StreamCommand) -> Option<Note> {
    match ask {
        StreamCommand::Heard(heard) => Some(stream_heard::note_of_refusal(heard)),
        StreamCommand::Create { actor, .. } => Some(Note::new(actor, "stream-refused")),
        StreamCommand::AddTransmitter { actor, .. } => {
            Some(Note::new(actor, "transmitter-refused"))
        }
        StreamCommand::Configure { .. }
        | StreamCommand::SetStatus { .. }
        | StreamCommand::Delete { .. }
        | StreamCommand::Subject { .. }
        | StreamCommand::Verify { .. }
        | StreamCommand::Taken { .. }
        | StreamCommand::RemoveTransmitter { .. }
        | StreamCommand::Alarm { .. }
        | StreamCommand::Expect { .. } => None,
    }
}

/// Tells every receiver that hears of the subject: one event a stream under the cause's `txn`, by
/// the name that was asked for; and one for each other name by which the receiver's own sessions
/// knew the subject (`names`: audience and name). No receiver learns a name that it did not know.
pub(super) fn tell(
    work: &mut Work<'_>,
    ask: &SignOut,
    names: &BTreeSet<(String, Subject)>,
    done: &mut Done,
) -> Result<(), Stop> {
    for stream in streams(work.db, None)? {
        if stream.status == Status::Disabled
            || !stream.wishes.delivered().contains(&SESSION_REVOKED)
        {
            continue;
        }
        let own = names.iter().filter(|(aud, _)| *aud == stream.aud).map(|(_, name)| name);
        let mut told: BTreeSet<&Subject> = own.collect();
        told.insert(&ask.subject);
        let cause = Cause { actor: &ask.actor, txn: &ask.txn, reason: ask.reason.as_deref() };
        for subject in told {
            tell_of(work, &cause, &stream, subject)?;
        }
        done.effects.streams.push(stream.id);
    }
    Ok(())
}

/// What a receiver is told of a sign-out beside whose it is.
pub(super) struct Cause<'a> {
    pub(super) actor: &'a str,
    pub(super) txn: &'a Txn,
    pub(super) reason: Option<&'a str>,
}

/// Tells the receivers of one audience that every session there of these people is revoked.
pub(super) fn tell_audience(
    work: &Work<'_>,
    cause: &Cause<'_>,
    aud: &str,
    people: &BTreeSet<&Subject>,
    done: &mut Done,
) -> Result<(), Stop> {
    for stream in streams(work.db, None)?.into_iter().filter(|stream| stream.aud == aud) {
        if stream.status == Status::Disabled
            || !stream.wishes.delivered().contains(&SESSION_REVOKED)
        {
            continue;
        }
        for subject in people {
            tell_of(work, cause, &stream, subject)?;
        }
        done.effects.streams.push(stream.id);
    }
    Ok(())
}

fn tell_of(
    work: &Work<'_>,
    ask: &Cause<'_>,
    stream: &Stream,
    subject: &Subject,
) -> Result<(), Stop> {
    let excluded = "SELECT 1 FROM stream_excluded WHERE stream = ?1 AND subject = ?2";
    if any(work.db, excluded, [&stream.id, &subject.key()])? {
        return Ok(());
    }
    let about = json!({ "format": "complex", "user": subject });
    let words = ask.reason.map(str::trim).filter(|words| !words.is_empty());
    let mut event = json!({
        "event_timestamp": work.now.as_secs(),
        "initiating_entity": initiator(ask.actor),
        "reason_admin": { "en": words.unwrap_or("Signed out everywhere") },
    });
    if stream.wishes.exeunt_subject_in_event == Some(true) {
        event["subject"] = json!(subject);
    }
    let claims = json!({ "txn": ask.txn, "sub_id": about,
            "events": { SESSION_REVOKED: event } });
    put(work, stream, false, claims)
}

fn initiator(actor: &str) -> &'static str {
    match actor.split_once(':') {
        Some(("admin", _)) => "admin",
        Some(("device", _)) => "user",
        _ => "system",
    }
}

/// Streams: one client's, or all.
///
/// # Errors
/// [`StoreError`].
pub(super) fn streams(db: &Connection, client: Option<&str>) -> Result<Vec<Stream>, StoreError> {
    let mut find =
        db.prepare_cached(&format!("{COLUMNS} WHERE ?1 IS NULL OR client = ?1 ORDER BY id"))?;
    let mut rows = find.query([client])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// What waits for a receiver and may go out now, in order; what is about the stream itself first.
///
/// # Errors
/// [`StoreError`].
pub(super) fn waiting(
    db: &Connection,
    stream: &str,
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT stream_log.jti, stream_log.claims FROM stream_log
           JOIN streams ON streams.id = stream_log.stream
         WHERE stream_log.stream = ?1 AND (streams.status = 'enabled' OR stream_log.control = 1)
         ORDER BY stream_log.control DESC, stream_log.pos LIMIT ?2",
    )?;
    let mut rows = find.query(params![stream, limit as u64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let claims: String = row.get(1)?;
        found.push(Waiting { jti: id(row.get(0)?)?, claims: object(&claims)? });
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<Stream, StoreError> {
    let wishes: String = row.get(3)?;
    Ok(Stream {
        id: row.get(0)?,
        client: row.get(1)?,
        aud: row.get(2)?,
        wishes: object(&wishes)?,
        status: meaning(row.get(4)?)?,
        reason: row.get(5)?,
    })
}

fn named(work: &Work<'_>, name: &str) -> Result<Stream, Stop> {
    let found = streams(work.db, None)?.into_iter().find(|stream| stream.id == name);
    found.ok_or_else(|| Refused::UnknownStream.into())
}

fn text(wishes: &Wishes) -> Result<String, StoreError> {
    serde_json::to_string(wishes).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn create(work: &mut Work<'_>, actor: &str, stream: &Stream) -> Result<Done, Stop> {
    if any(work.db, "SELECT 1 FROM streams WHERE client = ?1", [&stream.client])? {
        return Err(Refused::StreamTaken.into());
    }
    work.db
        .prepare_cached(
            "INSERT INTO streams (id, client, aud, wishes, status, reason, created)
             VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6)",
        )?
        .execute(params![
            stream.id,
            stream.client,
            stream.aud,
            text(&stream.wishes)?,
            word(&stream.status),
            work.now.0
        ])?;
    Ok(Done::noted(Reply::Done, noted(actor, "stream-created", stream)))
}

/// What the audit says of a stream: never the header that its pushes carry.
fn noted(actor: &str, action: &'static str, stream: &Stream) -> Note {
    let delivery = stream.wishes.delivery.as_ref();
    Note::new(actor, action).with(json!({
        "stream": stream.id,
        "method": delivery.map(|delivery| &delivery.method),
        "endpoint": delivery.and_then(|delivery| delivery.endpoint_url.as_ref()),
        "status": stream.status,
        "reason": stream.reason,
    }))
}

fn configure(work: &mut Work<'_>, actor: &str, name: &str, wishes: &Wishes) -> Result<Done, Stop> {
    let mut stream = named(work, name)?;
    stream.wishes = wishes.clone();
    work.db
        .prepare_cached("UPDATE streams SET wishes = ?2 WHERE id = ?1")?
        .execute(params![name, text(wishes)?])?;
    let mut done = Done::noted(Reply::Done, noted(actor, "stream-configured", &stream));
    done.effects.streams.push(stream.id);
    Ok(done)
}

fn set_status(
    work: &mut Work<'_>,
    actor: &str,
    name: &str,
    status: Status,
    reason: Option<&str>,
) -> Result<Done, Stop> {
    let mut stream = named(work, name)?;
    if stream.status == status {
        return Ok(Done::silent(Reply::Repeated));
    }
    (stream.status, stream.reason) = (status, reason.map(ToOwned::to_owned));
    work.db
        .prepare_cached("UPDATE streams SET status = ?2, reason = ?3 WHERE id = ?1")?
        .execute(params![name, word(&status), reason])?;
    if status == Status::Disabled {
        let drop = "DELETE FROM stream_log WHERE stream = ?1 AND control = 0";
        work.db.prepare_cached(drop)?.execute([name])?;
    }
    let about = json!({ "format": "opaque", "id": name });
    let mut event = json!({ "status": status });
    if let Some(reason) = reason {
        event["reason"] = json!(reason);
    }
    put(work, &stream, true, json!({ "sub_id": about, "events": { STREAM_UPDATED: event } }))?;
    let mut done = Done::noted(Reply::Done, noted(actor, "stream-status", &stream));
    done.effects.streams.push(stream.id);
    Ok(done)
}

fn delete(work: &mut Work<'_>, actor: &str, name: &str) -> Result<Done, Stop> {
    let stream = named(work, name)?;
    work.db.prepare_cached("DELETE FROM streams WHERE id = ?1")?.execute([name])?;
    let mut done = Done::noted(Reply::Done, noted(actor, "stream-deleted", &stream));
    done.effects.streams.push(stream.id);
    Ok(done)
}

fn include(
    work: &mut Work<'_>,
    actor: &str,
    name: &str,
    subject: &Subject,
    included: bool,
) -> Result<Done, Stop> {
    named(work, name)?;
    let (sql, action) = if included {
        ("DELETE FROM stream_excluded WHERE stream = ?1 AND subject = ?2", "stream-subject-added")
    } else {
        (
            "INSERT OR IGNORE INTO stream_excluded (stream, subject) VALUES (?1, ?2)",
            "stream-subject-removed",
        )
    };
    let changed = work.db.prepare_cached(sql)?.execute(params![name, subject.key()])?;
    if changed == 0 {
        return Ok(Done::silent(Reply::Repeated));
    }
    let note = Note::new(actor, action).of(subject).with(json!({ "stream": name }));
    Ok(Done::noted(Reply::Done, note))
}

fn verify(
    work: &mut Work<'_>,
    actor: &str,
    name: &str,
    state: Option<&str>,
    every_ms: u64,
) -> Result<Done, Stop> {
    let stream = named(work, name)?;
    if stream.status == Status::Disabled {
        return Err(Refused::Contradiction("a disabled stream sends no events").into());
    }
    let last: Option<u64> = work
        .db
        .prepare_cached("SELECT verified FROM streams WHERE id = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?
        .flatten();
    if last.is_some_and(|last| work.now.0.saturating_sub(last) < every_ms) {
        return Err(Refused::RateLimited.into());
    }
    work.db
        .prepare_cached("UPDATE streams SET verified = ?2 WHERE id = ?1")?
        .execute(params![name, work.now.0])?;
    let about = json!({ "format": "opaque", "id": name });
    let event = match state {
        Some(state) => json!({ "state": state }),
        None => json!({}),
    };
    put(work, &stream, false, json!({ "sub_id": about, "events": { VERIFICATION: event } }))?;
    let note = Note::new(actor, "stream-verification").with(json!({ "stream": name }));
    let mut done = Done::noted(Reply::Done, note);
    done.effects.streams.push(stream.id);
    Ok(done)
}

fn taken(
    work: &mut Work<'_>,
    name: &str,
    acked: &[Jti],
    refused: &[(Jti, String)],
) -> Result<Done, Stop> {
    let mut gone =
        work.db.prepare_cached("DELETE FROM stream_log WHERE stream = ?1 AND jti = ?2")?;
    for jti in acked {
        gone.execute(params![name, jti.as_str()])?;
    }
    let mut refusals = Vec::new();
    for (jti, err) in refused {
        if gone.execute(params![name, jti.as_str()])? == 1 {
            refusals.push(json!({ "jti": jti, "err": err }));
        }
    }
    drop(gone);
    let mut done = Done::silent(Reply::Done);
    if !refusals.is_empty() {
        let note = Note::new(format!("stream:{name}"), "stream-set-refused");
        done.note = Some(note.with(json!({ "sets": refusals })));
    }
    Ok(done)
}

/// Puts a SET into a stream: `claims` and what every SET has but its issuer.
fn put(work: &Work<'_>, stream: &Stream, control: bool, mut claims: Value) -> Result<(), Stop> {
    let damaged = |_| StoreError::Damaged("the system gave no randomness".into());
    let jti = exeunt_ssf::new_id(work.now).map_err(damaged)?;
    claims["aud"] = json!(stream.aud);
    claims["jti"] = json!(jti);
    claims["iat"] = json!(work.now.as_secs());
    work.db
        .prepare_cached(
            "INSERT INTO stream_log (stream, jti, control, claims) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![stream.id, jti, control, claims.to_string()])?;
    Ok(())
}
