//! The journal on a real disk.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use exeunt_engine::ports::{Journal, JournalError, JournalRecord};
use exeunt_host::journal::{FileJournal, ReplayEnd};
use exeunt_testkit::contract::journal::{JournalRig, all};
use tempfile::TempDir;

const ROOM: u64 = 64 * 1024;

struct Rig {
    journal: FileJournal<JournalRecord>,
    dir: TempDir,
}

impl Journal for Rig {
    fn record(&self, record: &JournalRecord) -> Result<(), JournalError> {
        self.journal.record_all(std::slice::from_ref(record))
    }
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = FileJournal::open(&dir.path().join("journal"), ROOM).unwrap();
        Self { journal, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn damage(&self, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }
}

impl JournalRig for Rig {
    fn journal(&self) -> &dyn Journal {
        self
    }

    fn records(&self) -> Vec<JournalRecord> {
        let (_, replay) = FileJournal::open(&self.path(), ROOM).unwrap();
        assert_eq!(replay.end, ReplayEnd::Clean);
        replay.records
    }
}

fn closed(receipt: &str) -> JournalRecord {
    JournalRecord::Closed { receipt: receipt.to_owned() }
}

/// Bytes of a frame that holds `closed("x")`.
fn frame_length() -> u64 {
    8 + u64::try_from(r#"[{"record":"closed","receipt":"x"}]"#.len()).unwrap()
}

#[test]
fn file_journal_keeps_the_contract() {
    all(Rig::new);
}

#[test]
fn takes_its_room_when_it_is_made_and_not_when_it_is_needed() {
    let rig = Rig::new();
    let before = std::fs::metadata(rig.path()).unwrap();
    assert_eq!(before.len(), ROOM);
    assert!(before.blocks() * 512 >= ROOM);
    assert_eq!(before.mode() & 0o777, 0o600);
    rig.record(&closed("x")).unwrap();
    assert_eq!(std::fs::metadata(rig.path()).unwrap().len(), ROOM);
}

#[test]
fn stops_at_a_torn_record_and_writes_over_it() {
    let rig = Rig::new();
    rig.record(&closed("x")).unwrap();
    rig.record(&closed("y")).unwrap();
    // The second record's end never reached the disk.
    rig.damage(2 * frame_length() - 5, &[0; 5]);
    let (journal, replay) = FileJournal::open(&rig.path(), ROOM).unwrap();
    assert_eq!((replay.records, replay.end), (vec![closed("x")], ReplayEnd::Torn));
    journal.record_all(&[closed("z")]).unwrap();
    assert_eq!(rig.records(), [closed("x"), closed("z")]);
}

#[test]
fn reports_a_corrupt_record_and_appends_nothing_until_it_is_rewritten() {
    let rig = Rig::new();
    for receipt in ["x", "y", "z"] {
        rig.record(&closed(receipt)).unwrap();
    }
    rig.damage(frame_length() + 20, b"#");
    let (journal, replay) = FileJournal::open(&rig.path(), ROOM).unwrap();
    assert_eq!(replay.records, [closed("x")]);
    assert_eq!(replay.end, ReplayEnd::Corrupt { at: frame_length() });
    assert!(journal.record_all(&[closed("n")]).is_err());
    let journal = FileJournal::rewrite(&rig.path(), ROOM, &replay.records).unwrap();
    journal.record_all(&[closed("n")]).unwrap();
    assert_eq!(rig.records(), [closed("x"), closed("n")]);
}

#[test]
fn grows_past_its_room_rather_than_losing_a_record() {
    let rig = Rig::new();
    let long = closed(&"r".repeat(usize::try_from(ROOM).unwrap()));
    rig.record(&long).unwrap();
    assert_eq!(rig.records(), [long]);
}

#[test]
fn refuses_a_journal_that_is_a_link() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("target"), b"").unwrap();
    std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join("journal")).unwrap();
    let opened = FileJournal::<JournalRecord>::open(&dir.path().join("journal"), ROOM);
    assert!(opened.is_err());
}

#[test]
fn records_that_belong_together_tear_together() {
    let rig = Rig::new();
    rig.journal.record_all(&[closed("x"), closed("y")]).unwrap();
    assert_eq!(rig.records(), [closed("x"), closed("y")]);
    rig.damage(frame_length() + 10, &[0; 60]);
    let (_, replay) = FileJournal::<JournalRecord>::open(&rig.path(), ROOM).unwrap();
    assert_eq!((replay.records, replay.end), (vec![], ReplayEnd::Torn));
}
