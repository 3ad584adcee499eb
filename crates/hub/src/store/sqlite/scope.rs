//! Sign-outs that are not about one person everywhere: of a session, of a device, of an application.
//!
//! It refuses an order about several people: that needs approvers. Their sessions end at the hub all
//! the same, and what the device keeps is named.

use std::collections::BTreeSet;

use exeunt_api::{CannotEnd, SessionInfo};
use exeunt_domain::session::{SessionHash, hex};
use exeunt_domain::{DeviceId, Outcome, SessionStatus, Subject, Tier};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::session::{INFO, info, short};
use super::sign_out::{done_before, state, target_of};
use super::words::{any, id, word};
use super::{Done, Note, Stop, Work, log, reached, session, stream};
use crate::store::command::{EndScope, Scope, SignedOut};
use crate::store::{Refused, Reply};

/// Most sessions that end in one transaction; the oldest go first.
const MOST: usize = 10_000;

struct Plan {
    sessions: Vec<(SessionHash, SessionInfo)>,
    /// The device that gets an order, and about whom.
    order: Option<(DeviceId, Subject)>,
    /// How many sessions are beyond what one transaction ends.
    beyond: usize,
    cannot: Vec<CannotEnd>,
    digest: String,
}

impl Plan {
    fn shown(self, seq: u64) -> SignedOut {
        SignedOut {
            txn: None,
            seq,
            aliases: Vec::new(),
            sessions: self.sessions.into_iter().map(|(_, info)| info).collect(),
            devices: self.order.into_iter().map(|(device, _)| device).collect(),
            outcome: Outcome::Requested,
            digest: self.digest,
            cannot: self.cannot,
        }
    }

    /// The one person that all of it is about, if it is one.
    fn subject(&self) -> Option<Subject> {
        let ordered = self.order.as_ref().map(|(_, subject)| subject);
        let mut all: BTreeSet<&Subject> =
            self.sessions.iter().map(|(_, info)| &info.subject).collect();
        ordered.or_else(|| if all.len() == 1 { all.pop_first() } else { None }).cloned()
    }
}

pub(super) fn end(work: &mut Work<'_>, ask: &EndScope) -> Result<Done, Stop> {
    if let Some(earlier) = repeated(work.db, ask)? {
        return Ok(Done::silent(Reply::SignedOut(Box::new(earlier))));
    }
    let plan = plan(work.db, &ask.scope)?;
    if ask.digest.as_ref().is_some_and(|shown| *shown != plan.digest) {
        return Err(Refused::PreviewChanged.into());
    }
    let devices: Vec<_> = plan.order.iter().map(|(device, _)| device.clone()).collect();
    reached::admit(work, &ask.actor, &devices, &ask.limit)?;
    let subject = plan.subject();
    let note = Note::new(&ask.actor, "sign-out")
        .under(&ask.txn)
        .because(ask.reason.clone())
        .touching(plan.sessions.iter().map(|(hash, _)| short(hash)).collect())
        .with(json!({ "tier": Tier::SignOut, "scope": ask.scope.to_string(),
            "devices": devices, "cannot": plan.cannot }));
    let note = Note { subject: subject.as_ref().map(Subject::key), ..note };
    let mut done = Done::noted(Reply::Done, note);
    record(work, ask, subject.as_ref(), &plan.digest)?;
    revoke(work, ask, &plan, &mut done)?;
    if let Some((device, subject)) = &plan.order {
        let order = log::Ordering {
            txn: &ask.txn,
            subject: Some(subject),
            tier: Tier::SignOut,
            reason: ask.reason.as_deref(),
            good_for_ms: ask.good_for_ms,
            quorum: None,
            again: false,
        };
        log::order(work, &order, device, &mut done)?;
    }
    done.effects.changed.push(ask.txn.clone());
    let outcome = state(work.db, &ask.txn)?;
    let txn = Some(ask.txn.clone());
    let shown = SignedOut { txn, outcome, ..plan.shown(work.seq) };
    done.reply = Reply::SignedOut(Box::new(shown));
    Ok(done)
}

/// What it would end.
///
/// # Errors
/// [`Stop`].
pub(super) fn preview(db: &Connection, scope: &Scope, seq: u64) -> Result<SignedOut, Stop> {
    Ok(plan(db, scope)?.shown(seq))
}

/// What the audit says of a refusal.
pub(super) fn note_of_refusal(ask: &EndScope) -> Note {
    Note::new(&ask.actor, "sign-out-refused").under(&ask.txn)
}

