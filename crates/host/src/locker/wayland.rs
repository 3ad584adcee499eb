//! Locking a wlroots compositor (sway and its kin) with `swaylock`.
//!
//! It refuses to call the screen locked before the compositor has told swaylock so, and to look by
//! trying: a second locker would lock the screen.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeunt_engine::ports::{Process, ProcessId, Processes as _};

use super::DesktopSession;
use super::hold::{Ended, Held};
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};

/// Where programs are looked for. Only root can write there.
const PLACES: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
const PROGRAM: &str = "swaylock";
/// `swaylock -f` ends once the screen is locked, and leaves the locker behind (swaylock(1)).
const LOCKED_WITHIN: Duration = Duration::from_millis(2500);

/// Where `swaylock` is installed.
pub(super) fn program() -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(PROGRAM)).find(|path| path.is_file())
}

/// Locks, and returns the locker that the compositor has let lock. It is an older one when the
/// compositor refused ours beside it.
pub(super) fn lock(session: &DesktopSession) -> io::Result<ProcessId> {
    let program = program().ok_or(io::ErrorKind::NotFound)?;
    let held = Held::start(session, &program, &["--daemonize", "--color", "10151a"])?;
    match held.wait(LOCKED_WITHIN) {
        Some(Ended::Itself) => {}
        // Two: another locker holds the screen (swaylock's `EXIT_FAILURE` is one).
        Some(Ended::Died(2)) => {}
        Some(Ended::Died(status)) => {
            return Err(io::Error::other(format!("{PROGRAM} ended with status {status}")));
        }
        Some(Ended::Unknown) => return Err(io::Error::other("how swaylock ended is unknown")),
        None => {
            let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
            let _already_gone = processes.end(&held.process);
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    running(session).ok_or_else(|| io::Error::other("swaylock ended at once"))
}

/// A `swaylock` of root's that runs awake for the account. Its helper for passwords is left out.
pub(super) fn running(session: &DesktopSession) -> Option<ProcessId> {
    let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
    let listed = processes.list().unwrap_or_default();
    let is_locker = |process: &&Process| {
        !process.zombie && process.exe_root_owned && is_trusted_program(&process.exe, &[PROGRAM])
    };
    let lockers: Vec<&Process> = listed.iter().filter(is_locker).collect();
    let is_helper = |process: &Process| lockers.iter().any(|other| other.id.pid == process.parent);
    let mut leaders = lockers.iter().filter(|process| !is_helper(process));
    leaders.find(|p| matches!(processes.is_frozen(&p.id), Ok(false))).map(|p| p.id.clone())
}

/// Whether that locker still holds the screen.
pub(super) fn is_held(session: &DesktopSession, locker: &ProcessId) -> bool {
    let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
    matches!(processes.is_running(locker), Ok(true))
        && matches!(processes.is_frozen(locker), Ok(false))
}

/// Whether the session's compositor still takes clients.
pub(super) fn answers(session: &DesktopSession) -> bool {
    let (Some(dir), Some(name)) = (&session.runtime_dir, &session.wayland_display) else {
        return false;
    };
    let account = &session.account;
    let connect = || std::os::unix::net::UnixStream::connect(dir.join(name)).is_ok();
    crate::users::as_account(account.uid, account.gid, connect).unwrap_or(false)
}
