//! The engine's [`Processes`] on Linux.
//!
//! It refuses to signal pid 1, itself, its ancestors, and processes of other accounts.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{
    Group, Groups, Holder, Identity, Process, ProcessError, ProcessId, Processes, Service,
};
use rustix::process::{Signal, geteuid};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::cgroup::Tree;
use super::holders;
use super::pidfd::{Pidfd, wait};
use super::proc::{Pinned, is_trusted_program};
use super::services;
use crate::users::Account;

/// Programs that a session needs to stay usable, and locked, while it is contained. They are kept
/// only when root owns them.
const KEPT: &[&str] = &[
    "dbus-daemon",
    "dbus-broker",
    "dbus-broker-launch",
    "gnome-keyring-daemon",
    "kwalletd5",
    "kwalletd6",
    "Xorg",
    "Xvfb",
    "Xephyr",
    "Xwayland",
    "sway",
    "mutter",
    "gnome-shell",
    "kwin_x11",
    "kwin_wayland",
    "kwin_wayland_wrapper",
    "openbox",
    "xfwm4",
    "i3",
    "i3lock",
    "xsecurelock",
    "xss-lock",
    "swaylock",
    "swayidle",
    "light-locker",
    "xscreensaver",
    "xscreensaver-gfx",
    "xscreensaver-auth",
    "xscreensaver-systemd",
    "gnome-screensaver",
    "mate-screensaver",
    "xfce4-screensaver",
    "cinnamon-screensaver",
    "kscreenlocker_greet",
    "exeunt",
    "exeunt-*",
];

/// Programs that a session hangs on: with them it ends, and what is kept with it. They count only when
/// root owns them.
const PILLARS: &[&str] = &[
    "systemd",
    "gnome-session-*",
    "xfce4-session",
    "mate-session",
    "cinnamon-session*",
    "lxsession",
    "lxqt-session",
    "plasma_session",
    "startplasma-*",
    "ksmserver",
];

/// How long a command's name can be (proc_pid_comm(5)).
const COMM_LENGTH: usize = 15;

/// Programs that hide what they hold open for their own good, as the kernel cuts their names: what they
/// hold are secrets of their own, of which other rows speak. A name proves nothing, and only a warden
/// in user mode, which claims no isolation, ever has to go by it.
const HIDE_THEMSELVES: &[&str] = &[
    "(sd-pam)",
    "exeunt-agent",
    "exeunt-warden",
    "fusermount3",
    "gpg-agent",
    "scdaemon",
    "ssh-agent",
    "su",
    "sudo",
];

/// How long a freeze is watched until it shows, so that a probe right after it is answered.
const SETTLE: Duration = Duration::from_millis(20);

/// Processes to be spared beyond those that the adapter knows by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepList {
    /// These are kept, with all that descend from them: the tray and its windows.
    pub roots: Vec<ProcessId>,
}

/// The processes of one account.
#[derive(Clone, Debug)]
pub struct LinuxProcesses {
    uid: u32,
    /// Only those whose `HOME` this is are the account's; None: all of the user id's.
    home: Option<PathBuf>,
    keep: KeepList,
    /// None: there is no hierarchy of control groups here that is ours to use.
    groups: Option<Tree>,
}

impl LinuxProcesses {
    /// The processes whose real user id is `uid`, sparing those of `keep`.
    #[must_use]
    pub fn of_uid(uid: u32, keep: KeepList) -> Self {
        Self { uid, home: None, keep, groups: groups_for(uid) }
    }

    /// The processes of `account`. Where it shares this process's own user id, only those whose
    /// `HOME` is its home: a throwaway home, or a trial beside a person's own work, never freezes
    /// the rest of that person's processes. Whoever holds a store open is found all the same.
    #[must_use]
    pub fn of_account(account: &Account, keep: KeepList) -> Self {
        let shared = geteuid().as_raw() == account.uid;
        let home = shared.then(|| account.home.clone());
        Self { uid: account.uid, home, keep, groups: groups_for(account.uid) }
    }

