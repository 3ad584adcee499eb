//! Real lockers on a real X server without a screen.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{LockState, Locker, Processes};
use exeunt_host::locker::{DesktopSession, LockProgram, NoLocker, X11Locker};
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_host::users::Account;
use exeunt_testkit::contract::locker::{LockerRig, all};
use tempfile::TempDir;

use crate::homes::{STRANGER, is_root};
use crate::programs::{Started, command_as, desktop_account, need};

const LONG: Duration = Duration::from_secs(20);

struct Rig {
    locker: X11Locker,
    session: DesktopSession,
    _server: Started,
    dir: TempDir,
}

impl Rig {
    fn with(program: LockProgram) -> Self {
        need("Xvfb", "xvfb");
        match program {
            LockProgram::I3lock => need("i3lock", "i3lock"),
            LockProgram::Xsecurelock => need("xsecurelock", "xsecurelock"),
            LockProgram::Curtain => need("exeunt-tray", "exeunt-tray"),
        }
        let dir = tempfile::tempdir().unwrap();
        let account = desktop_account(dir.path());
        let authority = dir.path().join("authority");
        std::fs::write(&authority, authority_file(b"0123456789abcdef")).unwrap();
        std::os::unix::fs::chown(&authority, Some(account.uid), None).unwrap();
        let mut server = command_as(&account, "Xvfb");
        server.args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "800x600x24",
            "-nolisten",
            "tcp",
            "-noreset",
            "-auth",
        ]);
        let mut server = Started::spawn(server.arg(&authority).stdout(Stdio::piped()));
        let session = DesktopSession {
            display: Some(format!(":{}", server.first_line())),
            xauthority: Some(authority),
            ..DesktopSession::of(account)
        };
        let locker = X11Locker::new(session.clone(), Some(program));
        Self { locker, session, _server: server, dir }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command_as(&self.session.account, program);
        command.envs(self.session.environment());
        command
    }

    fn type_text(&self, text: &str) {
        let status = self.command("xdotool").args(["type", "--delay", "5", text]).status();
        assert!(status.unwrap().success());
    }
}

impl LockerRig for Rig {
    fn locker(&self) -> &dyn Locker {
        &self.locker
    }

    fn kill_locker(&self) {
        let process = self.locker.started().expect("a locker was started");
        let processes = LinuxProcesses::of_uid(self.session.account.uid, KeepList::default());
        processes.end(&process).unwrap();
        assert_eq!(processes.wait_gone(&[process], LONG).unwrap(), []);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The locker is nobody's child: end it if a failing test left it.
        let processes = LinuxProcesses::of_uid(self.session.account.uid, KeepList::default());
        if let Some(process) = self.locker.started() {
            let _already_gone = processes.end(&process);
        }
    }
}

/// An authority file with one cookie for every display, see Xau(3).
fn authority_file(cookie: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xff];
    for part in [b"".as_slice(), b"", b"MIT-MAGIC-COOKIE-1", cookie] {
        bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

#[test]
fn i3lock_keeps_the_contract() {
    all(|| Rig::with(LockProgram::I3lock));
}

#[test]
fn xsecurelock_keeps_the_contract() {
    all(|| Rig::with(LockProgram::Xsecurelock));
}

#[test]
fn a_locker_is_nobodys_child_and_carries_nothing_of_ours() {
    let rig = Rig::with(LockProgram::I3lock);
    rig.locker.lock().unwrap();
    assert!(matches!(rig.locker.wait_locked(LONG), LockState::Locked { .. }));
    let started = rig.locker.started().unwrap();
    assert!(rig.locker.detect().contains(&started));
    let processes = LinuxProcesses::of_uid(rig.session.account.uid, KeepList::default());
    let listed = processes.list().unwrap().into_iter().find(|process| process.id == started);
    let listed = listed.expect("the locker runs as the account");
    assert_ne!(listed.parent, std::process::id());
    assert!(processes.keep_list().unwrap().contains(&started));
    let env = std::fs::read(format!("/proc/{}/environ", started.pid)).unwrap();
    assert!(!env.windows(6).any(|window| window == b"CARGO_"));
    rig.kill_locker();
}

#[test]
fn a_stopped_locker_is_no_proof() {
    let rig = Rig::with(LockProgram::I3lock);
    rig.locker.lock().unwrap();
    assert!(matches!(rig.locker.wait_locked(LONG), LockState::Locked { .. }));
    let processes = LinuxProcesses::of_uid(rig.session.account.uid, KeepList::default());
    processes.freeze(&rig.locker.started().unwrap()).unwrap();
    assert!(matches!(rig.locker.is_locked(), LockState::NotProved { .. }));
    rig.kill_locker();
}

#[test]
fn what_is_typed_arrives_before_and_after_the_lock_but_not_during() {
    need("xterm", "xterm");
    need("xdotool", "xdotool");
    let rig = Rig::with(LockProgram::I3lock);
    let log = rig.dir.path().join("typed");
    let script = format!("exec cat > {}", log.display());
    let mut xterm = rig.command("xterm");
    let _xterm = Started::spawn(xterm.args(["-e", "sh", "-c", &script]).stdout(Stdio::null()));
    let search = ["search", "--sync", "--onlyvisible", "--class", "xterm", "windowfocus", "--sync"];
    assert!(rig.command("xdotool").args(search).stdout(Stdio::null()).status().unwrap().success());
    rig.type_text("before\n");
    await_text(&log, "before\n");
    rig.locker.lock().unwrap();
    assert!(matches!(rig.locker.wait_locked(LONG), LockState::Locked { .. }));
    rig.type_text("during\n");
    rig.kill_locker();
    assert!(rig.command("xdotool").args(search).stdout(Stdio::null()).status().unwrap().success());
    rig.type_text("after\n");
    await_text(&log, "before\nafter\n");
}

fn await_text(log: &PathBuf, wanted: &str) {
    let until = Instant::now() + LONG;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text == wanted {
            return;
        }
        assert!(Instant::now() < until, "typed {text:?}, wanted {wanted:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_session_without_a_reachable_display_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let account = desktop_account(dir.path());
    for display in [None, Some(":64999"), Some("elsewhere:0")] {
        let session = DesktopSession {
            display: display.map(str::to_owned),
            ..DesktopSession::of(account.clone())
        };
        let locker = X11Locker::new(session, None);
        assert!(matches!(locker.is_locked(), LockState::NotProved { .. }));
        assert!(matches!(locker.wait_locked(Duration::ZERO), LockState::NotProved { .. }));
    }
    assert_eq!(NoLocker.is_locked(), LockState::NoSession);
}

#[test]
fn discovers_the_session_that_an_accounts_processes_tell_of() {
    if !is_root("an account without other processes") {
        return;
    }
    let home = PathBuf::from("/");
    let account = Account { uid: STRANGER + 1, gid: STRANGER + 1, name: "throwaway".into(), home };
    let mut command = command_as(&account, "sleep");
    command.arg("1000").env("DISPLAY", ":4711").env("XAUTHORITY", "/x/y");
    let _first = Started::spawn(&mut command);
    let _second = Started::spawn(&mut command);
    let _other = Started::spawn(command.env("DISPLAY", ":1"));
    let session = DesktopSession::discover(&account).unwrap();
    assert_eq!(session.display.as_deref(), Some(":4711"));
    assert_eq!(session.xauthority, Some(PathBuf::from("/x/y")));
    assert_eq!(session.bus, None);
}