fn plan(db: &Connection, scope: &Scope) -> Result<Plan, Stop> {
    let mut cannot = Vec::new();
    let (sessions, order, beyond) = match scope {
        Scope::Session(name) => {
            let one = one_session(db, name)?;
            let order = at_console(db, [&one.1].into_iter(), &mut cannot)?;
            (vec![one], order, 0)
        }
        Scope::Device(device) => {
            let (sessions, beyond) = live(db, "device", device.as_str())?;
            if sessions.is_empty() && !is_device(db, device.as_str())? {
                return Err(Refused::UnknownDevice.into());
            }
            let order = at_console(db, sessions.iter().map(|(_, info)| info), &mut cannot)?;
            (sessions, order, beyond)
        }
        Scope::Application(aud) => {
            if is_device(db, aud)? {
                return Err(Refused::Contradiction("that is a device: name it as one").into());
            }
            let known = "SELECT 1 FROM services WHERE aud = ?1";
            let (sessions, beyond) = live(db, "aud", aud)?;
            if sessions.is_empty() && !any(db, known, [aud])? {
                return Err(Refused::UnknownApplication.into());
            }
            cannot.push(CannotEnd {
                place: aud.clone(),
                what: "what devices keep of it: no device gets an order".into(),
                until: "its people are signed out by name, or approvers agree to a wider order"
                    .into(),
            });
            (sessions, None, beyond)
        }
    };
    if beyond > 0 {
        cannot.push(CannotEnd {
            place: scope.to_string(),
            what: format!("{beyond} younger sessions"),
            until: format!("this is asked again: {MOST} end at a time"),
        });
    }
    let mut hashes: Vec<_> = sessions.iter().map(|(hash, _)| hash.to_hex()).collect();
    hashes.sort_unstable();
    let shown = json!([scope.to_string(), hashes, order, cannot]);
    let digest = hex(&Sha256::digest(shown.to_string()));
    Ok(Plan { sessions, order, beyond, cannot, digest })
}

fn is_device(db: &Connection, name: &str) -> Result<bool, Stop> {
    Ok(any(db, "SELECT 1 FROM devices WHERE id = ?1", [name])?)
}

/// The live sessions whose `column` is `value`, oldest first, and how many more there are.
fn live(
    db: &Connection,
    column: &'static str,
    value: &str,
) -> Result<(Vec<(SessionHash, SessionInfo)>, usize), Stop> {
    // The literal lets the partial indexes be used.
    let sql = format!("SELECT {INFO} FROM sessions WHERE {column} = ?1 AND status = 'active'");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([value])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(info(row)?);
    }
    all.sort_unstable_by_key(|(_, info)| info.seq);
    let beyond = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    Ok((all, beyond))
}

/// The session whose hash begins with these hexadecimal digits.
fn one_session(db: &Connection, name: &str) -> Result<(SessionHash, SessionInfo), Stop> {
    let bound = |fill: char| -> Vec<u8> {
        let padded: String = name.chars().chain(std::iter::repeat(fill)).take(64).collect();
        let digits = padded.as_bytes().chunks(2);
        // Two hexadecimal digits are a byte: the door let nothing else in.
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or("0"), 16);
        digits.map(|pair| byte(pair).unwrap_or_default()).collect()
    };
    let sql = format!("SELECT {INFO} FROM sessions WHERE hash BETWEEN ?1 AND ?2 LIMIT 2");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query(params![bound('0'), bound('f')])?;
    let Some(row) = rows.next()? else { return Err(Refused::UnknownSession.into()) };
    let found = info(row)?;
    if rows.next()?.is_some() {
        return Err(Refused::Ambiguous.into());
    }
    match found.1.status {
        SessionStatus::Active => Ok(found),
        SessionStatus::Ended | SessionStatus::Revoked => Err(Refused::SessionOver.into()),
    }
}

/// The order that closes the consoles among these sessions: one, about one person at one device.
fn at_console<'a>(
    db: &Connection,
    sessions: impl Iterator<Item = &'a SessionInfo>,
    cannot: &mut Vec<CannotEnd>,
) -> Result<Option<(DeviceId, Subject)>, Stop> {
    let at = sessions.filter(|info| info.proof.is_some());
    let people: BTreeSet<_> = at.map(|info| (info.aud.clone(), info.subject.clone())).collect();
    let mut people = people.into_iter();
    match (people.next(), people.len()) {
        (Some((device, subject)), 0) if is_device(db, &device)? => Ok(Some((id(device)?, subject))),
        (None, _) | (Some(_), 0) => Ok(None),
        (Some((device, _)), others) => {
            cannot.push(CannotEnd {
                place: device,
                what: format!(
                    "what the device keeps of {} people: no order goes there, as it would be about \
                     several",
                    others + 1
                ),
                until: "each is signed out by name, or approvers agree to a wider order".into(),
            });
            Ok(None)
        }
    }
}

