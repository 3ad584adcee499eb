//! Locking a wlroots compositor (sway and its kin) with `swaylock`.
//!
//! It refuses to call the screen locked before the compositor has told swaylock so, and to look by
//! trying: a second locker would lock the screen.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeunt_engine::ports::{Process, ProcessId, Processes as _};

use super::DesktopSession;
use super::hold::{Ended, Held, Readiness, TELLS_ON};
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};

/// Where programs are looked for. Only root can write there.
const PLACES: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
const PROGRAM: &str = "swaylock";
/// How long the compositor gets to let it lock.
const LOCKED_WITHIN: Duration = Duration::from_millis(2500);
const COLOR: [&str; 2] = ["--color", "10151a"];
/// What swaylock ends with when another locker holds the screen (its `EXIT_FAILURE` is one).
const ANOTHER_LOCKS: i32 = 2;

/// Where `swaylock` is installed.
pub(super) fn program() -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(PROGRAM)).find(|path| path.is_file())
}

/// The locker that the compositor has let lock.
pub(super) struct Locked {
    /// Which process it is.
    pub(super) locker: ProcessId,
    /// Its end and its exit status, when it was started here and says when it is ready.
    pub(super) held: Option<Held>,
}

/// Locks. It is an older locker that holds the screen when the compositor refused ours beside it.
pub(super) fn lock(session: &DesktopSession) -> io::Result<Locked> {
    let program = program().ok_or(io::ErrorKind::NotFound)?;
    let args = [&["--ready-fd", TELLS_ON], COLOR.as_slice()].concat();
    let held = Held::start_teller(session, &program, &args)?;
    match held.wait_ready(LOCKED_WITHIN) {
        Readiness::Ready => Ok(Locked { locker: held.process.clone(), held: Some(held) }),
        Readiness::Ended(Ended::Died(ANOTHER_LOCKS)) => found(session),
        // Before 1.7 it knows no `--ready-fd`.
        Readiness::Ended(Ended::Died(_)) => lock_in_background(session, &program),
        Readiness::Ended(Ended::Itself | Ended::Unknown) => {
            Err(io::Error::other("swaylock ended at once"))
        }
        Readiness::Silent => Err(too_slow(session, &held)),
    }
}

/// `swaylock --daemonize` ends once the screen is locked, and leaves the locker behind (swaylock(1)).
fn lock_in_background(session: &DesktopSession, program: &Path) -> io::Result<Locked> {
    let args = [&["--daemonize"], COLOR.as_slice()].concat();
    let held = Held::start(session, program, &args)?;
    match held.wait(LOCKED_WITHIN) {
        Some(Ended::Itself | Ended::Died(ANOTHER_LOCKS)) => found(session),
        Some(Ended::Died(status)) => {
            Err(io::Error::other(format!("{PROGRAM} ended with status {status}")))
        }
        Some(Ended::Unknown) => Err(io::Error::other("how swaylock ended is unknown")),
        None => Err(too_slow(session, &held)),
    }
}

fn too_slow(session: &DesktopSession, held: &Held) -> io::Error {
    let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
    let _already_gone = processes.end(&held.process);
    io::ErrorKind::TimedOut.into()
}

fn found(session: &DesktopSession) -> io::Result<Locked> {
    let locker = running(session).ok_or_else(|| io::Error::other("swaylock ended at once"))?;
    Ok(Locked { locker, held: None })
}

/// A `swaylock` of root's that runs awake for the account. Its helper for passwords is left out.
fn running(session: &DesktopSession) -> Option<ProcessId> {
    let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
    let listed = processes.list().unwrap_or_default();
    let is_locker = |process: &&Process| {
        !process.zombie && process.exe_root_owned && is_trusted_program(&process.exe, &[PROGRAM])
    };
    let lockers: Vec<&Process> = listed.iter().filter(is_locker).collect();
    let is_helper = |process: &Process| lockers.iter().any(|other| other.id.pid == process.parent);
    // One that went to the background left its password helper without a parent, too; the locker
    // itself was forked after that.
    let leaders = lockers.iter().filter(|process| !is_helper(process));
    let locker = leaders.max_by_key(|process| (process.id.start, process.id.pid))?;
    matches!(processes.is_frozen(&locker.id), Ok(false)).then(|| locker.id.clone())
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
