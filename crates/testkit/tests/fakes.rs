//! The fakes keep the contracts that the adapters keep.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::cell::Cell;

use exeunt_catalogue::{AgentRule, Base, Edit};

use exeunt_engine::ports::{
    Agents, Bell, Files as _, FilesError, Group, Identity, Journal, JournalRecord, Keychains,
    Locker, Name, ProcessId, Processes as _,
};
use exeunt_testkit::contract::{agents, files, journal, keychains, locker, processes, watch};
use exeunt_testkit::{
    FakeAgents, FakeFiles, FakeJournal, FakeKeychains, FakeLocker, FakeProcesses, FakeWatcher,
};

struct Vault(FakeAgents);

impl agents::AgentsRig for Vault {
    fn agents(&self) -> &dyn Agents {
        &self.0
    }

    fn rule(&self) -> AgentRule {
        let catalogue = exeunt_catalogue::Catalogue::builtin().unwrap();
        let ssh = catalogue.apps().iter().find(|app| app.id.as_str() == "ssh").unwrap();
        ssh.agents[0].clone()
    }

    fn keep(&self) {
        self.0.remember(1);
    }

    fn stop(&self) {
        self.0.stop();
    }
}

#[test]
fn fake_agents_keep_the_contract() {
    agents::all(|| Vault(FakeAgents::new().agent(7, 0)));
}

impl watch::WatchRig for Files {
    type Watcher<'w> = FakeWatcher<'w>;

    fn watcher(&self, bell: Bell, most: usize) -> FakeWatcher<'_> {
        FakeWatcher::new(&self.0, bell, most)
    }
}

#[test]
fn fake_watchers_keep_the_contract() {
    watch::all(|| Files(FakeFiles::new()));
}

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

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// What erasing and quarantining `x` of the home answers.
fn answers(fake: &FakeFiles) -> (Result<u64, FilesError>, Result<(), FilesError>) {
    let home = fake.base(Base::Home).unwrap().unwrap();
    let x = fake.look(&home, &name("x")).unwrap().unwrap();
    let quarantine = fake.open_quarantine(&home, "txn").unwrap();
    let moved = fake.quarantine(&home, &x, &quarantine, &name("0"));
    (fake.erase(&home, &x), moved)
}

#[test]
fn faults_of_fake_files_show_as_on_a_real_disk() {
    let refused = |result: &FilesError| matches!(result, FilesError::Os { .. });
    for fake in [
        FakeFiles::new().file("x", b"").refuse("x"),
        FakeFiles::new().file("x", b"").immutable("x"),
    ] {
        let (erased, moved) = answers(&fake);
        assert!(refused(&erased.unwrap_err()) && refused(&moved.unwrap_err()));
        assert!(fake.exists("x"));
    }
    let (erased, moved) = answers(&FakeFiles::new().dir("x").mount("x"));
    assert!(matches!(erased, Err(FilesError::OtherMount)));
    assert!(matches!(moved, Err(FilesError::OtherMount)));
    let fake = FakeFiles::new().file("x", b"").quarantine_on_another_mount();
    let (erased, moved) = answers(&fake);
    assert!(matches!((erased, moved), (Ok(1), Err(FilesError::OtherMount))));
    let fake = FakeFiles::new().file("x", b"old").swap_before_change("x", b"new");
    let (_, moved) = answers(&fake);
    assert!(matches!(moved, Err(FilesError::IdentityChanged)));
    assert_eq!(fake.content("x"), Some(b"new".to_vec()));
    let fake = FakeFiles::new().without_quarantine();
    let home = fake.base(Base::Home).unwrap().unwrap();
    assert!(fake.open_quarantine(&home, "txn").is_err());
}

#[test]
fn a_refused_name_inside_a_tree_stays_and_the_rest_goes() {
    let fake = FakeFiles::new().file("x/a", b"").file("x/sub/held", b"h").refuse("held");
    let home = fake.base(Base::Home).unwrap().unwrap();
    let x = fake.look(&home, &name("x")).unwrap().unwrap();
    assert!(fake.erase(&home, &x).is_err());
    assert!(fake.exists("x/sub/held") && !fake.exists("x/a"));
}

#[test]
fn rows_of_a_fake_database_go_once_and_its_holder_is_found() {
    let fake = FakeFiles::new().file_with_rows("db", 3).hold(7, "db");
    let home = fake.base(Base::Home).unwrap().unwrap();
    let rows = Edit::Sqlite { table: "t".to_owned(), key_column: None, key_like: Vec::new() };
    let db = fake.look(&home, &name("db")).unwrap().unwrap();
    let processes = FakeProcesses::new().holding(&fake);
    assert_eq!(processes.holders(&[db.identity]).unwrap()[0].process, FakeProcesses::id(7));
    assert_eq!(fake.edit(&home, &db, &rows).unwrap(), 3);
    let db = fake.look(&home, &name("db")).unwrap().unwrap();
    assert_eq!(fake.count_matches(&home, &db, &rows).unwrap(), 0);
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

    fn start_group(&self) -> Option<(Group, ProcessId)> {
        let (process, _) = self.start_holder();
        self.fake.join_group(process.pid, "app");
        Some((Group("app".to_owned()), process))
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

    fn store(&self, label: &str, value: &str) {
        self.0.add(label, &[(self.attribute(), value)], false);
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
