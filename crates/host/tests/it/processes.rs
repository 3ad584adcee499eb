//! Real processes, started by the tests and ended by pid.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use exeunt_engine::ports::{Identity, ProcessError, ProcessId, Processes};
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_testkit::contract::processes::{ProcessesRig, all};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::homes::{STRANGER, is_root};
use crate::programs::Started;

struct Rig {
    uid: u32,
    processes: LinuxProcesses,
    dir: TempDir,
    children: RefCell<Vec<Started>>,
}

impl Rig {
    fn own() -> Self {
        Self::of(geteuid().as_raw())
    }

    fn of(uid: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let processes = LinuxProcesses::of_uid(uid, KeepList::default());
        Self { uid, processes, dir, children: RefCell::default() }
    }

    fn spawn(&self, command: &mut Command) -> ProcessId {
        if self.uid != geteuid().as_raw() {
            command.uid(self.uid).gid(self.uid);
        }
        let child = Started::spawn(command);
        let process = identify(&child.0);
        self.children.borrow_mut().push(child);
        process
    }

    fn holds(&self, process: &ProcessId, file: Identity) -> bool {
        let holders = self.processes.holders(&[file]).unwrap();
        holders.iter().any(|holder| holder.process == *process)
    }
}

impl ProcessesRig for Rig {
    type Processes = LinuxProcesses;

    fn processes(&self) -> &LinuxProcesses {
        &self.processes
    }

    fn start_holder(&self) -> (ProcessId, Identity) {
        let path = self.dir.path().join("held");
        let file = File::create(&path).unwrap();
        let process = self.spawn(Command::new("sleep").arg("1000").stdin(file));
        (process, identity(&path))
    }
}

fn identify(child: &Child) -> ProcessId {
    LinuxProcesses::identify(child.id()).unwrap().unwrap()
}

fn identity(path: &Path) -> Identity {
    let metadata = std::fs::metadata(path).unwrap();
    Identity { dev: metadata.dev(), ino: metadata.ino() }
}

#[test]
fn own_processes_keep_the_contract() {
    all(Rig::own);
}

#[test]
fn processes_of_another_account_keep_the_contract_under_root() {
    if is_root("another account's processes") {
        all(|| Rig::of(STRANGER));
    }
}

#[test]
fn finds_who_maps_a_file_and_who_stands_in_a_directory() {
    let rig = Rig::own();
    // A copy of a program is mapped by whoever runs it, and open in no descriptor.
    let program = rig.dir.path().join("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mapped = rig.spawn(Command::new(&program).arg("1000"));
    let deep = rig.dir.path().join("deep");
    std::fs::create_dir(&deep).unwrap();
    let standing = rig.spawn(Command::new("sleep").arg("1000").current_dir(&deep));
    assert!(rig.holds(&mapped, identity(&program)));
    assert!(rig.holds(&standing, identity(&deep)));
    assert!(!rig.holds(&standing, identity(&program)));
}

#[test]
fn finds_a_holder_after_the_file_was_renamed_away_and_unlinked() {
    let rig = Rig::own();
    let (process, file) = rig.start_holder();
    crate::homes::replace(&rig.dir.path().join("held"), &rig.dir.path().join("moved"));
    assert!(rig.holds(&process, file));
    File::create(rig.dir.path().join("new")).unwrap();
    crate::homes::replace(&rig.dir.path().join("new"), &rig.dir.path().join("moved"));
    assert!(rig.holds(&process, file));
}

#[test]
fn a_zombie_counts_as_gone() {
    let rig = Rig::own();
    // Nobody reaps it until the rig is dropped.
    let process = rig.spawn(Command::new("true").stdout(Stdio::null()));
    let processes = &rig.processes;
    let left = processes.wait_gone(std::slice::from_ref(&process), Duration::from_secs(20));
    assert_eq!(left.unwrap(), []);
    assert!(!processes.is_running(&process).unwrap());
    assert!(processes.is_frozen(&process).unwrap());
    let listed = processes.list().unwrap().into_iter().find(|listed| listed.id == process);
    assert!(listed.expect("a zombie is listed").zombie);
}

#[test]
fn tells_programs_arguments_and_environment() {
    let rig = Rig::own();
    let mut command = Command::new("/bin/sleep");
    command.env_clear().env("HOME", "/h").env("XDG_CONFIG_HOME", "/h/c").env("OTHER", "x");
    command.arg("1000");
    let process = rig.spawn(&mut command);
    let listed = rig.processes.list().unwrap();
    let found = listed.iter().find(|listed| listed.id == process).unwrap();
    assert_eq!(found.args, [b"/bin/sleep".to_vec(), b"1000".to_vec()]);
    assert_eq!(found.comm, "sleep");
    assert_eq!(found.parent, std::process::id());
    assert!(found.exe_root_owned && found.exe.ends_with(b"/sleep"));
    let env: Vec<_> = found.env.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
    assert_eq!(env, [("HOME", b"/h".as_slice()), ("XDG_CONFIG_HOME", b"/h/c")]);
}

#[test]
fn spares_itself_its_ancestors_and_the_tray_with_its_children() {
    let rig = Rig::own();
    let mut tray = Command::new("sh");
    tray.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
    let mut tray = Started::spawn(&mut tray);
    let window: u32 = tray.first_line().parse().unwrap();
    let window = LinuxProcesses::identify(window).unwrap().unwrap();
    let root = identify(&tray.0);
    let processes = LinuxProcesses::of_uid(rig.uid, KeepList { roots: vec![root.clone()] });
    let kept = processes.keep_list().unwrap();
    let own = LinuxProcesses::identify(std::process::id()).unwrap().unwrap();
    let parent = LinuxProcesses::identify(std::os::unix::process::parent_id()).unwrap().unwrap();
    for spared in [&own, &parent, &root, &window] {
        assert!(kept.contains(spared), "{spared:?}");
    }
    let stranger = rig.spawn(Command::new("sleep").arg("1000"));
    assert!(!processes.keep_list().unwrap().contains(&stranger));
    processes.end(&window).unwrap();
}

#[test]
fn refuses_to_signal_itself_its_ancestors_and_other_accounts() {
    let rig = Rig::own();
    let processes = &rig.processes;
    let own = LinuxProcesses::identify(std::process::id()).unwrap().unwrap();
    let parent = LinuxProcesses::identify(std::os::unix::process::parent_id()).unwrap().unwrap();
    let init = LinuxProcesses::identify(1).unwrap().unwrap();
    for spared in [own, parent, init] {
        assert!(matches!(processes.freeze(&spared), Err(ProcessError::Os { .. })), "{spared:?}");
    }
    if is_root("another account's processes") {
        let theirs = Rig::of(STRANGER);
        let (process, _) = theirs.start_holder();
        assert!(matches!(processes.end(&process), Err(ProcessError::Os { .. })));
        assert!(theirs.processes.is_running(&process).unwrap());
    }
}

#[test]
fn a_program_that_only_calls_itself_a_locker_is_not_spared() {
    if !is_root("programs of two owners") {
        return;
    }
    let rig = Rig::of(STRANGER);
    let program = rig.dir.path().join("i3lock");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let process = rig.spawn(Command::new(&program).arg("1000"));
    assert!(rig.processes.keep_list().unwrap().contains(&process), "root's own i3lock is spared");
    chown(&program, Some(STRANGER), None).unwrap();
    assert!(!rig.processes.keep_list().unwrap().contains(&process));
    chown(&program, Some(0), None).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(!rig.processes.keep_list().unwrap().contains(&process));
}