fn revoke(work: &Work<'_>, ask: &EndScope, plan: &Plan, done: &mut Done) -> Result<(), Stop> {
    let mut update = work.db.prepare_cached(
        "UPDATE sessions SET status = 'revoked', revoked_by = ?2 WHERE hash = ?1",
    )?;
    for (hash, info) in &plan.sessions {
        update.execute(params![hash.0, ask.txn.as_str()])?;
        session::deny(work, hash, done)?;
        match (info.proof, &plan.order) {
            (None, _) => target_of(work, &ask.txn, hash, info, done)?,
            // The device's own target tells of it.
            (Some(_), Some(_)) => {}
            (Some(_), None) => {
                let detail = format!("{}: refused at the hub; no order to the device", info.label);
                settled(work, ask, "session", &short(hash), &detail)?;
            }
        }
    }
    drop(update);
    if let Scope::Application(aud) = &ask.scope {
        work.db
            .prepare_cached(
                "INSERT INTO application_marks (aud, at, txn) VALUES (?1, ?2, ?3)
                 ON CONFLICT (aud) DO UPDATE SET at = max(at, ?2), txn = ?3",
            )?
            .execute(params![aud, work.now.0, ask.txn.as_str()])?;
        let people: BTreeSet<_> = plan.sessions.iter().map(|(_, info)| &info.subject).collect();
        let cause =
            stream::Cause { actor: &ask.actor, txn: &ask.txn, reason: ask.reason.as_deref() };
        stream::tell_audience(work, &cause, aud, &people, done)?;
    }
    if plan.beyond > 0 {
        let detail = format!("{} younger sessions are left: ask again", plan.beyond);
        settled(work, ask, "service", &ask.scope.to_string(), &detail)?;
    }
    Ok(())
}

/// A target of which nothing more is expected, and which was not reached in whole.
fn settled(
    work: &Work<'_>,
    ask: &EndScope,
    kind: &str,
    name: &str,
    detail: &str,
) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO targets (txn, kind, id, outcome, at, detail, answered)
             VALUES (?1, ?2, ?3, 'partial', ?4, ?5, 1)",
        )?
        .execute(params![ask.txn.as_str(), kind, name, work.now.0, detail])?;
    Ok(())
}

/// When an application's sessions were last ended as a whole: an older sign-in begins no new one.
///
/// # Errors
/// [`Stop`].
pub(super) fn application_mark(db: &Connection, aud: &str) -> Result<Option<u64>, Stop> {
    let mut find = db.prepare_cached("SELECT at FROM application_marks WHERE aud = ?1")?;
    Ok(find.query_row([aud], |row| row.get(0)).optional()?)
}

fn record(
    work: &Work<'_>,
    ask: &EndScope,
    subject: Option<&Subject>,
    digest: &str,
) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO txns (txn, seq, at, actor, subject, tier, reason, idempotency_key, digest,
               scope)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            ask.txn.as_str(),
            work.seq,
            work.now.0,
            ask.actor,
            subject.map(Subject::key).unwrap_or_default(),
            word(&Tier::SignOut),
            ask.reason,
            ask.idempotency_key,
            digest,
            ask.scope.to_string()
        ])?;
    Ok(())
}

/// The sign-out that this one repeats under its key.
fn repeated(db: &Connection, ask: &EndScope) -> Result<Option<SignedOut>, Stop> {
    let Some(key) = &ask.idempotency_key else { return Ok(None) };
    type Row = (String, u64, String, Option<String>);
    let found: Option<Row> = db
        .prepare_cached(
            "SELECT txn, seq, digest, scope FROM txns WHERE actor = ?1 AND idempotency_key = ?2",
        )?
        .query_row([&ask.actor, key], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((txn, seq, digest, scope)) = found else { return Ok(None) };
    if scope != Some(ask.scope.to_string()) {
        return Err(Refused::KeyReused.into());
    }
    Ok(Some(done_before(db, id(txn)?, seq, digest)?))
}
