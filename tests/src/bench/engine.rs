//! The raw engine under the hub: the statements of a sign-out, in transactions, and nothing else.
//!
//! It refuses a softer disk or fewer rows than the hub's: the same settings, and the hub's own
//! tables and indices, copied from the record that it serves.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

/// What every sign-out of one session at a relying service writes: a link of the audit chain, the
/// transaction, the watermark, the session's row with its index, the target. The hub looks for
/// more before it writes; here only the session is found, by its index.
const STATEMENTS: [&str; 5] = [
    "INSERT INTO audit (seq, at, actor, action, subject, txn, sessions, detail, hash)
     VALUES (?1, ?1, 'admin:bootstrap', 'sign-out', ?2, ?3, '0123456789abcdef',
       '{\"devices\":[],\"only\":null,\"tier\":\"sign-out\"}', randomblob(32))",
    "INSERT INTO txns (txn, seq, at, actor, subject, tier, digest)
     VALUES (?3, ?1, ?1, 'admin:bootstrap', ?2, 'sign-out', lower(hex(randomblob(32))))",
    "INSERT INTO watermarks (subject, seq, at, txn) VALUES (?2, ?1, ?1, ?3)
     ON CONFLICT (subject) DO UPDATE SET seq = ?1, at = max(at, ?1), txn = ?3",
    "UPDATE sessions SET status = 'revoked', revoked_by = ?3
     WHERE subject = ?2 AND status = 'active' AND ?1 > 0",
    "INSERT INTO targets (txn, kind, id, outcome, at, detail, aud, answered)
     VALUES (?3, 'session', substr(?2, -16), 'contained', ?1,
       'bench: refused at the hub; its own check has not confirmed it yet', 'bench', 1)",
];

/// A database of the bench's own.
pub(super) struct Engine {
    db: Connection,
    /// The last sequence number.
    seq: u64,
}

impl Engine {
    /// In `dir`, with the settings and the tables of the record `hub`.
    pub(super) fn open(dir: &Path, hub: &Path) -> Result<Self> {
        let db = Connection::open(dir.join("engine.db"))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "cache_size", -(16 << 10))?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let record = Connection::open_with_flags(hub, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut find = record.prepare(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'",
        )?;
        let made = find.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        ensure!(!made.is_empty(), "{} has no tables", hub.display());
        db.execute_batch(&made.join(";\n"))?;
        Ok(Self { db, seq: 0 })
    }

    /// Sign-outs a second, `batch` to a transaction. Their sessions are there before.
    pub(super) fn rate(&mut self, batch: usize, transactions: usize) -> Result<f64> {
        let first = self.seq + 1;
        let count = batch * transactions;
        let last = first + u64::try_from(count)? - 1;
        self.register(first, last)?;
        self.seq = last;
        let subjects: Vec<_> = (first..=last).map(|seq| (seq, subject(seq), txn(seq))).collect();
        let begun = Instant::now();
        for some in subjects.chunks(batch) {
            let tx = self.begin()?;
            for (seq, subject, txn) in some {
                for sql in STATEMENTS {
                    tx.prepare_cached(sql)?.execute(params![seq, subject, txn])?;
                }
            }
            tx.commit()?;
        }
        let lasted = begun.elapsed().as_secs_f64();
        let sql = "SELECT count(*) FROM sessions WHERE status = 'revoked'";
        let revoked: u64 = self.db.query_row(sql, [], |row| row.get(0))?;
        ensure!(revoked == last, "{revoked} sessions of {last} were revoked");
        let count = u32::try_from(count).map_or(f64::NAN, f64::from);
        Ok(count / lasted)
    }

    fn register(&self, first: u64, last: u64) -> Result<()> {
        let tx = self.begin()?;
        for seq in first..=last {
            tx.prepare_cached(
                "INSERT INTO sessions (hash, seq, subject, aud, kind, label, place, auth_time,
                   since, last_seen, status)
                 VALUES (randomblob(32), ?1, ?2, 'bench', 'web', 'bench', 'bench', ?1, ?1, ?1,
                   'active')",
            )?
            .execute(params![seq, subject(seq)])?;
        }
        tx.commit()?;
        // As the hub does when it is idle.
        let moved = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        moved.context("the log's pages were not moved")
    }

    fn begin(&self) -> Result<Transaction<'_>> {
        Ok(Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?)
    }
}

fn subject(seq: u64) -> String {
    format!("subject-{seq:08}")
}

/// Time-ordered, as the hub's own.
fn txn(seq: u64) -> String {
    format!("01932c7e-{:04x}-7000-8000-{seq:012x}", seq >> 16)
}
