//! Ending a login session, and proving that it is gone.
//!
//! It refuses to end the session that it runs in, and to call one ended while a process of it lives.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use exeunt_engine::ports::{Process, ProcessError, ProcessId, Processes as _};

use crate::locker::DesktopSession;
use crate::locker::logind::{self, Login};
use crate::process::{KeepList, LinuxProcesses, Pinned, is_trusted_program};

/// Our own programs of the account: they tell of the end.
const OURS: [&str; 3] = ["exeunt-warden", "exeunt-agent", "exeunt"];
/// logind tells by a signal that may be lost: how long to wait before asking again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long processes get to end by themselves once logind has told them.
const BY_ITSELF: Duration = Duration::from_secs(2);

/// Why a session was not ended, or not provably.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// This process would end with it.
    #[error("this program runs in that session itself")]
    OwnSession,
    /// Without logind, everything of the account would be ended, and the account is root's.
    #[error("root has processes that belong to no session")]
    Root,
    /// logind failed.
    #[error("logind: {0}")]
    Logind(String),
    /// The processes could not be listed or ended.
    #[error(transparent)]
    Processes(#[from] ProcessError),
    /// Some live on.
    #[error("{0} of its processes live on")]
    Alive(usize),
    /// logind still has it.
    #[error("logind still has session {0}")]
    StillThere(String),
    /// The account has a session on the same screen again.
    #[error("the account was signed in again, as session {0}")]
    Again(String),
}

/// Ends the login session behind `session`: by logind when logind knows it, else by ending the
/// account's processes but for those that `keep` names and our own. Returns the proof, in words.
///
/// # Errors
/// [`EndError`], also when it was ended and that is not proved.
pub fn end(session: &DesktopSession, keep: &KeepList, limit: Duration) -> Result<String, EndError> {
    let until = Instant::now() + limit;
    match logind::find(session).map_err(|error| EndError::Logind(error.to_string()))? {
        Some(login) => end_login(session, &login, until),
        None if session.account.uid == 0 => Err(EndError::Root),
        None => end_processes(session, keep, until),
    }
}

fn end_login(session: &DesktopSession, login: &Login, until: Instant) -> Result<String, EndError> {
    if is_in_scope(std::process::id(), &login.scope) {
        return Err(EndError::OwnSession);
    }
    let processes = LinuxProcesses::of_account(&session.account, KeepList::default());
    let members = members(&processes, session, login)?;
    let failed = |error: crate::locker::bus::BusError| EndError::Logind(error.to_string());
    logind::terminate(login).map_err(failed)?;
    processes.wait_gone(&members, left(until).min(BY_ITSELF))?;
    let count = members.len();
    end_all(&processes, until, || self::members(&processes, session, login))?;
    while logind::is_there(login).map_err(failed)? {
        if left(until).is_zero() {
            return Err(EndError::StillThere(login.id.clone()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    if let Some(again) = logind::find(session).map_err(failed)? {
        return Err(EndError::Again(again.id));
    }
    Ok(format!(
        "logind has no session {} any more, and none of its {count} processes lives",
        login.id
    ))
}

fn end_processes(
    session: &DesktopSession,
    keep: &KeepList,
    until: Instant,
) -> Result<String, EndError> {
    let processes = LinuxProcesses::of_account(&session.account, keep.clone());
    let above = lineage();
    let wanted = || -> Result<Vec<ProcessId>, EndError> {
        let listed = processes.list()?.into_iter().filter(|process| {
            let ours = is_trusted_program(&process.exe, &OURS) || above.contains(&process.id.pid);
            !process.zombie && !ours && !keep.roots.contains(&process.id)
        });
        Ok(listed.map(|process| process.id).collect())
    };
    let count = wanted()?.len();
    end_all(&processes, until, wanted)?;
    Ok(format!("none of the account's {count} processes lives"))
}

/// Ends what `wanted` lists until it lists nothing.
fn end_all(
    processes: &LinuxProcesses,
    until: Instant,
    wanted: impl Fn() -> Result<Vec<ProcessId>, EndError>,
) -> Result<(), EndError> {
    loop {
        let alive = wanted()?;
        if alive.is_empty() {
            return Ok(());
        }
        if left(until).is_zero() {
            return Err(EndError::Alive(alive.len()));
        }
        for process in &alive {
            processes.end(process)?;
        }
        processes.wait_gone(&alive, left(until))?;
    }
}

/// The account's processes in the session's control group, or on its screen.
fn members(
    processes: &LinuxProcesses,
    session: &DesktopSession,
    login: &Login,
) -> Result<Vec<ProcessId>, EndError> {
    let above = lineage();
    let listed = processes.list()?.into_iter().filter(|process| {
        !process.zombie
            && !above.contains(&process.id.pid)
            && (is_in_scope(process.id.pid, &login.scope) || is_on_screen(process, session))
    });
    Ok(listed.map(|process| process.id).collect())
}

/// A service of the account's own manager lives outside the session's control group.
fn is_on_screen(process: &Process, session: &DesktopSession) -> bool {
    let Ok(Some(pinned)) = Pinned::open(process.id.pid) else { return false };
    let env = pinned.env(&["DISPLAY", "WAYLAND_DISPLAY"]);
    env.values().any(|value| std::str::from_utf8(value).is_ok_and(|screen| session.is_on(screen)))
}

/// Whether a process is in the control group of a unit, in any hierarchy (cgroups(7)).
fn is_in_scope(pid: u32, unit: &str) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.split('/').any(|part| part == unit))
}

/// The pids of this process and its ancestors.
fn lineage() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut pid = std::process::id();
    while pid > 0 && line.insert(pid) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid = parent.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    }
    line
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_lineage_reaches_up_to_the_first_process() {
        let line = lineage();
        assert!(line.contains(&std::process::id()));
        assert!(line.len() > 1, "{line:?}");
    }

    #[test]
    fn a_unit_is_a_whole_component_of_a_control_group() {
        assert!(!is_in_scope(std::process::id(), "session-no-such.scope"));
        assert!(!is_in_scope(0, "session-1.scope"));
    }
}
