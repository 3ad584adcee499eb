//! The lock of a whole session: chosen, proved, guarded, and what happens without one.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{LockState, Locker, ProcessId, Processes};
use exeunt_host::locker::{DesktopSession, Fallback, Here, SessionLocker, Way, Wishes};
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_host::sessions;
use exeunt_host::users::Account;
use exeunt_testkit::contract::locker::{LockerRig, all};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::programs::{Started, command_as, need};

const LONG: Duration = Duration::from_secs(20);

/// Accounts of Debian's that nothing runs as: a locker wants one with a name, and the end of a session
/// ends all that runs as its account.
const IDLE: [&str; 8] = ["games", "man", "lp", "mail", "news", "uucp", "proxy", "backup"];

/// An X server without a screen, of an account that has nothing else.
struct Rig {
    locker: SessionLocker,
    session: DesktopSession,
    server: Option<Started>,
    _dir: TempDir,
}

impl Rig {
    fn new(offset: usize, wishes: Wishes) -> Self {
        need("Xvfb", "xvfb");
        need("i3lock", "i3lock");
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_owned();
        let account = if geteuid().is_root() {
            let known = Account::of_name(IDLE[offset]).unwrap();
            std::os::unix::fs::chown(&home, Some(known.uid), Some(known.gid)).unwrap();
            Account { home, ..known }
        } else {
            Account { home, ..Account::of_uid(geteuid().as_raw()).unwrap() }
        };
        let mut command = command_as(&account, "Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp"]);
        let mut server = Started::spawn(command.args(["-noreset", "-ac"]).stdout(Stdio::piped()));
        let display = Some(format!(":{}", server.first_line()));
        let session = DesktopSession { display, ..DesktopSession::of(account) };
        let locker = SessionLocker::new(session.clone(), wishes, Box::new(Here));
        Self { locker, session, server: Some(server), _dir: dir }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command_as(&self.session.account, program);
        command.envs(self.session.environment());
        command
    }

    fn processes(&self) -> LinuxProcesses {
        LinuxProcesses::of_account(&self.session.account, KeepList::default())
    }

    fn lock(&self) -> ProcessId {
        self.locker.lock().unwrap();
        let state = self.locker.wait_locked(LONG);
        assert!(matches!(state, LockState::Locked { .. }), "{state:?}");
        self.locker.started().unwrap()
    }
}

impl LockerRig for Rig {
    fn locker(&self) -> &dyn Locker {
        &self.locker
    }

    fn kill_locker(&self) {
        let process = self.locker.started().expect("a locker was started");
        self.processes().end(&process).unwrap();
        assert_eq!(self.processes().wait_gone(&[process], LONG).unwrap(), []);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The server first: its end tells the guard that the session is over.
        self.server.take();
        if let Some(process) = self.locker.started() {
            let _already_gone = self.processes().end(&process);
        }
    }
}

fn only(name: &str) -> Wishes {
    Wishes { way: Way::named(name), ..Wishes::default() }
}

/// Waits for something that raises no event.
fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_session_locker_keeps_the_contract() {
    // A guard would have the next locker up before the contract can look.
    all(|| Rig::new(0, Wishes { unguarded: true, ..only("i3lock") }));
}

#[test]
fn takes_a_locker_that_is_there_when_nothing_else_fits() {
    let rig = Rig::new(1, Wishes::default());
    let ways: Vec<&str> = rig.locker.ways().into_iter().map(Way::name).collect();
    assert!(ways.contains(&"i3lock"), "{ways:?}");
    assert!(!ways.contains(&"swaylock") && !ways.contains(&"mate"), "{ways:?}");
}

#[test]
fn a_locker_that_is_killed_is_started_again() {
    let rig = Rig::new(2, only("i3lock"));
    let first = rig.lock();
    until("its end", || rig.processes().end(&first).ok());
    let second = until("another locker", || rig.locker.started().filter(|now| *now != first));
    assert_ne!(first, second);
    let state = rig.locker.wait_locked(LONG);
    assert!(matches!(state, LockState::Locked { .. }), "{state:?}");
}

#[test]
fn a_locker_that_no_kill_spares_ends_the_session_at_last() {
    let rig = Rig::new(3, Wishes { fallback: Fallback::EndSession, ..only("i3lock") });
    let mut last = rig.lock();
    let server = rig.server.as_ref().unwrap().0.id();
    let server = LinuxProcesses::identify(server).unwrap().unwrap();
    loop {
        // For a moment it is still root's, on its way to the account.
        until("its end", || rig.processes().end(&last).ok());
        let next = until("a locker, or the end of the session", || {
            let gone = !rig.processes().is_running(&server).unwrap();
            let next = rig.locker.started().filter(|now| *now != last);
            (gone || next.is_some()).then_some(next)
        });
        match next {
            Some(next) => last = next,
            None => break,
        }
    }
    assert!(!rig.processes().is_running(&server).unwrap());
}

#[test]
fn a_server_that_goes_takes_its_locker_along_and_nothing_is_started_again() {
    let mut rig = Rig::new(4, only("i3lock"));
    let first = rig.lock();
    rig.server.take();
    let gone = rig.processes().wait_gone(std::slice::from_ref(&first), LONG).unwrap();
    assert_eq!(gone, []);
    assert_eq!(rig.locker.started(), Some(first));
}

#[test]
fn ends_the_session_only_where_policy_says_so_and_proves_it() {
    let wishes = Wishes { fallback: Fallback::EndSession, ..only("swaylock") };
    let rig = Rig::new(5, wishes);
    let mut sleeper = rig.command("sleep");
    let _sleeper = Started::spawn(sleeper.arg("1000"));
    assert!(rig.locker.lock().is_err(), "swaylock cannot lock an X server");
    let state = rig.locker.wait_locked(Duration::ZERO);
    assert!(matches!(state, LockState::NotProved { .. }), "{state:?}");
    assert!(rig.locker.ends_sessions());
    let ended = rig.locker.end_session(LONG);
    let LockState::Locked { how } = ended else { panic!("{ended:?}") };
    assert!(how.starts_with("session ended: "), "{how}");
    assert!(rig.processes().list().unwrap().iter().all(|process| process.zombie));
    assert!(!Rig::new(6, Wishes::default()).locker.ends_sessions());
}

#[test]
fn ending_a_session_spares_what_it_was_told_to() {
    let rig = Rig::new(7, Wishes::default());
    let mut sleeper = rig.command("sleep");
    let sleeper = Started::spawn(sleeper.arg("1000"));
    let kept = LinuxProcesses::identify(sleeper.0.id()).unwrap().unwrap();
    let keep = KeepList { roots: vec![kept.clone()] };
    let how = sessions::end(&rig.session, &keep, LONG).unwrap();
    assert!(how.contains("1 processes"), "{how}");
    assert!(rig.processes().is_running(&kept).unwrap());
}
