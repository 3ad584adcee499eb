//! The contract of [`Journal`].
//!
//! It refuses records out of order.

use exeunt_engine::ports::{Journal, JournalRecord};

/// A journal, and what it holds.
pub trait JournalRig {
    /// The implementation.
    fn journal(&self) -> &dyn Journal;
    /// What a reader finds after a crash now.
    fn records(&self) -> Vec<JournalRecord>;
}

/// Runs the whole contract.
pub fn all<R: JournalRig>(make: impl Fn() -> R) {
    let rig = make();
    assert_eq!(rig.records(), []);
    let records = [
        JournalRecord::Fenced { at_ms: 1.5 },
        JournalRecord::Closed { receipt: "a.b.c".to_owned() },
    ];
    for (index, record) in records.iter().enumerate() {
        rig.journal().record(record).expect("is durable");
        assert_eq!(rig.records(), records[..=index]);
    }
}
