//! Sessions that relying services register and end, and their targets' confirmation.
//!
//! It refuses a session whose person authenticated before the subject was signed out.

use exeunt_api::SessionInfo;
use exeunt_check::Delta;
use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionStatus, Subject, Timestamp, Txn};
use rusqlite::{OptionalExtension as _, Row, params};
use serde_json::json;

use super::alias::Word;
use super::words::{id, meaning, word};
use super::{Done, Note, Stop, Work, alias, hold, keyed, scope, stream_heard};
use crate::store::command::Register;
use crate::store::{Refused, Reply, StoreError};

/// How many hexadecimal digits of a hash name a session in lists and audit rows.
const SHORT: usize = 16;

/// How far behind the time may be at which a session was last seen, in milliseconds.
const COARSE_MS: u64 = 120_000;

/// The columns that [`info`] reads.
pub(super) const INFO: &str = "hash, subject, kind, aud, place, label, device, seq, auth_time, \
     since, last_seen, status, proof, revoked_by, expires";

pub(super) fn register(work: &mut Work<'_>, ask: &Register) -> Result<Done, Stop> {
    let subject = ask.subject.key();
    if let Some(seq) = registered(work, ask, &subject)? {
        return Ok(Done::silent(Reply::Registered(seq)));
    }
    let note = Note::new(&ask.actor, "session-registered")
        .of(&ask.subject)
        .touching(vec![short(&ask.session)])
        .with(json!({ "kind": ask.kind }));
    let mut done = Done::noted(Reply::Registered(work.seq), note);
    hear_aliases(work, ask, &mut done)?;
    let keys = alias::known_as(work.db, work.rules, &subject)?;
    if hold::on(work.db, &keys)?.is_some() {
        return Err(Refused::OnHold.into());
    }
    if alias::signed_out(work.db, &keys)?.is_some_and(|(at, _)| ask.auth_time < at) {
        return Err(Refused::StaleAuth.into());
    }
    if scope::application_mark(work.db, &ask.aud)?.is_some_and(|at| ask.auth_time.0 < at) {
        return Err(Refused::StaleAuth.into());
    }
    if let Some(sid) = &ask.idp_sid
        && stream_heard::is_over(work.db, sid, &ask.subject)?
    {
        return Err(Refused::StaleAuth.into());
    }
    work.db
        .prepare_cached(
            "INSERT INTO sessions (hash, seq, subject, aud, kind, device, label, place, idp_sid,
               auth_time, since, last_seen, status, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, 'active', ?12)",
        )?
        .execute(params![
            ask.session.0,
            work.seq,
            subject,
            ask.aud,
            word(&ask.kind),
            ask.device,
            ask.label,
            ask.place,
            ask.idp_sid,
            ask.auth_time.0,
            work.now.0,
            ask.expires.map(|at| at.0)
        ])?;
    Ok(done)
}

/// Joins the names that the identity provider gives the person. What cannot be joined is noted, and
/// the session registered under its own name.
fn hear_aliases(work: &Work<'_>, ask: &Register, done: &mut Done) -> Result<(), Stop> {
    if ask.aliases.len() < 2 {
        return Ok(());
    }
    let keys: Vec<_> = ask.aliases.iter().map(Subject::key).collect();
    let said = match alias::unite(work, &keys, Word::IdToken, &ask.actor, done) {
        Ok(true) => json!({ "kind": ask.kind, "joined": keys }),
        Ok(false) => return Ok(()),
        Err(Stop::Refused(why)) => {
            json!({ "kind": ask.kind, "not-joined": keys, "why": why.to_string() })
        }
        Err(stop) => return Err(stop),
    };
    if let Some(note) = &mut done.note {
        note.detail = said;
    }
    Ok(())
}