    /// Every process of the user id, whatever its home.
    fn everyone(&self) -> Result<Vec<Process>, ProcessError> {
        let mut system = System::new().map_err(|e| os("sysinfo")(io::Error::other(e)))?;
        let facts = ProcessRefreshKind::nothing().without_tasks().with_user(UpdateKind::Always);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, facts);
        let mut processes = Vec::new();
        for (pid, facts) in system.processes() {
            if facts.user_id().is_some_and(|uid| **uid != self.uid) {
                continue;
            }
            let Some(pinned) = Pinned::open(pid.as_u32()).map_err(os("open"))? else { continue };
            let process = pinned.describe().map_err(os("read"))?;
            processes.extend(process.filter(|process| process.uid == self.uid));
        }
        processes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(processes)
    }

    fn is_at_home(&self, process: &Process) -> bool {
        let Some(home) = &self.home else { return true };
        let named = process.env.get("HOME").map(|value| Path::new(OsStr::from_bytes(value)));
        named.is_some_and(|named| named == home)
    }

    /// The process of that pid as it is now; `None` when there is none.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    pub fn identify(pid: u32) -> Result<Option<ProcessId>, ProcessError> {
        let pinned = Pinned::open(pid).map_err(os("open"))?;
        pinned.map_or(Ok(None), |pinned| pinned.id().map_err(os("read")))
    }

    fn signal(&self, process: &ProcessId, signal: Signal) -> Result<(), ProcessError> {
        let refused = || os("pidfd_send_signal")(io::Error::from(io::ErrorKind::PermissionDenied));
        if process.pid <= 1 || lineage().map_err(os("read"))?.contains(process) {
            return Err(refused());
        }
        let Some(pidfd) = Pidfd::open(process).map_err(os("pidfd_open"))? else { return Ok(()) };
        let pinned = Pinned::open_same(process).map_err(os("open"))?;
        match pinned.map(|p| p.uid()).transpose().map_err(os("read"))?.flatten() {
            Some(uid) if uid == self.uid => pidfd.send(signal).map_err(os("pidfd_send_signal")),
            Some(_) => Err(refused()),
            None => Ok(()),
        }
    }

    /// Whether a member of a control group is the account's and not spared.
    fn is_ours(&self, pid: u32, spared: &BTreeSet<ProcessId>) -> io::Result<bool> {
        let Some(pinned) = Pinned::open(pid)? else { return Ok(pid != 0) };
        let (Some(id), Some(uid)) = (pinned.id()?, pinned.uid()?) else { return Ok(true) };
        Ok(uid == self.uid && !spared.contains(&id))
    }

    fn is_kept(process: &Process, own_programs: Option<&[u8]>) -> bool {
        if process.exe_root_owned {
            return is_trusted_program(&process.exe, KEPT);
        }
        // In user mode our own programs lie where this one does, and are as trusted as it is.
        own_programs.is_some_and(|dir| {
            process.exe.starts_with(dir)
                && is_trusted_program(&process.exe, &["exeunt", "exeunt-*"])
        })
    }
}

/// `roots` that are alive, with all that descend from them: the tray's windows and their web
/// processes.
fn with_all_below(mut roots: BTreeSet<ProcessId>, all: &[Process]) -> BTreeSet<ProcessId> {
    roots.retain(|root| all.iter().any(|process| process.id == *root));
    loop {
        let pids: BTreeSet<u32> = roots.iter().map(|id| id.pid).collect();
        let below = all.iter().filter(|process| pids.contains(&process.parent));
        let before = roots.len();
        roots.extend(below.map(|process| process.id.clone()).collect::<Vec<_>>());
        if roots.len() == before {
            return roots;
        }
    }
}

/// What started `process`, as far up as root owns the programs: ending it could take the tray along.
fn trusted_above(process: &Process, all: &[Process]) -> Vec<ProcessId> {
    let mut above: Vec<ProcessId> = Vec::new();
    let mut parent = process.parent;
    while let Some(next) = all.iter().find(|other| other.id.pid == parent && other.exe_root_owned) {
        if above.contains(&next.id) {
            break;
        }
        above.push(next.id.clone());
        parent = next.parent;
    }
    above
}

impl Processes for LinuxProcesses {
    fn list(&self) -> Result<Vec<Process>, ProcessError> {
        let mut all = self.everyone()?;
        all.retain(|process| self.is_at_home(process));
        Ok(all)
    }

    fn holders(&self, files: &[Identity]) -> Result<Vec<Holder>, ProcessError> {
        let wanted: BTreeSet<Identity> = files.iter().copied().collect();
        let mut found = BTreeSet::new();
        let mut hidden = 0_u32;
        for process in self.everyone()? {
            if process.zombie {
                continue;
            }
            let Some(pinned) = Pinned::open_same(&process.id).map_err(os("open"))? else {
                continue;
            };
            match holders::held(&pinned, &wanted) {
                Ok(held) => found.extend(
                    held.into_iter()
                        .map(|identity| Holder { process: process.id.clone(), identity }),
                ),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
                Err(error) => return Err(os("read")(error)),
            }
        }
        if hidden > 0 {
            tracing::warn!(hidden, "processes whose open files are hidden could not be searched");
        }
        Ok(found.into_iter().collect())
    }

