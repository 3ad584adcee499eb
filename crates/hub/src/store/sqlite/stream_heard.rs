//! Transmitters that speak to this hub, and what their SETs cause.
//!
//! It refuses a repeat, a rate beyond the transmitter's own, and any wider reading of whom a SET
//! means.

use exeunt_domain::Subject;
use exeunt_domain::session::{SessionHash, hex};
use exeunt_ssf::normalise::Scope;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::session::{deny, short};
use super::words::{any, meaning, object, word};
use super::{Done, Note, Stop, Work, sign_out};
use crate::store::command::SignOut;
use crate::store::stream::{Act, Heard, Transmitter, actor};
use crate::store::{Refused, Reply, StoreError};

const HOUR_MS: u64 = 3_600_000;

/// Every transmitter.
///
/// # Errors
/// [`StoreError`].
pub(super) fn all(db: &Connection) -> Result<Vec<Transmitter>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT id, issuer, aud, jwks, jwks_uri, issuers, domains, tier_ceiling, rate_per_hour,
           token FROM transmitters ORDER BY id",
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
    })
}

pub(super) fn add(work: &mut Work<'_>, who: &str, it: &Transmitter) -> Result<Done, Stop> {
    if any(work.db, "SELECT 1 FROM transmitters WHERE issuer = ?1", [&it.issuer])? {
        return Err(Refused::TransmitterTaken.into());
    }
    work.db
        .prepare_cached(
            "INSERT INTO transmitters (id, issuer, aud, jwks, jwks_uri, issuers, domains,
               tier_ceiling, rate_per_hour, token, registered)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
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
            work.now.0
        ])?;
    let note = Note::new(who, "transmitter-registered").with(json!({
        "transmitter": it.id, "issuer": it.issuer, "issuers": it.issuers, "domains": it.domains,
        "tier_ceiling": it.tier_ceiling, "rate_per_hour": it.rate_per_hour,
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
        .prepare_cached("UPDATE transmitters SET awaited = ?2 WHERE id = ?1")?
        .execute([transmitter, state])?;
    if changed == 0 {
        return Err(Refused::UnknownTransmitter.into());
    }
    let note = Note::new(who, "verification-awaited").with(json!({ "transmitter": transmitter }));
    Ok(Done::noted(Reply::Done, note))
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
        Act::Verified { state } => verified(work, heard, state.as_deref()),
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
        Act::Refuse { subject: None, .. } | Act::Verified { .. } | Act::Noted(_) => note,
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
    match sign_out::sign_out(work, ask) {
        Ok(mut done) => {
            if let Some(note) = &mut done.note
                && let Some(detail) = note.detail.as_object_mut()
            {
                detail.insert("event".into(), json!(heard.event));
                detail.insert("jti".into(), json!(heard.jti));
            }
            Ok(done)
        }
        Err(Stop::Refused(Refused::UnknownSubject)) => Ok(unresolved(heard, &ask.subject)),
        Err(stop) => Err(stop),
    }
}

/// The SET was received, and nobody here is meant by it: visible, and nobody is signed out.
fn unresolved(heard: &Heard, subject: &Subject) -> Done {
    let note = note(heard, "signal-unresolved").of(subject);
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
    let mut find = work.db.prepare_cached(
        "SELECT hash, idp_sid FROM sessions
         WHERE subject = ?1 AND status = 'active' AND idp_sid IS NOT NULL",
    )?;
    let rows = find.query_map([subject.key()], |row| {
        Ok((SessionHash(row.get(0)?), row.get::<_, String>(1)?))
    })?;
    let live = rows.collect::<Result<Vec<_>, _>>()?;
    drop(find);
    let meant: Vec<_> = live
        .into_iter()
        .filter(|(_, sid)| match scope {
            Scope::All => false,
            Scope::Session(named) => named == sid,
            Scope::Hashed(named) => *named == hex(&Sha256::digest(sid)),
        })
        .map(|(hash, _)| hash)
        .collect();
    if meant.is_empty() {
        return Ok(unresolved(heard, subject));
    }
    let note = note(heard, "session-ended")
        .of(subject)
        .touching(meant.iter().map(short).collect())
        .with(json!({ "event": heard.event, "jti": heard.jti }));
    let mut done = Done::noted(Reply::Done, note);
    for hash in &meant {
        work.db
            .prepare_cached("UPDATE sessions SET status = 'ended', last_seen = ?2 WHERE hash = ?1")?
            .execute(params![hash.0, work.now.0])?;
        deny(work, hash, &mut done)?;
    }
    Ok(done)
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
            .prepare_cached("UPDATE transmitters SET awaited = NULL WHERE id = ?1")?
            .execute([&heard.transmitter])?;
    }
    let detail = json!({ "jti": heard.jti, "asked": state.is_some() });
    Ok(Done::noted(Reply::Done, note(heard, "stream-verified").with(detail)))
}
