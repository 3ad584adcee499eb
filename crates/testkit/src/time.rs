//! A clock that tests move, and a journal that tests read.
//!
//! It refuses to look at the real time.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use exeunt_domain::{Instant, Timestamp};
use exeunt_engine::ports::{Clock, Journal, JournalError, JournalRecord};

/// A clock that stands still until it is moved. Every look at its instant may take a while.
#[derive(Debug)]
pub struct FakeClock {
    wall_ms: AtomicU64,
    boot_us: AtomicU64,
    step_us: u64,
}

impl FakeClock {
    /// A clock at that wall time, in milliseconds since the epoch, one second after boot.
    #[must_use]
    pub fn at(wall_ms: u64) -> Self {
        Self { wall_ms: AtomicU64::new(wall_ms), boot_us: AtomicU64::new(1_000_000), step_us: 0 }
    }

    /// Makes each look at the instant move it by `step_us` microseconds.
    #[must_use]
    pub fn ticking(self, step_us: u64) -> Self {
        Self { step_us, ..self }
    }

    /// Moves both times forward.
    pub fn advance_ms(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.boot_us.fetch_add(ms * 1000, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall_ms.load(Ordering::SeqCst))
    }

    fn instant(&self) -> Instant {
        Instant(self.boot_us.fetch_add(self.step_us, Ordering::SeqCst))
    }
}

/// A journal in memory.
#[derive(Debug, Default)]
pub struct FakeJournal {
    records: Mutex<Vec<JournalRecord>>,
    broken: bool,
}

impl FakeJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A journal whose disk is full.
    #[must_use]
    pub fn broken() -> Self {
        Self { broken: true, ..Self::default() }
    }

    /// What was recorded, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<JournalRecord> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JournalRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for FakeJournal {
    fn record(&self, record: &JournalRecord) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError(io::Error::from(io::ErrorKind::StorageFull)));
        }
        self.lock().push(record.clone());
        Ok(())
    }
}
