//! Control groups, version 2: many processes stopped and ended as one (Linux,
//! Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").
//!
//! It refuses a group that holds anybody else: who is in it is read again after every freeze and right
//! before every end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exeunt_engine::ports::Group;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::proc::Pinned;

/// How long a frozen group gets to stand still.
const STANDS_WITHIN: Duration = Duration::from_millis(100);
/// Groups lie no deeper than this below the one that is looked at.
const DEPTH: usize = 16;

/// The hierarchy, where it is mounted.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Finds the hierarchy among this process's mounts.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(mounts.lines().find_map(mount_point).map(|root| Self { root }))
    }

    /// The group of a process; None when it is gone, or in none but the whole.
    pub(crate) fn group_of(process: &Pinned) -> io::Result<Option<Group>> {
        let text = process.read("cgroup")?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        // One that lies outside of what is mounted here begins with two dots.
        let path = path.filter(|path| *path != "/" && !path.split('/').any(|part| part == ".."));
        Ok(path.map(|path| Group(path.to_owned())))
    }

    /// The group of that path, when it is there.
    pub(crate) fn group(&self, path: &str) -> Option<Group> {
        let group = Group(path.to_owned());
        self.at(&group).is_dir().then_some(group)
    }

    /// Whether every member is `is_ours`; false for a group that nobody is in.
    pub(crate) fn is_ours(
        &self,
        group: &Group,
        is_ours: impl Fn(u32) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let members = self.members(group)?;
        for pid in &members {
            if !is_ours(*pid)? {
                return Ok(false);
            }
        }
        Ok(!members.is_empty())
    }

    /// Whether a group stands still; false for one that is gone.
    pub(crate) fn is_frozen(&self, group: &Group) -> io::Result<bool> {
        match fs::read_to_string(self.at(group).join("cgroup.events")) {
            Ok(events) => Ok(events.lines().any(|line| line == "frozen 1")),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Freezes a group and waits until it stands; lets it go again when `is_ours` says of a member that
    /// it is not. Returns whether it was.
    pub(crate) fn freeze(
        &self,
        group: &Group,
        is_ours: impl Fn(u32) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if !self.is_ours(group, &is_ours)? {
            return Ok(false);
        }
        fs::write(self.at(group).join("cgroup.freeze"), "1")?;
        if !matches!(self.is_ours(group, &is_ours), Ok(true)) {
            self.thaw(group)?;
            return Ok(false);
        }
        self.await_frozen(group)?;
        Ok(true)
    }

    pub(crate) fn thaw(&self, group: &Group) -> io::Result<()> {
        match fs::write(self.at(group).join("cgroup.freeze"), "0") {
            Err(error) if !is_gone(&error) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends everything in a group, newcomers too, when every member is `is_ours`. False when one is
    /// not, and where the kernel cannot (before Linux 5.14).
    pub(crate) fn end(
        &self,
        group: &Group,
        is_ours: impl Fn(u32) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if !self.is_ours(group, &is_ours)? {
            return Ok(false);
        }
        match fs::write(self.at(group).join("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The pids in a group and below it. One of another pid namespace shows as 0.
    fn members(&self, group: &Group) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        let mut waiting = vec![(self.at(group), 0)];
        while let Some((dir, depth)) = waiting.pop() {
            match fs::read_to_string(dir.join("cgroup.procs")) {
                Ok(text) => {
                    pids.extend(text.lines().map(|pid| pid.parse::<u32>().unwrap_or_default()))
                }
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            }
            if depth == DEPTH {
                return Err(io::Error::other("groups lie too deep"));
            }
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    waiting.push((entry.path(), depth + 1));
                }
            }
        }
        Ok(pids)
    }

    fn await_frozen(&self, group: &Group) -> io::Result<()> {
        let until = Instant::now() + STANDS_WITHIN;
        let events = fs::File::open(self.at(group).join("cgroup.events"))?;
        while !self.is_frozen(group)? {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not stand still"));
            }
            // A change of the file raises an exceptional condition.
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout))?;
        }
        Ok(())
    }

    fn at(&self, group: &Group) -> PathBuf {
        self.root.join(group.0.trim_start_matches('/'))
    }
}

/// A group that was removed, or a file that this kernel does not have.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The mount point of a line of `mountinfo` (proc_pid_mountinfo(5)) that mounts the whole hierarchy.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    let is_whole = root == "/" && kind.split(' ').next() == Some("cgroup2");
    is_whole.then(|| Path::new(place).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_of_the_whole_hierarchy_and_no_part_of_it() {
        let line = |root: &str, kind: &str| {
            format!("42 33 0:27 {root} /sys/fs/cgroup/unified rw,relatime shared:10 - {kind} x rw")
        };
        let place = PathBuf::from("/sys/fs/cgroup/unified");
        assert_eq!(mount_point(&line("/", "cgroup2")), Some(place));
        assert_eq!(mount_point(&line("/part", "cgroup2")), None);
        assert_eq!(mount_point(&line("/", "cgroup")), None);
    }
}
