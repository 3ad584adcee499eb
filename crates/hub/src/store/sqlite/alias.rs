//! The names that one subject is known by: joined, split, and followed by whatever concerns the
//! subject.
//!
//! It refuses to join what an operator has split, unless an operator does.

use exeunt_api::{Alias, SubjectInfo};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{Subject, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::session::{deny, short};
use super::words::any;
use super::{Done, Note, Stop, Work};
use crate::aliases::Rules;
use crate::store::command::{Join, Split};
use crate::store::{Refused, Reply};

/// Most names of one subject: a join beyond it is refused.
pub(super) const MOST: usize = 64;
/// Most names that a sign-out follows, should rules that were added later make more of them.
const FOLLOWED: usize = 1024;

/// Why a name is one of a subject's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Asked,
    Joined,
    Rule(String),
}

/// Every key of the subject that `asked` is one of; `asked` comes first.
///
/// # Errors
/// [`Refused::TooManyAliases`] beyond what can be followed.
pub(super) fn known_as(db: &Connection, rules: &Rules, asked: &str) -> Result<Vec<String>, Stop> {
    Ok(follow(db, rules, asked)?.into_iter().map(|(key, _)| key).collect())
}

fn follow(db: &Connection, rules: &Rules, asked: &str) -> Result<Vec<(String, How)>, Stop> {
    let mut found = vec![(asked.to_owned(), How::Asked)];
    let mut at = 0;
    while let Some((key, how)) = found.get(at).cloned() {
        at += 1;
        let mut others = Vec::new();
        // Who came by a join has brought everyone of it along.
        if how != How::Joined {
            others.extend(joined(db, &key)?.into_iter().map(|other| (other, How::Joined)));
        }
        let ruled: Vec<_> = rules.same(&key).collect();
        if !ruled.is_empty() && !is_apart(db, &key)? {
            for (rule, other) in ruled {
                if !is_apart(db, &other)? {
                    others.push((other, How::Rule(rule.to_owned())));
                }
            }
        }
        for (other, how) in others {
            if !found.iter().any(|(known, _)| *known == other) {
                found.push((other, how));
            }
        }
        if found.len() > FOLLOWED {
            return Err(Refused::TooManyAliases { most: FOLLOWED }.into());
        }
    }
    Ok(found)
}

fn joined(db: &Connection, key: &str) -> Result<Vec<String>, Stop> {
    let mut find = db.prepare_cached(
        "SELECT others.alias FROM aliases JOIN aliases AS others ON others.subject = aliases.subject
         WHERE aliases.alias = ?1 AND others.alias <> ?1 ORDER BY others.alias",
    )?;
    let found = find.query_map([key], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn is_apart(db: &Connection, key: &str) -> Result<bool, Stop> {
    Ok(any(db, "SELECT 1 FROM aliases_apart WHERE alias = ?1", [key])?)
}

/// The newest sign-out of any of these names: its time and transaction.
pub(super) fn signed_out(
    db: &Connection,
    keys: &[String],
) -> Result<Option<(Timestamp, String)>, Stop> {
    let mut find = db.prepare_cached("SELECT at, txn FROM watermarks WHERE subject = ?1")?;
    let mut newest: Option<(Timestamp, String)> = None;
    for key in keys {
        let mark = find.query_row([key], |row| Ok((Timestamp(row.get(0)?), row.get(1)?)));
        let mark = mark.optional()?;
        newest = newest.max(mark);
    }
    Ok(newest)
}

/// Who says that names are one subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// An operator, who may overrule every split.
    Operator,
    /// An identity provider's ID token.
    IdToken,
    /// A transmitter's SET.
    Set,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Word::Operator => "operator",
            Word::IdToken => "id-token",
            Word::Set => "set",
        }
    }
}

/// Makes these names one subject's, and ends the sessions under each that are older than the last
/// sign-out under another. False: they were one already, or must not become one on this word.
///
/// # Errors
/// [`Refused::TooManyAliases`].
pub(super) fn unite(
    work: &Work<'_>,
    named: &[String],
    word: Word,
    by: &str,
    done: &mut Done,
) -> Result<bool, Stop> {
    let mut keys = named.to_vec();
    let mut freed = 0;
    if word == Word::Operator {
        for key in &keys {
            let sql = "DELETE FROM aliases_apart WHERE alias = ?1";
            freed += work.db.prepare_cached(sql)?.execute([key])?;
        }
    } else {
        let mut free = Vec::new();
        for key in keys {
            if !is_apart(work.db, &key)? {
                free.push(key);
            }
        }
        keys = free;
    }
    let Some((first, others)) = keys.split_first() else { return Ok(false) };
    let known = known_as(work.db, work.rules, first)?;
    if freed == 0 && others.iter().all(|other| known.contains(other)) {
        return Ok(false);
    }
    let mut all = known;
    for other in others {
        for key in known_as(work.db, work.rules, other)? {
            if !all.contains(&key) {
                all.push(key);
            }
        }
    }
    if all.len() > MOST {
        return Err(Refused::TooManyAliases { most: MOST }.into());
    }
    if word != Word::Operator && has_two_of_one_issuer(&all) {
        return Err(Refused::TwoOfOneIssuer.into());
    }
    write(work, &all, word, by)?;
    catch_up(work, &all, done)?;
    Ok(true)
}

/// One issuer has one name for a person: two of them are two people, as when an address was given
/// to somebody new.
fn has_two_of_one_issuer(keys: &[String]) -> bool {
    let mut issuers: Vec<_> =
        keys.iter().filter_map(|key| key.split_once('|')).map(|(issuer, _)| issuer).collect();
    let several = issuers.len();
    issuers.sort_unstable();
    issuers.dedup();
    issuers.len() < several
}