/// The sequence of the same registration, made before: a service whose answer was lost asks again.
fn registered(work: &Work<'_>, ask: &Register, subject: &str) -> Result<Option<u64>, Stop> {
    let known: Option<(String, String, u64)> = work
        .db
        .prepare_cached("SELECT subject, status, seq FROM sessions WHERE hash = ?1")?
        .query_row([ask.session.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match known {
        None => Ok(None),
        Some((held, status, seq)) if held == subject && status == "active" => Ok(Some(seq)),
        Some(_) => Err(Refused::SessionTaken.into()),
    }
}

pub(super) fn end(work: &mut Work<'_>, actor: &str, hash: &SessionHash) -> Result<Done, Stop> {
    let found: Option<(String, String)> = work
        .db
        .prepare_cached("SELECT subject, status FROM sessions WHERE hash = ?1")?
        .query_row([hash.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((subject, status)) = found else {
        return Err(Refused::UnknownSession.into());
    };
    if status != word(&SessionStatus::Active) {
        return Ok(Done::silent(Reply::Repeated));
    }
    work.db
        .prepare_cached("UPDATE sessions SET status = 'ended', last_seen = ?2 WHERE hash = ?1")?
        .execute(params![hash.0, work.now.0])?;
    let note = Note {
        subject: Some(subject),
        ..Note::new(actor, "session-ended").touching(vec![short(hash)])
    };
    let mut done = Done::noted(Reply::Done, note);
    deny(work, hash, &mut done)?;
    Ok(done)
}

/// Sessions of a service were in use lately: written only where that is news of some minutes.
pub(super) fn seen(work: &Work<'_>, aud: &str, all: &[SessionHash]) -> Result<Done, Stop> {
    let mut update = work.db.prepare_cached(
        "UPDATE sessions SET last_seen = ?3
         WHERE hash = ?1 AND aud = ?2 AND status = 'active' AND last_seen < ?4",
    )?;
    for hash in all {
        let coarse = work.now.0.saturating_sub(COARSE_MS);
        update.execute(params![hash.0, aud, work.now.0, coarse])?;
    }
    Ok(Done::silent(Reply::Done))
}

/// Ends sessions whose time is over.
pub(super) fn expire(work: &Work<'_>, all: &[SessionHash]) -> Result<Done, Stop> {
    let note = Note::new("hub", "sessions-expired").touching(all.iter().map(short).collect());
    let mut done = Done::noted(Reply::Done, note);
    let mut ended = 0;
    for hash in all {
        let changed = work
            .db
            .prepare_cached(
                "UPDATE sessions SET status = 'ended'
                 WHERE hash = ?1 AND status = 'active' AND expires <= ?2",
            )?
            .execute(params![hash.0, work.now.0])?;
        if changed == 1 {
            ended += 1;
            deny(work, hash, &mut done)?;
        }
    }
    Ok(if ended == 0 { Done::silent(Reply::Repeated) } else { done })
}

/// Sessions whose time is over, and which nobody has ended, at most `limit`.
///
/// # Errors
/// [`StoreError`].
pub(super) fn expired(
    db: &rusqlite::Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<SessionHash>, StoreError> {
    let mut find = db.prepare_cached(
        "SELECT hash FROM sessions WHERE status = 'active' AND expires <= ?1 LIMIT ?2",
    )?;
    let found = find.query_map(params![now.0, limit as u64], |row| Ok(SessionHash(row.get(0)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Denies one session by name.
pub(super) fn deny(work: &Work<'_>, session: &SessionHash, done: &mut Done) -> Result<(), Stop> {
    work.db
        .prepare_cached("INSERT OR IGNORE INTO denials (hash, seq) VALUES (?1, ?2)")?
        .execute(params![session.0, work.seq])?;
    let delta = Delta::Denied { session: *session, seq: work.seq };
    done.effects.deltas.push(keyed(delta, None));
    Ok(())
}

/// Every running check of `aud` holds `seq`: its session targets up to there are verified.
pub(super) fn confirmed(work: &mut Work<'_>, aud: &str, seq: u64) -> Result<Done, Stop> {
    let mut find = work.db.prepare_cached(
        "SELECT DISTINCT targets.txn FROM targets JOIN txns ON txns.txn = targets.txn
         WHERE targets.aud = ?1 AND targets.kind = 'session' AND targets.outcome = 'contained'
           AND txns.seq <= ?2",
    )?;
    let found = find.query_map(params![aud, seq], |row| row.get(0))?;
    let txns = found.collect::<Result<Vec<String>, _>>()?;
    if txns.is_empty() {
        return Ok(Done::silent(Reply::Repeated));
    }
    let mut update = work.db.prepare_cached(
        "UPDATE targets SET outcome = 'verified', at = ?3,
           detail = 'refused at the hub; every check of the service holds the revoke'
         WHERE txn = ?1 AND aud = ?2 AND kind = 'session' AND outcome = 'contained'",
    )?;
    for txn in &txns {
        update.execute(params![txn, aud, work.now.0])?;
    }
    let note =
        Note::new("hub", "check-confirmed").with(json!({ "aud": aud, "seq": seq, "txns": txns }));
    let mut done = Done::noted(Reply::Done, note);
    for txn in txns {
        done.effects.changed.push(id::<Txn>(txn)?);
    }
    Ok(done)
}

/// A session's short name.
pub(super) fn short(hash: &SessionHash) -> String {
    let mut hex = hash.to_hex();
    hex.truncate(SHORT);
    hex
}

/// Reads the columns [`INFO`].
///
/// # Errors
/// [`StoreError`].
pub(super) fn info(row: &Row<'_>) -> Result<(SessionHash, SessionInfo), StoreError> {
    let hash = SessionHash(row.get(0)?);
    let subject: String = row.get(1)?;
    let proof: Option<String> = row.get(12)?;
    let revoked_by: Option<String> = row.get(13)?;
    let info = SessionInfo {
        id: short(&hash),
        subject: Subject::parse(&subject)
            .map_err(|error| StoreError::Damaged(format!("a subject: {error}")))?,
        kind: meaning(row.get(2)?)?,
        aud: row.get(3)?,
        place: row.get(4)?,
        label: row.get(5)?,
        device: row.get(6)?,
        seq: row.get(7)?,
        auth_time: Timestamp(row.get(8)?),
        since: Timestamp(row.get(9)?),
        last_seen: Timestamp(row.get(10)?),
        status: meaning(row.get(11)?)?,
        proof: proof.map(meaning).transpose()?,
        revoked_by: revoked_by.map(id).transpose()?,
        expires: row.get::<_, Option<u64>>(14)?.map(Timestamp),
    };
    Ok((hash, info))
}
