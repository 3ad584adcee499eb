//! Transmitters that speak to this hub, and what their SETs cause.
//!
//! It refuses a repeat, a rate beyond the transmitter's own, and any wider reading of whom a SET
//! means.

use exeunt_domain::session::{SessionHash, hex};
use exeunt_domain::{Subject, Timestamp};
use exeunt_ssf::normalise::Scope;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::alias::Word;
use super::session::{deny, short};
use super::words::{any, meaning, object, word};
use super::{Done, Note, Stop, Work, alias, sign_out};
use crate::store::command::SignOut;
use crate::store::stream::{Act, Heard, IdpSession, Standing, Transmitter, actor};
use crate::store::{Refused, Reply, StoreError};

const HOUR_MS: u64 = 3_600_000;

/// Every transmitter.
///
/// # Errors
/// [`StoreError`].
pub(super) fn all(db: &Connection) -> Result<Vec<Transmitter>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT id, issuer, aud, jwks, jwks_uri, issuers, domains, tier_ceiling, rate_per_hour,
           token, clients, stream_status, stream_reason, stream_at, awaited_at, verified_at
         FROM transmitters ORDER BY id",
    )?;
    let mut rows = find.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<Transmitter, StoreError> {
    let jwks: Option<String> = row.get(3)?;
    let (issuers, domains): (String, String) = (row.get(5)?, row.get(6)?);
    let clients: String = row.get(10)?;
    let time = |column: usize| row.get::<_, Option<u64>>(column).map(|at| at.map(Timestamp));
    Ok(Transmitter {
        id: row.get(0)?,
        issuer: row.get(1)?,
        aud: row.get(2)?,
        jwks: jwks.as_deref().map(object).transpose()?,
        jwks_uri: row.get(4)?,
        issuers: object(&issuers)?,
        domains: object(&domains)?,
        tier_ceiling: meaning(row.get(7)?)?,
        rate_per_hour: row.get(8)?,
        token: row.get(9)?,
        clients: object(&clients)?,
        stream: Standing {
            status: row.get(11)?,
            reason: row.get(12)?,
            at: time(13)?,
            awaited: time(14)?,
            verified: time(15)?,
        },
    })
}

pub(super) fn add(work: &mut Work<'_>, who: &str, it: &Transmitter) -> Result<Done, Stop> {
    if any(work.db, "SELECT 1 FROM transmitters WHERE issuer = ?1", [&it.issuer])? {
        return Err(Refused::TransmitterTaken.into());
    }
    work.db
        .prepare_cached(
            "INSERT INTO transmitters (id, issuer, aud, jwks, jwks_uri, issuers, domains,
               tier_ceiling, rate_per_hour, token, registered, clients)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            it.id,
            it.issuer,
            it.aud,
            it.jwks.as_ref().map(ToString::to_string),
            it.jwks_uri,
            json!(it.issuers).to_string(),
            json!(it.domains).to_string(),
            word(&it.tier_ceiling),
            it.rate_per_hour,
            it.token,
            work.now.0,
            json!(it.clients).to_string()
        ])?;
    let note = Note::new(who, "transmitter-registered").with(json!({
        "transmitter": it.id, "issuer": it.issuer, "issuers": it.issuers, "domains": it.domains,
        "tier_ceiling": it.tier_ceiling, "rate_per_hour": it.rate_per_hour,
        "clients": it.clients,
    }));
    Ok(Done::noted(Reply::Done, note))
}

pub(super) fn expect(
    work: &mut Work<'_>,
    who: &str,
    transmitter: &str,
    state: &str,
) -> Result<Done, Stop> {
    let changed = work
        .db
        .prepare_cached("UPDATE transmitters SET awaited = ?2, awaited_at = ?3 WHERE id = ?1")?
        .execute(params![transmitter, state, work.now.0])?;
    if changed == 0 {
        return Err(Refused::UnknownTransmitter.into());
    }
    let note = Note::new(who, "verification-awaited").with(json!({ "transmitter": transmitter }));
    Ok(Done::noted(Reply::Done, note))
}

pub(super) fn remove(work: &mut Work<'_>, who: &str, transmitter: &str) -> Result<Done, Stop> {
    for table in ["transmitter_acts", "ended_sids"] {
        work.db
            .prepare_cached(&format!("DELETE FROM {table} WHERE transmitter = ?1"))?
            .execute([transmitter])?;
    }
    let gone =
        work.db.prepare_cached("DELETE FROM transmitters WHERE id = ?1")?.execute([transmitter])?;
    if gone == 0 {
        return Err(Refused::UnknownTransmitter.into());
    }
    let note = Note::new(who, "transmitter-removed").with(json!({ "transmitter": transmitter }));
    Ok(Done::noted(Reply::Done, note))
}