fn write(work: &Work<'_>, keys: &[String], word: Word, by: &str) -> Result<(), Stop> {
    let mut find = work.db.prepare_cached("SELECT subject FROM aliases WHERE alias = ?1")?;
    let mut held: Vec<u64> = Vec::new();
    for key in keys {
        held.extend(find.query_row([key], |row| row.get::<_, u64>(0)).optional()?);
    }
    drop(find);
    let subject = held.iter().copied().min().unwrap_or(work.seq);
    let mut moved = work.db.prepare_cached("UPDATE aliases SET subject = ?2 WHERE subject = ?1")?;
    for other in held.iter().filter(|other| **other != subject) {
        moved.execute(params![other, subject])?;
    }
    let mut insert = work.db.prepare_cached(
        "INSERT OR IGNORE INTO aliases (alias, subject, how, by, at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for key in keys {
        insert.execute(params![key, subject, word.as_str(), by, work.now.0])?;
    }
    Ok(())
}

/// Ends live sessions that are older than the last sign-out of the subject that they now are of.
fn catch_up(work: &Work<'_>, keys: &[String], done: &mut Done) -> Result<(), Stop> {
    let Some((at, txn)) = signed_out(work.db, keys)? else { return Ok(()) };
    let mut find = work.db.prepare_cached(
        "SELECT hash FROM sessions WHERE subject = ?1 AND status = 'active' AND auth_time < ?2",
    )?;
    let mut ended = Vec::new();
    for key in keys {
        let found = find.query_map(params![key, at.0], |row| Ok(SessionHash(row.get(0)?)))?;
        ended.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    drop(find);
    for hash in &ended {
        work.db
            .prepare_cached(
                "UPDATE sessions SET status = 'revoked',
                   revoked_by = (SELECT txn FROM txns WHERE txn = ?2) WHERE hash = ?1",
            )?
            .execute(params![hash.0, txn])?;
        deny(work, hash, done)?;
    }
    if let Some(note) = &mut done.note {
        note.sessions.extend(ended.iter().map(short));
    }
    Ok(())
}

pub(super) fn join(work: &mut Work<'_>, ask: &Join) -> Result<Done, Stop> {
    let keys = [ask.subject.key(), ask.alias.key()];
    if keys[0] == keys[1] {
        return Err(Refused::SameName.into());
    }
    let note = Note::new(&ask.actor, "aliases-joined")
        .of(&ask.subject)
        .because(Some(ask.reason.clone()))
        .with(json!({ "aliases": keys }));
    let mut done = Done::noted(Reply::Done, note);
    if !unite(work, &keys, Word::Operator, &ask.actor, &mut done)? {
        return Ok(Done::silent(Reply::Repeated));
    }
    Ok(done)
}

pub(super) fn split(work: &mut Work<'_>, ask: &Split) -> Result<Done, Stop> {
    let key = ask.alias.key();
    let known = known_as(work.db, work.rules, &key)?;
    let [_, rest @ ..] = known.as_slice() else { return Err(Refused::NoAlias.into()) };
    if rest.is_empty() {
        return Err(Refused::NoAlias.into());
    }
    work.db.prepare_cached("DELETE FROM aliases WHERE alias = ?1")?.execute([&key])?;
    // Nobody is an alias of nobody.
    work.db
        .prepare_cached(
            "DELETE FROM aliases WHERE subject IN
               (SELECT subject FROM aliases GROUP BY subject HAVING count(*) = 1)",
        )?
        .execute([])?;
    work.db
        .prepare_cached("INSERT OR REPLACE INTO aliases_apart (alias, by, at) VALUES (?1, ?2, ?3)")?
        .execute(params![key, ask.actor, work.now.0])?;
    let note = Note::new(&ask.actor, "alias-split")
        .of(&ask.alias)
        .because(Some(ask.reason.clone()))
        .with(json!({ "from": rest }));
    Ok(Done::noted(Reply::Done, note))
}

/// Everything by which a subject is known.
///
/// # Errors
/// [`Stop`].
pub(super) fn info(db: &Connection, rules: &Rules, asked: &Subject) -> Result<SubjectInfo, Stop> {
    let mut aliases = Vec::new();
    let mut sessions = 0;
    for (key, how) in follow(db, rules, &asked.key())? {
        let live: u64 = db
            .prepare_cached(
                "SELECT count(*) FROM sessions WHERE subject = ?1 AND status = 'active'",
            )?
            .query_row([&key], |row| row.get(0))?;
        sessions += live;
        aliases.push(alias(db, key, how)?);
    }
    Ok(SubjectInfo { v: exeunt_api::VERSION, subject: asked.clone(), aliases, sessions })
}

fn alias(db: &Connection, key: String, how: How) -> Result<Alias, Stop> {
    let row: Option<(String, String, u64)> = db
        .prepare_cached("SELECT how, by, at FROM aliases WHERE alias = ?1")?
        .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let marked: Option<u64> = db
        .prepare_cached("SELECT at FROM watermarks WHERE subject = ?1")?
        .query_row([&key], |row| row.get(0))
        .optional()?;
    let (by, at) = row.as_ref().map(|(_, by, at)| (by.clone(), Timestamp(*at))).unzip();
    let how = match (how, row) {
        (How::Asked, None) => "asked".to_owned(),
        (How::Rule(rule), None) => format!("rule:{rule}"),
        (How::Joined, None) => "joined".to_owned(),
        (How::Asked | How::Joined | How::Rule(_), Some((how, _, _))) => how,
    };
    Ok(Alias { alias: key, how, by, at, signed_out: marked.map(Timestamp) })
}

/// What the audit says of a refused join or split.
pub(super) fn note_of_refusal(actor: &str, subject: &Subject) -> Note {
    Note::new(actor, "aliases-refused").of(subject)
}
