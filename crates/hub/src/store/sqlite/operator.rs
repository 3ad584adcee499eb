//! Operators and their tokens.
//!
//! It refuses to leave the hub without an administrator whose token does not expire.

use exeunt_api::Role;
use rusqlite::params;
use serde_json::json;

use super::words::any;
use super::{Done, Note, Stop, Work};
use crate::store::{Operator, Refused, Reply};

pub(super) fn add(work: &mut Work<'_>, actor: &str, operator: &Operator) -> Result<Done, Stop> {
    work.db.prepare_cached("DELETE FROM operators WHERE expires <= ?1")?.execute([work.now.0])?;
    let roles: Vec<_> = operator.roles.iter().map(|role| role.as_str()).collect();
    work.db
        .prepare_cached(
            "INSERT INTO operators (token, name, minted, expires, roles)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            operator.token,
            operator.name,
            work.now.0,
            operator.expires.map(|at| at.0),
            roles.join(" ")
        ])?;
    let note = Note::new(actor, "admin-token-minted")
        .with(json!({ "name": operator.name, "roles": roles, "expires": operator.expires }));
    let mut done = Done::noted(Reply::Done, note);
    done.effects.operator = Some(operator.clone());
    Ok(done)
}

pub(super) fn remove(work: &mut Work<'_>, actor: &str, name: &str) -> Result<Done, Stop> {
    if !any(work.db, "SELECT 1 FROM operators WHERE name = ?1", [name])? {
        return Err(Refused::UnknownOperator.into());
    }
    let sql = "SELECT 1 FROM operators
       WHERE name != ?1 AND expires IS NULL AND ' ' || roles || ' ' LIKE '% ' || ?2 || ' %'";
    if !any(work.db, sql, [name, Role::Administrator.as_str()])? {
        return Err(Refused::LastAdministrator.into());
    }
    work.db.prepare_cached("DELETE FROM operators WHERE name = ?1")?.execute([name])?;
    let note = Note::new(actor, "admin-token-removed").with(json!({ "name": name }));
    let mut done = Done::noted(Reply::Done, note);
    done.effects.removed_operator = Some(name.to_owned());
    Ok(done)
}