/// What operators must see.
pub(super) fn alarm(transmitter: &str, action: &'static str, why: &str) -> Done {
    Done::noted(Reply::Done, Note::new(actor(transmitter), action).with(json!({ "why": why })))
}

pub(super) fn heard(work: &mut Work<'_>, heard: &Heard) -> Result<Done, Stop> {
    let issuer = actor(&heard.issuer);
    let first = work
        .db
        .prepare_cached("INSERT OR IGNORE INTO seen (iss, jti, at) VALUES (?1, ?2, ?3)")?
        .execute(params![issuer, heard.jti.as_str(), work.now.0])?;
    if first == 0 {
        return Ok(Done::silent(Reply::Repeated));
    }
    match &heard.act {
        Act::SignOut(ask) => everywhere(work, heard, ask),
        Act::Session { subject, scope } => one_session(work, heard, subject, scope),
        Act::IdpSession(ask) => idp_session(work, heard, ask),
        Act::Verified { state } => verified(work, heard, state.as_deref()),
        Act::StreamUpdated { status, reason } => updated(work, heard, status, reason.as_deref()),
        Act::Noted(detail) => {
            let note = note(heard, "signal-noted");
            let detail = json!({ "event": heard.event, "jti": heard.jti, "said": detail });
            Ok(Done::noted(Reply::Done, note.with(detail)))
        }
        Act::Refuse { why, .. } => Err(why.clone().into()),
    }
}

/// What the audit says of a refused SET.
pub(super) fn note_of_refusal(heard: &Heard) -> Note {
    let note = note(heard, "signal-refused");
    match &heard.act {
        Act::SignOut(ask) => note.of(&ask.subject),
        Act::Session { subject, .. } => note.of(subject),
        Act::Refuse { subject: Some(subject), .. } => note.of(subject),
        Act::IdpSession(ask) => match &ask.person {
            Some(person) => note.of(person),
            None => note,
        },
        Act::Refuse { subject: None, .. }
        | Act::Verified { .. }
        | Act::StreamUpdated { .. }
        | Act::Noted(_) => note,
    }
}

fn note(heard: &Heard, action: &'static str) -> Note {
    Note::new(actor(&heard.transmitter), action)
}

fn everywhere(work: &mut Work<'_>, heard: &Heard, ask: &SignOut) -> Result<Done, Stop> {
    let mut ask = ask.clone();
    if let Some(cause) = &heard.cause {
        let known: Option<String> = work
            .db
            .prepare_cached("SELECT subject FROM txns WHERE txn = ?1")?
            .query_row([cause.as_str()], |row| row.get(0))
            .optional()?;
        match known {
            // What two hubs tell each other of one cause comes to an end here.
            Some(subject) if subject == ask.subject.key() => {
                let note = note(heard, "signal-repeated").of(&ask.subject).under(cause);
                return Ok(Done::noted(Reply::Repeated, note));
            }
            Some(_) => {}
            None => ask.txn = cause.clone(),
        }
    }
    within_rate(work, heard)?;
    let ask = &ask;
    let joined = join(work, heard, &ask.subject)?;
    match sign_out::sign_out(work, ask) {
        Ok(mut done) => {
            if let Joined::Not(why) = &joined
                && let Some(detail) =
                    done.note.as_mut().and_then(|note| note.detail.as_object_mut())
            {
                detail.insert("not-joined".into(), json!(why));
            }
            if let Some(note) = &mut done.note
                && let Some(detail) = note.detail.as_object_mut()
            {
                detail.insert("event".into(), json!(heard.event));
                detail.insert("jti".into(), json!(heard.jti));
            }
            Ok(done)
        }
        Err(Stop::Refused(Refused::UnknownSubject)) => Ok(unresolved(heard, Some(&ask.subject))),
        Err(stop) => Err(stop),
    }
}

/// Whether the names that a SET gives a person became one subject's.
enum Joined {
    Yes,
    /// Why not: the sign-out goes by the first name alone.
    Not(String),
}

