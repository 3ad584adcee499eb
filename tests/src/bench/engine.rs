//! The raw engine under the hub: the rows of a sign-out, in transactions, and nothing else.
//!
//! It refuses a softer disk than the hub's: the same journal, the same sync, the same directory.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::{Connection, params};

/// As many rows and keys as a sign-out of one session leaves: a link of the audit chain, the
/// transaction, the watermark, the session and its index, the target.
const TABLES: &str = "
    CREATE TABLE audit (seq INTEGER PRIMARY KEY, text TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
    CREATE TABLE txns (txn TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE watermarks (subject TEXT PRIMARY KEY, seq INTEGER) STRICT, WITHOUT ROWID;
    CREATE TABLE sessions (hash TEXT PRIMARY KEY, subject TEXT, status TEXT) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_subject ON sessions(subject, status);
    CREATE TABLE targets (txn TEXT, id TEXT, text TEXT, PRIMARY KEY (txn, id)) STRICT, WITHOUT ROWID;
";

/// A database of the bench's own.
pub(super) struct Engine {
    db: Connection,
}

impl Engine {
    /// In `dir`, with the hub's own settings.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let db = Connection::open(dir.join("engine.db"))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.execute_batch(TABLES)?;
        Ok(Self { db })
    }

    /// Sign-outs a second, `batch` to a transaction.
    pub(super) fn rate(&self, batch: usize, transactions: usize) -> Result<f64> {
        let text = "x".repeat(300);
        let begun = Instant::now();
        for _ in 0..transactions {
            let tx = self.db.unchecked_transaction()?;
            for _ in 0..batch {
                self.one(&text)?;
            }
            tx.commit()?;
        }
        let count = u32::try_from(batch * transactions).map_or(f64::NAN, f64::from);
        Ok(count / begun.elapsed().as_secs_f64())
    }

    fn one(&self, text: &str) -> Result<()> {
        let key = self.db.prepare_cached("SELECT hex(randomblob(16))")?;
        let name: String = { key }.query_row([], |row| row.get(0))?;
        for sql in [
            "INSERT INTO audit (text, hash) VALUES (?1 || ?2, randomblob(32))",
            "INSERT INTO txns VALUES (?1, ?2)",
            "INSERT INTO watermarks VALUES (?1, length(?2))",
            "INSERT INTO sessions VALUES (?1, ?1 || substr(?2, 1, 8), 'revoked')",
            "INSERT INTO targets VALUES (?1, ?1, ?2)",
        ] {
            self.db.prepare_cached(sql)?.execute(params![name, text])?;
        }
        Ok(())
    }
}
