//! The tables, and their migrations forwards.
//!
//! It refuses a database of a later version than it knows.

use rusqlite::Connection;

use crate::store::StoreError;

/// Each migration leads from the version that is its index to the next.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_connectors.sql"),
    include_str!("schema_streams.sql"),
    include_str!("schema_operators.sql"),
    include_str!("schema_logout.sql"),
    include_str!("schema_restores.sql"),
    include_str!("schema_alarms.sql"),
    include_str!("schema_approvals.sql"),
    include_str!("schema_aliases.sql"),
    include_str!("schema_scopes.sql"),
    include_str!("schema_playbooks.sql"),
    include_str!("schema_sessions.sql"),
    include_str!("schema_residual.sql"),
    include_str!("schema_fewer_pages.sql"),
    include_str!("schema_by_audience.sql"),
    include_str!("schema_lean_log.sql"),
    include_str!("schema_stream_alarms.sql"),
];

/// Brings a database to this program's version, in one transaction.
///
/// # Errors
/// [`StoreError::Damaged`] for a later version; [`StoreError`] when it cannot be written.
pub(super) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let version: usize = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        return Err(StoreError::Damaged(format!(
            "the database has version {version}, and this program knows up to {known}"
        )));
    }
    let tx = db.transaction()?;
    for migration in &MIGRATIONS[version..] {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "user_version", MIGRATIONS.len())?;
    tx.commit()?;
    Ok(())
}