/// Makes the names of a SET one subject's, if any of them is known here.
fn join(work: &Work<'_>, heard: &Heard, subject: &Subject) -> Result<Joined, Stop> {
    let keys: Vec<_> = std::iter::once(subject).chain(&heard.aliases).map(Subject::key).collect();
    let mut known = false;
    for key in &keys {
        known = known || any(work.db, "SELECT 1 FROM sessions WHERE subject = ?1", [key])?;
    }
    if keys.len() < 2 || !known {
        return Ok(Joined::Yes);
    }
    // What a join ends is ended again, and shown, by the sign-out that follows.
    let mut done = Done::silent(Reply::Done);
    match alias::unite(work, &keys, Word::Set, &actor(&heard.transmitter), &mut done) {
        Ok(_) => Ok(Joined::Yes),
        Err(Stop::Refused(why)) => Ok(Joined::Not(why.to_string())),
        Err(stop) => Err(stop),
    }
}

/// The SET was received, and nobody here is meant by it: visible, and nobody is signed out.
fn unresolved(heard: &Heard, subject: Option<&Subject>) -> Done {
    let note = note(heard, "signal-unresolved");
    let note = match subject {
        Some(subject) => note.of(subject),
        None => note,
    };
    let detail = json!({ "event": heard.event, "jti": heard.jti,
        "why": "no session here is meant by this subject; nobody was signed out" });
    Done::noted(Reply::Unresolved, note.with(detail))
}

fn within_rate(work: &Work<'_>, heard: &Heard) -> Result<(), Stop> {
    let since = work.now.0.saturating_sub(HOUR_MS);
    work.db
        .prepare_cached("DELETE FROM transmitter_acts WHERE transmitter = ?1 AND at <= ?2")?
        .execute(params![heard.transmitter, since])?;
    let recent: u64 = work
        .db
        .prepare_cached("SELECT count(*) FROM transmitter_acts WHERE transmitter = ?1")?
        .query_row([&heard.transmitter], |row| row.get(0))?;
    if recent >= heard.rate_per_hour {
        return Err(Refused::TooManySignals.into());
    }
    work.db
        .prepare_cached("INSERT INTO transmitter_acts (transmitter, at, jti) VALUES (?1, ?2, ?3)")?
        .execute(params![heard.transmitter, work.now.0, heard.jti.as_str()])?;
    Ok(())
}

