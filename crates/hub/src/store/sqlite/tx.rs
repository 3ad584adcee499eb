//! A write transaction whose own statements are compiled once, like all others.
//!
//! It refuses to end half done: what was not committed is rolled back.

use rusqlite::Connection;

/// A transaction that holds the write lock from its beginning.
pub(super) struct Tx<'a> {
    db: &'a Connection,
}

impl<'a> Tx<'a> {
    /// Begins one. The exclusive borrow keeps a second one from beginning inside it.
    ///
    /// # Errors
    /// [`rusqlite::Error`] when the lock is not to be had.
    pub(super) fn begin(db: &'a mut Connection) -> Result<Self, rusqlite::Error> {
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { db })
    }

    /// Ends it; what it did is on disk.
    ///
    /// # Errors
    /// [`rusqlite::Error`]; nothing of it is kept then.
    pub(super) fn commit(self) -> Result<(), rusqlite::Error> {
        self.db.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Ends it; nothing of it is kept.
    ///
    /// # Errors
    /// [`rusqlite::Error`].
    pub(super) fn rollback(self) -> Result<(), rusqlite::Error> {
        self.db.prepare_cached("ROLLBACK")?.execute([])?;
        Ok(())
    }
}

impl std::ops::Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(db: &Connection) -> u64 {
        db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn keeps_only_what_was_committed() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (x INTEGER)").unwrap();
        let insert = |tx: &Tx<'_>| tx.execute("INSERT INTO t VALUES (1)", []).unwrap();
        let tx = Tx::begin(&mut db).unwrap();
        insert(&tx);
        tx.commit().unwrap();
        let tx = Tx::begin(&mut db).unwrap();
        insert(&tx);
        tx.rollback().unwrap();
        let tx = Tx::begin(&mut db).unwrap();
        insert(&tx);
        drop(tx);
        assert_eq!(rows(&db), 1);
        assert!(db.is_autocommit());
    }
}