    fn nameless(&self) -> Result<Vec<(ProcessId, Vec<u8>)>, ProcessError> {
        let mut found = Vec::new();
        for process in self.everyone()? {
            if process.zombie {
                continue;
            }
            let Some(pinned) = Pinned::open_same(&process.id).map_err(os("open"))? else {
                continue;
            };
            match holders::nameless(&pinned) {
                Ok(paths) => {
                    found.extend(paths.into_iter().map(|path| (process.id.clone(), path)));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(os("read")(error)),
            }
        }
        Ok(found)
    }

    fn keep_list(&self) -> Result<Vec<ProcessId>, ProcessError> {
        let own_programs = if geteuid().is_root() { None } else { own_directory() };
        let mut kept = lineage().map_err(os("read"))?;
        let all = self.everyone()?;
        kept.extend(self.keep.roots.iter().cloned());
        kept.extend(
            all.iter()
                .filter(|process| Self::is_kept(process, own_programs.as_deref()))
                .map(|process| process.id.clone()),
        );
        let is_tray = |process: &&Process| {
            kept.contains(&process.id) && is_trusted_program(&process.exe, &["exeunt-tray"])
        };
        let trays: Vec<&Process> = all.iter().filter(is_tray).collect();
        let above: Vec<ProcessId> =
            trays.iter().flat_map(|tray| trusted_above(tray, &all)).collect();
        let roots = self.keep.roots.iter().chain(trays.iter().map(|tray| &tray.id));
        kept.extend(with_all_below(roots.cloned().collect(), &all));
        kept.extend(above);
        Ok(kept.into_iter().collect())
    }

    fn pillars(&self) -> Result<Vec<ProcessId>, ProcessError> {
        let mut pillars = self.everyone()?;
        pillars.retain(|process| {
            process.exe_root_owned && is_trusted_program(&process.exe, PILLARS) && !process.zombie
        });
        Ok(pillars.into_iter().map(|process| process.id).collect())
    }

    fn hidden(&self) -> Result<Vec<ProcessId>, ProcessError> {
        let above = lineage().map_err(os("read"))?;
        let mut hidden = Vec::new();
        for process in self.everyone()? {
            let known = hides_for_its_own_good(&process.comm);
            if process.zombie || known || above.contains(&process.id) {
                continue;
            }
            let Some(pinned) = Pinned::open_same(&process.id).map_err(os("open"))? else {
                continue;
            };
            if pinned.hides_files().map_err(os("read"))? {
                hidden.push(process.id);
            }
        }
        Ok(hidden)
    }

    fn groups(&self, spared: &BTreeSet<ProcessId>) -> Result<Groups, ProcessError> {
        let none = |why: &str| Groups { groups: Vec::new(), none_because: Some(why.to_owned()) };
        if !geteuid().is_root() {
            return Ok(none("control groups are root's"));
        }
        let Some(tree) = &self.groups else {
            return Ok(none("no control groups of version 2 are mounted here"));
        };
        let mut candidates = BTreeSet::new();
        for process in self.list()?.iter().filter(|process| !process.zombie) {
            let pinned = Pinned::open_same(&process.id).map_err(os("open"))?;
            let group = pinned.map_or(Ok(None), |pinned| Tree::group_of(&pinned));
            candidates.extend(group.map_err(os("read"))?);
        }
        let mut groups = Vec::new();
        for group in candidates {
            if tree.is_ours(&group, |pid| self.is_ours(pid, spared)).map_err(os("read"))? {
                groups.push(group);
            }
        }
        Ok(Groups { groups, none_because: None })
    }

    fn freeze_group(
        &self,
        group: &Group,
        spared: &BTreeSet<ProcessId>,
    ) -> Result<bool, ProcessError> {
        let Some(tree) = &self.groups else { return Ok(false) };
        tree.freeze(group, |pid| self.is_ours(pid, spared)).map_err(os("cgroup.freeze"))
    }

    fn thaw_group(&self, group: &Group) -> Result<(), ProcessError> {
        let Some(tree) = &self.groups else { return Ok(()) };
        tree.thaw(group).map_err(os("cgroup.freeze"))
    }

    fn end_group(&self, group: &Group, spared: &BTreeSet<ProcessId>) -> Result<bool, ProcessError> {
        let Some(tree) = &self.groups else { return Ok(false) };
        tree.end(group, |pid| self.is_ours(pid, spared)).map_err(os("cgroup.kill"))
    }

    fn service_of(&self, process: &ProcessId) -> Result<Option<Service>, ProcessError> {
        let Some(pinned) = Pinned::open_same(process).map_err(os("open"))? else { return Ok(None) };
        services::of(&pinned, self.uid).map_err(os("read"))
    }

    fn stop_service(&self, service: &Service) -> Result<(), ProcessError> {
        services::stop(service, self.uid).map_err(os("StopUnit"))
    }

    fn freeze(&self, process: &ProcessId) -> Result<(), ProcessError> {
        self.signal(process, Signal::STOP)?;
        let until = Instant::now() + SETTLE;
        // Nobody but the parent is told of a stop: watch it happen, briefly.
        while !self.is_frozen(process)? && Instant::now() < until {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn is_frozen(&self, process: &ProcessId) -> Result<bool, ProcessError> {
        let Some(pinned) = Pinned::open_same(process).map_err(os("open"))? else {
            return Ok(true);
        };
        let states = pinned.thread_states().map_err(os("read"))?;
        if states.iter().all(|state| matches!(state, b'T' | b'Z' | b'X' | b'x')) {
            return Ok(true);
        }
        let Some(tree) = &self.groups else { return Ok(false) };
        let group = Tree::group_of(&pinned).map_err(os("read"))?;
        group.map_or(Ok(false), |group| tree.is_frozen(&group)).map_err(os("read"))
    }

    fn thaw(&self, process: &ProcessId) -> Result<(), ProcessError> {
        self.signal(process, Signal::CONT)
    }

    fn end(&self, process: &ProcessId) -> Result<(), ProcessError> {
        self.signal(process, Signal::KILL)
    }

    fn is_running(&self, process: &ProcessId) -> Result<bool, ProcessError> {
        let pidfd = Pidfd::open(process).map_err(os("pidfd_open"))?;
        let ended = pidfd.map(|pidfd| pidfd.has_ended()).transpose().map_err(os("poll"))?;
        Ok(ended == Some(false))
    }

    fn wait_gone(
        &self,
        processes: &[ProcessId],
        deadline: Duration,
    ) -> Result<Vec<ProcessId>, ProcessError> {
        let until = Instant::now() + deadline;
        let mut alive = Vec::new();
        for process in processes {
            if let Some(pidfd) = Pidfd::open(process).map_err(os("pidfd_open"))? {
                alive.push((process, pidfd));
            }
        }
        while !alive.is_empty() {
            let pidfds: Vec<&Pidfd> = alive.iter().map(|(_, pidfd)| pidfd).collect();
            let left = until.saturating_duration_since(Instant::now());
            let ended: BTreeSet<usize> =
                wait(&pidfds, left).map_err(os("poll"))?.into_iter().collect();
            if ended.is_empty() {
                break;
            }
            let mut index = 0;
            alive.retain(|_| {
                index += 1;
                !ended.contains(&(index - 1))
            });
        }
        Ok(alive.into_iter().map(|(process, _)| process.clone()).collect())
    }
}

/// A compositor or a locker with a capability of its own hides as well.
fn hides_for_its_own_good(comm: &str) -> bool {
    let cut = |name: &&&str| comm == name.get(..COMM_LENGTH).unwrap_or(name);
    HIDE_THEMSELVES.iter().chain(KEPT).any(|name| cut(&name))
}

/// The control groups, where this process may use them for that account: as root, and not for its own
/// user id, under which others may run.
fn groups_for(uid: u32) -> Option<Tree> {
    let own = geteuid();
    if !own.is_root() || own.as_raw() == uid {
        return None;
    }
    Tree::find().unwrap_or_else(|error| {
        tracing::warn!(%error, "control groups could not be looked for");
        None
    })
}

/// This process and its ancestors, whoever they belong to.
pub(crate) fn lineage() -> io::Result<BTreeSet<ProcessId>> {
    let mut line = BTreeSet::new();
    let mut pid = std::process::id();
    while pid > 0 {
        let Some(pinned) = Pinned::open(pid)? else { break };
        let Some(stat) = pinned.stat()? else { break };
        if !line.insert(ProcessId { pid, start: stat.start }) {
            break;
        }
        pid = stat.parent;
    }
    Ok(line)
}

/// The directory of this program, with a slash at its end.
fn own_directory() -> Option<Vec<u8>> {
    let exe = std::env::current_exe().ok()?;
    let dir: PathBuf = exe.parent()?.join("");
    Some(dir.into_os_string().into_encoded_bytes())
}

fn os(op: &'static str) -> impl Fn(io::Error) -> ProcessError {
    move |source| ProcessError::Os { op, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_may_hide_is_known_by_its_name_as_the_kernel_cuts_it() {
        assert!(hides_for_its_own_good("ssh-agent"));
        assert!(hides_for_its_own_good("gnome-keyring-d"));
        assert!(hides_for_its_own_good("kwin_wayland"));
        assert!(!hides_for_its_own_good("python3") && !hides_for_its_own_good(""));
    }
}