/// Ends the sessions that came of one session at the identity provider, and no other.
fn one_session(
    work: &mut Work<'_>,
    heard: &Heard,
    subject: &Subject,
    scope: &Scope,
) -> Result<Done, Stop> {
    within_rate(work, heard)?;
    match scope {
        Scope::All => {}
        Scope::Session(named) => remember(work, heard, &hashed(named))?,
        Scope::Hashed(named) => remember(work, heard, named)?,
    }
    join(work, heard, subject)?;
    let mut find = work.db.prepare_cached(
        "SELECT hash, idp_sid FROM sessions
         WHERE subject = ?1 AND status = 'active' AND idp_sid IS NOT NULL",
    )?;
    let mut live = Vec::new();
    for key in alias::known_as(work.db, work.rules, &subject.key())? {
        let rows =
            find.query_map([key], |row| Ok((SessionHash(row.get(0)?), row.get::<_, String>(1)?)))?;
        live.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    drop(find);
    let meant: Vec<_> = live
        .into_iter()
        .filter(|(_, sid)| match scope {
            Scope::All => false,
            Scope::Session(named) => named == sid,
            Scope::Hashed(named) => *named == hashed(sid),
        })
        .map(|(hash, _)| hash)
        .collect();
    if meant.is_empty() {
        return Ok(unresolved(heard, Some(subject)));
    }
    end(work, heard, Some(subject), &meant)
}

/// Ends the sessions that came of one session at the identity provider, whoever of those that the
/// transmitter may speak about they are registered for.
fn idp_session(work: &mut Work<'_>, heard: &Heard, ask: &IdpSession) -> Result<Done, Stop> {
    remember(work, heard, &hashed(&ask.sid))?;
    let mut find = work.db.prepare_cached(
        "SELECT hash, subject FROM sessions WHERE idp_sid = ?1 AND status = 'active'",
    )?;
    let rows =
        find.query_map([&ask.sid], |row| Ok((SessionHash(row.get(0)?), row.get::<_, String>(1)?)))?;
    let live = rows.collect::<Result<Vec<_>, _>>()?;
    drop(find);
    let mut meant = Vec::new();
    let mut whose: Vec<Subject> = Vec::new();
    for (hash, key) in &live {
        let subject = Subject::parse(key)
            .map_err(|error| StoreError::Damaged(format!("a subject: {error}")))?;
        if ask.by.may_speak_about(&subject) && !contradicts(&subject, ask.person.as_ref()) {
            meant.push(*hash);
            whose.push(subject);
        }
    }
    if meant.is_empty() {
        if live.is_empty() {
            return Ok(unresolved(heard, ask.person.as_ref()));
        }
        return Err(Refused::NotItsSubject.into());
    }
    // A log-out that ends nothing here is ordinary, and costs the transmitter nothing.
    within_rate(work, heard)?;
    whose.dedup();
    let one = whose.first().filter(|_| whose.len() == 1);
    end(work, heard, one, &meant)
}

/// Whether the provider's own name for a session's person is another than the one that it said.
fn contradicts(subject: &Subject, said: Option<&Subject>) -> bool {
    match (subject, said) {
        (Subject::IssSub { iss, sub }, Some(Subject::IssSub { iss: by, sub: said })) => {
            iss == by && sub != said
        }
        (_, _) => false,
    }
}

fn end(
    work: &mut Work<'_>,
    heard: &Heard,
    subject: Option<&Subject>,
    meant: &[SessionHash],
) -> Result<Done, Stop> {
    let note = note(heard, "session-ended")
        .touching(meant.iter().map(short).collect())
        .with(json!({ "event": heard.event, "jti": heard.jti }));
    let note = match subject {
        Some(subject) => note.of(subject),
        None => note,
    };
    let mut done = Done::noted(Reply::Done, note);
    for hash in meant {
        work.db
            .prepare_cached("UPDATE sessions SET status = 'ended', last_seen = ?2 WHERE hash = ?1")?
            .execute(params![hash.0, work.now.0])?;
        deny(work, hash, &mut done)?;
    }
    Ok(done)
}

fn hashed(sid: &str) -> String {
    hex(&Sha256::digest(sid))
}

/// Remembers that a session at the provider is over: who registers one of it later is late.
fn remember(work: &Work<'_>, heard: &Heard, sid: &str) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT OR IGNORE INTO ended_sids (sid, transmitter, at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![sid, heard.transmitter, work.now.0])?;
    Ok(())
}

/// Whether somebody who may speak about `subject` said that this session at the provider is over.
pub(super) fn is_over(db: &Connection, sid: &str, subject: &Subject) -> Result<bool, StoreError> {
    let mut find = db.prepare_cached("SELECT transmitter FROM ended_sids WHERE sid = ?1")?;
    let rows = find.query_map([hashed(sid)], |row| row.get::<_, String>(0))?;
    let by = rows.collect::<Result<Vec<_>, _>>()?;
    if by.is_empty() {
        return Ok(false);
    }
    let said = |it: &Transmitter| by.contains(&it.id) && it.may_speak_about(subject);
    Ok(all(db)?.iter().any(said))
}

/// The stream's status changed at the transmitter: operators see it until it says otherwise.
fn updated(
    work: &mut Work<'_>,
    heard: &Heard,
    status: &str,
    reason: Option<&str>,
) -> Result<Done, Stop> {
    work.db
        .prepare_cached(
            "UPDATE transmitters SET stream_status = ?2, stream_reason = ?3, stream_at = ?4
             WHERE id = ?1",
        )?
        .execute(params![heard.transmitter, status, reason, work.now.0])?;
    let action = if status == "enabled" { "stream-enabled" } else { "stream-alarm" };
    let detail = json!({ "status": status, "reason": reason, "jti": heard.jti });
    Ok(Done::noted(Reply::Done, note(heard, action).with(detail)))
}

fn verified(work: &mut Work<'_>, heard: &Heard, state: Option<&str>) -> Result<Done, Stop> {
    if let Some(state) = state {
        let awaited: Option<String> = work
            .db
            .prepare_cached("SELECT awaited FROM transmitters WHERE id = ?1")?
            .query_row([&heard.transmitter], |row| row.get(0))
            .optional()?
            .flatten();
        if awaited.as_deref() != Some(state) {
            return Err(Refused::WrongState.into());
        }
        work.db
            .prepare_cached(
                "UPDATE transmitters SET awaited = NULL, awaited_at = NULL WHERE id = ?1",
            )?
            .execute([&heard.transmitter])?;
    }
    work.db
        .prepare_cached("UPDATE transmitters SET verified_at = ?2 WHERE id = ?1")?
        .execute(params![heard.transmitter, work.now.0])?;
    let detail = json!({ "jti": heard.jti, "asked": state.is_some() });
    Ok(Done::noted(Reply::Done, note(heard, "stream-verified").with(detail)))
}
