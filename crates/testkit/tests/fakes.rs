//! The fakes keep the contracts that the adapters keep.

use std::cell::Cell;

use exeunt_engine::ports::{
    Identity, Journal, JournalRecord, Keychains, Locker, ProcessId, Processes as _,
};
use exeunt_testkit::contract::{files, journal, keychains, locker, processes};
use exeunt_testkit::{FakeFiles, FakeJournal, FakeKeychains, FakeLocker, FakeProcesses};

struct Files(FakeFiles);

impl files::FilesRig for Files {
    type Files = FakeFiles;

    fn files(&self) -> &FakeFiles {
        &self.0
    }

    fn put(&self, path: &str, content: &[u8]) {
        self.0.put(path, content);
    }

    fn symlink_out(&self, path: &str) {
        self.0.put_symlink(path);
    }

    fn link(&self, path: &str, other: &str) {
        self.0.put_link(path, other);
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.0.content(path)
    }
}

#[test]
fn fake_files_keep_the_contract() {
    files::all(|| Files(FakeFiles::new()));
}

struct Processes {
    fake: FakeProcesses,
    next: Cell<u32>,
}

impl processes::ProcessesRig for Processes {
    type Processes = FakeProcesses;

    fn processes(&self) -> &FakeProcesses {
        &self.fake
    }

    fn start_holder(&self) -> (ProcessId, Identity) {
        let pid = self.next.get();
        self.next.set(pid + 1);
        let file = Identity { dev: 1, ino: u64::from(pid) };
        self.fake.start(pid, &[file]);
        (FakeProcesses::id(pid), file)
    }
}

#[test]
fn fake_processes_keep_the_contract() {
    processes::all(|| Processes { fake: FakeProcesses::new(), next: Cell::new(100) });
}

#[test]
fn a_stubborn_process_outlives_its_end() {
    let fake = FakeProcesses::new().stubborn(7);
    fake.end(&FakeProcesses::id(7)).unwrap();
    assert!(fake.is_running(&FakeProcesses::id(7)).unwrap());
    assert_eq!(fake.asked(), ["end 7"]);
}

impl keychains::KeychainsRig for Chains {
    fn keychains(&self) -> &dyn Keychains {
        &self.0
    }

    fn store(&self, label: &str, attribute: (&str, &str)) {
        self.0.add(label, &[attribute], false);
    }

    fn lock(&self) {
        self.0.lock_all();
    }
}

struct Chains(FakeKeychains);

#[test]
fn fake_keychains_keep_the_contract() {
    keychains::all(|| Chains(FakeKeychains::new()));
}

struct Screen(FakeLocker);

impl locker::LockerRig for Screen {
    fn locker(&self) -> &dyn Locker {
        &self.0
    }

    fn kill_locker(&self) {
        self.0.kill();
    }
}

#[test]
fn fake_locker_keeps_the_contract() {
    locker::all(|| Screen(FakeLocker::new()));
}

struct Memory(FakeJournal);

impl journal::JournalRig for Memory {
    fn journal(&self) -> &dyn Journal {
        &self.0
    }

    fn records(&self) -> Vec<JournalRecord> {
        self.0.records()
    }
}

#[test]
fn fake_journal_keeps_the_contract() {
    journal::all(|| Memory(FakeJournal::new()));
}
