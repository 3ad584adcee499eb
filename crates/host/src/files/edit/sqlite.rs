//! Rows of SQLite databases.
//!
//! It refuses to open the database where it lies, and to run anything that the database brings.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::{Cut, CutError, Scratch};
use crate::files::erase;

/// Which rows go.
pub(super) struct Rows<'a> {
    /// The table; one that is not there has no rows.
    pub(super) table: &'a str,
    /// The column that the patterns are matched against; absent: every row goes.
    pub(super) key_column: Option<&'a str>,
    /// SQL `LIKE` patterns; a row goes if any matches.
    pub(super) key_like: &'a [String],
}

/// Deletes rows from a copy of a database, with its write-ahead log or rollback journal applied
/// first, and rewrites it so that nothing of them is left in free pages.
pub(super) fn cut(
    main: &[u8],
    log: Option<&[u8]>,
    journal: Option<&[u8]>,
    rows: &Rows<'_>,
) -> Result<Cut, CutError> {
    let unusable = |error| CutError::Scratch(std::io::Error::other(error));
    let scratch = Scratch::make().map_err(unusable)?;
    let result = cut_copy(&scratch.path, main, log, journal, rows);
    // The copy is ours alone: whatever it holds goes.
    let owner = crate::users::Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        name: String::new(),
        home: scratch.path.clone(),
    };
    erase::contents(&scratch.dir, &owner, &BTreeSet::new())
        .and_then(|_| erase::remove_dir(&scratch.parent, &scratch.name))
        .map_err(unusable)?;
    result
}

fn cut_copy(
    dir: &Path,
    main: &[u8],
    log: Option<&[u8]>,
    journal: Option<&[u8]>,
    rows: &Rows<'_>,
) -> Result<Cut, CutError> {
    let path = dir.join("db");
    std::fs::write(&path, main)?;
    for (suffix, bytes) in [("db-wal", log), ("db-journal", journal)] {
        if let Some(bytes) = bytes {
            std::fs::write(dir.join(suffix), bytes)?;
        }
    }
    let matches = delete(&path, rows).map_err(|e| CutError::format("SQLite", sqlite_words(&e)))?;
    Ok(Cut { rest: std::fs::read(&path)?, matches })
}

fn delete(path: &Path, rows: &Rows<'_>) -> Result<u64, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    // A database may bring triggers, views and schema tricks: none of them runs here.
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        database.set_db_config(setting, on)?;
    }
    database.execute_batch(
        "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=ON;",
    )?;
    let mode: String = database.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get(0))?;
    if mode != "delete" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    if !has_table(&database, rows.table)? {
        return Ok(0);
    }
    let table = quoted(rows.table);
    let deleted = match rows.key_column {
        None => database.execute(&format!("DELETE FROM {table}"), [])?,
        Some(column) => {
            let column = quoted(column);
            let any: Vec<_> = rows.key_like.iter().map(|_| format!("{column} LIKE ?")).collect();
            if any.is_empty() {
                return Ok(0);
            }
            let sql = format!("DELETE FROM {table} WHERE {}", any.join(" OR "));
            database.execute(&sql, params_from_iter(rows.key_like))?
        }
    };
    if deleted > 0 {
        database.execute_batch("VACUUM")?;
    }
    Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
}

fn has_table(database: &Connection, table: &str) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name=?1 COLLATE NOCASE";
    database.query_row(sql, [table], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The error without text of the database.
fn sqlite_words(error: &rusqlite::Error) -> String {
    error
        .sqlite_error_code()
        .map_or_else(|| "it cannot be read".to_owned(), |code| format!("{code:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    fn seeded(journal_mode: &str) -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let database = Connection::open(dir.path().join("db")).unwrap();
        database.query_row(&format!("PRAGMA journal_mode={journal_mode}"), [], |_| Ok(())).unwrap();
        database
            .execute_batch(
                "CREATE TABLE token_service(service TEXT, token TEXT); CREATE TABLE keep(x TEXT);
                 INSERT INTO token_service VALUES('AccountId-1','s3cret-token'),('other','kept-row');
                 INSERT INTO keep VALUES('kept-value');",
            )
            .unwrap();
        (dir, database)
    }

    #[test]
    fn deletes_rows_that_exist_only_in_the_write_ahead_log() {
        let (dir, _open) = seeded("WAL");
        let main = std::fs::read(dir.path().join("db")).unwrap();
        let log = std::fs::read(dir.path().join("db-wal")).unwrap();
        assert!(!contains(&main, b"s3cret") && contains(&log, b"s3cret"));
        let like = ["AccountId-%".to_owned()];
        let rows = Rows { table: "token_service", key_column: Some("service"), key_like: &like };
        let cut = cut(&main, Some(&log), None, &rows).unwrap();
        assert_eq!(cut.matches, 1);
        assert!(!contains(&cut.rest, b"s3cret"));
        assert!(contains(&cut.rest, b"kept-row") && contains(&cut.rest, b"kept-value"));
    }

    #[test]
    fn a_trigger_of_the_database_does_not_run() {
        let (dir, database) = seeded("DELETE");
        database
            .execute_batch(
                "CREATE TRIGGER again AFTER DELETE ON token_service BEGIN
                 INSERT INTO token_service VALUES(old.service, old.token); END;",
            )
            .unwrap();
        let main = std::fs::read(dir.path().join("db")).unwrap();
        let rows = Rows { table: "token_service", key_column: None, key_like: &[] };
        let cut = cut(&main, None, None, &rows).unwrap();
        assert_eq!(cut.matches, 2);
        assert!(!contains(&cut.rest, b"s3cret"));
    }

    #[test]
    fn a_missing_table_has_no_rows_and_garbage_is_no_database() {
        let (dir, _database) = seeded("DELETE");
        let main = std::fs::read(dir.path().join("db")).unwrap();
        let rows = Rows { table: "no\"such", key_column: None, key_like: &[] };
        assert_eq!(cut(&main, None, None, &rows).unwrap().matches, 0);
        assert!(cut(b"not a database at all, really not one", None, None, &rows).is_err());
    }
}
