//! The set of approvers.
//!
//! It refuses to change once it is in force, but by a quorum of those who are in it.

use std::collections::{BTreeMap, BTreeSet};

use exeunt_api::{ApproverInfo, ApproverList, Matter, NewApprover, VERSION};
use exeunt_domain::{Act, Approvers, Kid, Timestamp};
use exeunt_ssf::PublicJwk;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::words::id;
use super::{Done, Note, Stop, Work, proposal};
use crate::store::approval::{SetApprovers, Wish};
use crate::store::{Refused, Reply, StoreError};

/// Most approvers of a set.
pub(super) const MOST: usize = 32;

pub(super) fn set(work: &mut Work<'_>, ask: &SetApprovers) -> Result<Done, Stop> {
    let now = list(work.db)?;
    let (wanted, needed) = wanted(&now, ask)?;
    let matter = Matter { approvers: wanted.clone(), ..Matter::default() };
    if now.needed.is_some() {
        let approvers = Approvers { keys: keys(&wanted)?, needed };
        let wish = Wish::Change { act: Act::Approvers(approvers), matter };
        return proposal::propose(work, &ask.terms, &wish);
    }
    let needed = ask.needed.map(|_| needed);
    put(work, &wanted, needed)?;
    let action = if needed.is_some() { "approvers-in-force" } else { "approvers-named" };
    let note = Note::new(&ask.terms.by.actor, action)
        .because(ask.terms.reason.clone())
        .with(json!({ "approvers": wanted, "needed": needed }));
    Ok(Done::noted(Reply::Done, note))
}

/// The set as it would be.
fn wanted(now: &ApproverList, ask: &SetApprovers) -> Result<(Vec<NewApprover>, u32), Stop> {
    let had = now.approvers.iter().map(|one| (one.name.clone(), one.x.clone()));
    let mut all: BTreeMap<String, String> = had.collect();
    for name in &ask.remove {
        all.remove(name).ok_or_else(|| Refused::UnknownApprover(name.clone()))?;
    }
    for one in &ask.add {
        all.insert(one.name.clone(), one.x.clone());
    }
    let wanted: Vec<_> = all.into_iter().map(|(name, x)| NewApprover { name, x }).collect();
    let keys = keys(&wanted)?;
    let needed = ask.needed.or(now.needed).unwrap_or(exeunt_domain::approval::USUAL_QUORUM);
    if wanted.len() > MOST || keys.len() != wanted.len() {
        return Err(Refused::Unsound(
            "a set has at most 32 approvers, each with a key of their own",
        )
        .into());
    }
    let in_force = now.needed.is_some() || ask.needed.is_some();
    if in_force && !(Approvers { keys, needed }).is_sound() {
        return Err(Refused::Unsound("more approvals are needed than there are approvers").into());
    }
    Ok((wanted, needed))
}

fn keys(of: &[NewApprover]) -> Result<BTreeSet<Kid>, Stop> {
    let kid = |one: &NewApprover| PublicJwk::from_x(&one.x).map(|key| key.kid().clone());
    let kids = of.iter().map(kid).collect::<Result<_, _>>();
    kids.map_err(|_| Refused::Unsound("a key is no sound Ed25519 key").into())
}

/// Writes the set; with `needed` it is in force.
///
/// # Errors
/// [`Stop`].
pub(super) fn put(work: &Work<'_>, set: &[NewApprover], needed: Option<u32>) -> Result<(), Stop> {
    let before: BTreeMap<_, _> =
        list(work.db)?.approvers.into_iter().map(|one| (one.kid, one.added)).collect();
    work.db.prepare_cached("DELETE FROM approvers")?.execute([])?;
    let mut insert = work
        .db
        .prepare_cached("INSERT INTO approvers (name, kid, x, added) VALUES (?1, ?2, ?3, ?4)")?;
    for (one, kid) in set.iter().map(|one| (one, PublicJwk::from_x(&one.x))) {
        let kid = kid.map_err(|_| Refused::Unsound("a key is no sound Ed25519 key"))?.kid().clone();
        let added = before.get(&kid).copied().unwrap_or(work.now);
        insert.execute(params![one.name, kid.as_str(), one.x, added.0])?;
    }
    if let Some(needed) = needed {
        work.db
            .prepare_cached(
                "INSERT INTO quorum (one, needed, since) VALUES (1, ?1, ?2)
                 ON CONFLICT (one) DO UPDATE SET needed = ?1, since = ?2",
            )?
            .execute(params![needed, work.now.0])?;
        void_tokens(work)?;
    }
    Ok(())
}

/// Tokens that were minted before pin what is no longer so: none of them enrols any more.
pub(super) fn void_tokens(work: &Work<'_>) -> Result<(), Stop> {
    work.db.prepare_cached("DELETE FROM enrol_tokens WHERE used_by IS NULL")?.execute([])?;
    Ok(())
}

/// The set, and how many of it are needed once it is in force.
///
/// # Errors
/// [`StoreError`].
pub(super) fn list(db: &Connection) -> Result<ApproverList, StoreError> {
    let needed = db
        .prepare_cached("SELECT needed FROM quorum")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let mut find = db.prepare_cached("SELECT name, kid, x, added FROM approvers ORDER BY name")?;
    let mut rows = find.query([])?;
    let mut approvers = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, kid, x) = (row.get(0)?, id(row.get(1)?)?, row.get(2)?);
        approvers.push(ApproverInfo { name, kid, x, added: Timestamp(row.get(3)?) });
    }
    Ok(ApproverList { v: VERSION, needed, approvers })
}

/// What a set comes to for whoever pins it. None: it is not in force.
#[must_use]
pub(super) fn pinned(list: &ApproverList) -> Option<Approvers> {
    let keys = list.approvers.iter().map(|one| one.kid.clone()).collect();
    list.needed.map(|needed| Approvers { keys, needed })
}
