//! Rows of SQLite databases.
//!
//! It refuses to open the database where it lies, and to run anything that the database brings.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::{Cut, CutError, Scratch};
use crate::files::{erase, flags};

/// How long one database may be worked on.
const WITHIN: Duration = Duration::from_secs(30);

/// Which rows go.
pub(super) struct Rows<'a> {
    /// The table; one that is not there has no rows.
    pub(super) table: &'a str,
    /// The column that the patterns are matched against; absent: every row goes.
    pub(super) key_column: Option<&'a str>,
    /// SQL `LIKE` patterns; a row goes if any matches.
    pub(super) key_like: &'a [String],
}

/// A database and what lies beside it.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// The database.
    pub(super) main: &'a [u8],
    /// Its write-ahead log.
    pub(super) log: Option<&'a [u8]>,
    /// Its rollback journal.
    pub(super) journal: Option<&'a [u8]>,
}

/// Deletes rows from a copy of a database, with its write-ahead log or rollback journal applied
/// first, and rewrites it so that nothing of them is left in free pages.
pub(super) fn cut(group: Group<'_>, rows: &Rows<'_>) -> Result<Cut, CutError> {
    let deleting = |database: &Connection| {
        let deleted = rows.each(database, "DELETE", |sql, patterns| {
            database.execute(sql, params_from_iter(patterns))
        })?;
        if deleted > 0 {
            database.execute_batch("VACUUM")?;
            check(database)?;
        }
        Ok(deleted)
    };
    let (matches, rest) = on_copy(group, deleting, |path| std::fs::read(path))?;
    Ok(Cut { rest, matches })
}

/// How many rows [`cut`] would delete.
pub(super) fn count(group: Group<'_>, rows: &Rows<'_>) -> Result<u64, CutError> {
    let counting = |database: &Connection| {
        rows.each(database, "SELECT count(*)", |sql, patterns| {
            let patterns = params_from_iter(patterns);
            let counted: i64 = database.query_row(sql, patterns, |row| row.get(0))?;
            Ok(usize::try_from(counted).unwrap_or_default())
        })
    };
    on_copy(group, counting, |_| Ok(())).map(|(matches, ())| matches)
}

impl Rows<'_> {
    /// Does `run` with the statement that begins with `verb` and means these rows; 0 where there can
    /// be none.
    fn each(
        &self,
        database: &Connection,
        verb: &str,
        run: impl FnOnce(&str, &[String]) -> Result<usize, rusqlite::Error>,
    ) -> Result<usize, rusqlite::Error> {
        if !has_table(database, self.table)? {
            return Ok(0);
        }
        let table = quoted(self.table);
        let Some(column) = self.key_column else {
            return run(&format!("{verb} FROM {table}"), &[]);
        };
        let column = quoted(column);
        let any: Vec<_> = self.key_like.iter().map(|_| format!("{column} LIKE ?")).collect();
        if any.is_empty() {
            return Ok(0);
        }
        run(&format!("{verb} FROM {table} WHERE {}", any.join(" OR ")), self.key_like)
    }
}

/// Works on a private copy of a database, takes what `then` reads of it, and erases it.
fn on_copy<T>(
    group: Group<'_>,
    work: impl FnOnce(&Connection) -> Result<usize, rusqlite::Error>,
    then: impl FnOnce(&Path) -> std::io::Result<T>,
) -> Result<(u64, T), CutError> {
    let unusable = |error| CutError::Scratch(std::io::Error::other(error));
    let scratch = Scratch::make().map_err(unusable)?;
    let path = scratch.path.join("db");
    let result = write_copy(&scratch.path, group).map_err(CutError::from).and_then(|()| {
        let checked = |database: &Connection| check(database).and_then(|()| work(database));
        let matches = open(&path).and_then(|database| in_time(&database, || checked(&database)));
        let matches = matches.map_err(|error| CutError::format("SQLite", sqlite_words(&error)))?;
        Ok((u64::try_from(matches).unwrap_or(u64::MAX), then(&path)?))
    });
    // The copy is ours alone: whatever it holds goes.
    let owner = crate::users::Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        name: String::new(),
        home: scratch.path.clone(),
    };
    let means = erase::Means { owner: &owner, freed: &flags::Freed::default() };
    erase::contents(&scratch.dir, means, &BTreeSet::new())
        .and_then(|_| erase::remove_dir(&scratch.parent, &scratch.name))
        .map_err(unusable)?;
    result
}

fn write_copy(dir: &Path, group: Group<'_>) -> std::io::Result<()> {
    let beside = [("db-wal", group.log), ("db-journal", group.journal)];
    for (name, bytes) in [("db", Some(group.main))].into_iter().chain(beside) {
        if let Some(bytes) = bytes {
            std::fs::write(dir.join(name), bytes)?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
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
    if mode == "delete" { Ok(database) } else { Err(rusqlite::Error::InvalidQuery) }
}

/// Refuses a damaged database: rows that it hides are in the file all the same.
fn check(database: &Connection) -> Result<(), rusqlite::Error> {
    let said: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said == "ok" { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
}

/// Runs `work`, and interrupts the database when that takes too long: what it holds decides how much
/// there is to do.
fn in_time<T>(
    database: &Connection,
    work: impl FnOnce() -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let interrupt = database.get_interrupt_handle();
    let (done, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = move || {
            if ended.recv_timeout(WITHIN) == Err(mpsc::RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        };
        // Without a thread to watch there is no work either.
        std::thread::Builder::new()
            .spawn_scoped(scope, watch)
            .map_err(|_| rusqlite::Error::InvalidQuery)?;
        let result = work();
        drop(done);
        result
    })
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

    fn group<'a>(main: &'a [u8], log: Option<&'a [u8]>) -> Group<'a> {
        Group { main, log, journal: None }
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
        assert_eq!(count(group(&main, Some(&log)), &rows).unwrap(), 1);
        let cut = cut(group(&main, Some(&log)), &rows).unwrap();
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
        assert_eq!(count(group(&main, None), &rows).unwrap(), 2);
        let cut = cut(group(&main, None), &rows).unwrap();
        assert_eq!(cut.matches, 2);
        assert!(!contains(&cut.rest, b"s3cret"));
    }

    #[test]
    fn a_missing_table_has_no_rows_and_garbage_is_no_database() {
        let (dir, _database) = seeded("DELETE");
        let main = std::fs::read(dir.path().join("db")).unwrap();
        let rows = Rows { table: "no\"such", key_column: None, key_like: &[] };
        assert_eq!(cut(group(&main, None), &rows).unwrap().matches, 0);
        assert!(cut(group(b"not a database at all, really not one", None), &rows).is_err());
    }
}
