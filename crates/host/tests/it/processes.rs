//! Real processes, started by the tests and ended by pid.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{Group, Identity, ProcessError, ProcessId, Processes};
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
    // Dropped last: a group goes when nobody is in it any more.
    groups: RefCell<Vec<ControlGroup>>,
}

impl Rig {
    fn own() -> Self {
        Self::of(geteuid().as_raw())
    }

    fn of(uid: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let processes = LinuxProcesses::of_uid(uid, KeepList::default());
        Self { uid, processes, dir, children: RefCell::default(), groups: RefCell::default() }
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

    fn start_group(&self) -> Option<(Group, ProcessId)> {
        if self.uid == geteuid().as_raw() {
            return None;
        }
        let group = ControlGroup::new(self.dir.path())?;
        let process = self.spawn(Command::new("sleep").arg("1000"));
        group.take(&process);
        let named = Group(group.name.clone());
        self.groups.borrow_mut().push(group);
        Some((named, process))
    }
}

/// A control group of this test's own.
struct ControlGroup {
    path: PathBuf,
    name: String,
}

impl ControlGroup {
    /// None where no hierarchy of version 2 is mounted.
    fn new(unique: &Path) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let whole =
            mounts.lines().find(|line| line.contains(" / ") && line.contains(" - cgroup2 "));
        let Some(mount) = whole.and_then(|line| line.split(' ').nth(4)) else {
            eprintln!("skipped: no control groups of version 2 are mounted");
            return None;
        };
        let name = format!("/exeunt-test-{}", unique.file_name().unwrap().to_string_lossy());
        let path = Path::new(mount).join(&name[1..]);
        std::fs::create_dir(&path).unwrap();
        Some(Self { path, name })
    }

    fn take(&self, process: &ProcessId) {
        std::fs::write(self.path.join("cgroup.procs"), process.pid.to_string()).unwrap();
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        // Its last member may be dying still.
        while remove_group(&self.path).is_err() && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a control group of this test's own")]
fn remove_group(path: &Path) -> std::io::Result<()> {
    std::fs::remove_dir(path)
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

/// Says that it is ready, holds what it is given, and waits.
const HOLD: &str = "import signal, sys
held = open(sys.argv[1])
print('ready', flush=True)
while True: signal.pause()";

fn python(before: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-S", "-c", &format!("{before}\n{HOLD}")]);
    command
}

impl Rig {
    /// Starts a program that says when it is ready, holding a file.
    fn start_ready(&self, command: &mut Command) -> (ProcessId, Identity) {
        let path = self.dir.path().join("held");
        File::create(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let process = self.spawn(command.arg(&path).stdout(Stdio::piped()));
        assert_eq!(self.children.borrow_mut().last_mut().unwrap().first_line(), "ready");
        (process, identity(&path))
    }
}

#[test]
fn root_sees_what_is_held_by_one_that_hides_and_by_one_in_a_user_namespace_of_its_own() {
    if !is_root("another account's processes") {
        return;
    }
    let rig = Rig::of(STRANGER);
    let hide = "import ctypes; ctypes.CDLL(None).prctl(4, 0)";
    let (hiding, file) = rig.start_ready(&mut python(hide));
    assert!(rig.holds(&hiding, file));
    let unshare = "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0";
    let (apart, file) = rig.start_ready(&mut python(unshare));
    assert!(rig.holds(&apart, file));
    assert_eq!(rig.processes.hidden().unwrap(), []);
}

#[test]
fn a_group_that_somebody_else_is_in_is_left_alone() {
    if !is_root("control groups") {
        return;
    }
    let rig = Rig::of(STRANGER);
    let Some((group, process)) = rig.start_group() else { return };
    let other = Rig::of(STRANGER + 1);
    let (stranger, _) = other.start_holder();
    rig.groups.borrow()[0].take(&stranger);
    let nobody = BTreeSet::new();
    assert!(!rig.processes.groups(&nobody).unwrap().groups.contains(&group));
    assert!(!rig.processes.freeze_group(&group, &nobody).unwrap());
    assert!(!rig.processes.end_group(&group, &nobody).unwrap());
    for (processes, id) in [(&rig.processes, &process), (&other.processes, &stranger)] {
        assert!(processes.is_running(id).unwrap() && !processes.is_frozen(id).unwrap());
    }
}

#[test]
fn a_process_in_uninterruptible_sleep_is_alive_when_the_deadline_has_passed() {
    if !is_root("a file server that never answers") {
        return;
    }
    let rig = Rig::of(STRANGER);
    let mute = Mute::mount(rig.dir.path());
    let stat = format!("import os, sys\nos.stat({:?})", mute.path.join("x").to_str().unwrap());
    let process = rig.spawn(Command::new("/usr/bin/python3").args(["-S", "-c", &stat]));
    mute.await_request();
    let processes = &rig.processes;
    processes.end(&process).unwrap();
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let alive = processes.wait_gone(std::slice::from_ref(&process), limit).unwrap();
    assert_eq!(alive, std::slice::from_ref(&process));
    // It can be listed and searched meanwhile.
    assert!(processes.list().unwrap().iter().any(|listed| listed.id == process));
    processes.holders(&[Identity { dev: 1, ino: 1 }]).unwrap();
    assert!(!processes.is_frozen(&process).unwrap());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(mute);
    let limit = Duration::from_secs(10);
    assert_eq!(processes.wait_gone(std::slice::from_ref(&process), limit).unwrap(), []);
}

/// A file server that never answers, mounted.
struct Mute {
    path: PathBuf,
    server: RefCell<Started>,
}

impl Mute {
    fn mount(dir: &Path) -> Self {
        let path = dir.join("mute");
        std::fs::create_dir(&path).unwrap();
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-S", "-c", exeunt_testkit::mute::SERVER]).arg(&path);
        let mut server = Started::spawn(command.stdout(Stdio::piped()));
        assert_eq!(server.first_line(), "mounted");
        Self { path, server: RefCell::new(server) }
    }

    fn await_request(&self) {
        assert_eq!(self.server.borrow_mut().first_line(), "asked");
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        // With its server the kernel lets everybody go.
        let server = &mut self.server.get_mut().0;
        let _already_gone = server.kill();
        let _already_reaped = server.wait();
        rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
