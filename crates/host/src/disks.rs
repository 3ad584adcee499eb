//! The disks that a home is on: what keeps old states of its files, and telling them what is free.
//!
//! It refuses to follow a link, to ask a file system that is not on a local disk, and to look into
//! anything that it names.

mod btrfs;
mod copies;
mod lvm;
mod trim;

pub use trim::await_trims;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use exeunt_engine::ports::{Disks, DisksError, Keeper, Snapshot, Trim};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::mounts::Mount;
use crate::users::Account;

/// The disks of one home.
#[derive(Debug)]
pub struct LinuxDisks {
    home: OwnedFd,
    path: PathBuf,
    uid: u32,
    trimmer: trim::Trimmer,
    root: PathBuf,
}

impl LinuxDisks {
    /// The disks that the home of `account` is on. Nothing is looked at yet.
    ///
    /// # Errors
    /// The home cannot be opened.
    pub fn of(account: &Account) -> std::io::Result<Self> {
        Self::with_root(account, Path::new("/"))
    }

    /// The same, with the system's own directories (`/sys`, `/etc`, `/var`, where Snapper and
    /// Timeshift keep theirs) below `root`.
    ///
    /// # Errors
    /// As [`LinuxDisks::of`].
    pub fn with_root(account: &Account, root: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let home = openat(CWD, &account.home, flags, Mode::empty())?;
        let path = std::fs::canonicalize(&account.home)?;
        let trimmer = trim::Trimmer::default();
        Ok(Self { home, path, uid: account.uid, trimmer, root: root.to_owned() })
    }

    /// Old states that the home's own file system keeps.
    fn of_file_system(&self, mount: &Mount, found: &mut Found) {
        match mount.kind.as_str() {
            "btrfs" => match btrfs::relatives(self.home.as_fd()) {
                Ok(all) => found.snapshots.extend(all),
                Err(error) => {
                    found.fail("btrfs", &error);
                    // What is seen of them from here is better than nothing.
                    found.snapshots.extend(copies::of_snapper(&self.path, mount));
                }
            },
            "zfs" => found.snapshots.extend(copies::of_zfs(mount)),
            "overlay" => found.add(Keeper::Overlay, "what lies below this home"),
            _ => found.snapshots.extend(copies::of_snapper(&self.path, mount)),
        }
    }
}

impl Disks for LinuxDisks {
    fn snapshots(&self) -> (Vec<Snapshot>, Vec<DisksError>) {
        let mut found = Found::default();
        match Mount::table().and_then(|table| Ok((Mount::of(&table, &self.home)?, table))) {
            Ok((mount, table)) => {
                self.of_file_system(&mount, &mut found);
                found.snapshots.extend(lvm::of_origin(&self.root, mount.device));
                let copies = copies::of_timeshift(&self.root, &table, &self.path);
                found.snapshots.extend(copies);
            }
            Err(error) => found.fail("mounts", &error),
        }
        found.snapshots.extend(copies::core_dumps(&self.root, self.uid));
        found.snapshots.sort();
        found.snapshots.dedup();
        (found.snapshots, found.errors)
    }

    fn begin_trim(&self) {
        self.trimmer.begin(&self.home);
    }

    fn trim(&self) -> Trim {
        self.trimmer.state()
    }
}

#[derive(Default)]
struct Found {
    snapshots: Vec<Snapshot>,
    errors: Vec<DisksError>,
}

impl Found {
    fn add(&mut self, keeper: Keeper, place: &str) {
        self.snapshots.push(Snapshot { keeper, place: place.to_owned() });
    }

    fn fail(&mut self, keeper: &'static str, error: &std::io::Error) {
        self.errors.push(DisksError { keeper, why: error.to_string() });
    }
}
