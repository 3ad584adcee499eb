//! Throwaway homes.

use std::os::unix::fs::{chown, lchown, symlink};
use std::path::{Path, PathBuf};

use exeunt_engine::ports::{Entry, Files, Name};
use exeunt_host::files::{Bases, Dir, LinuxFiles};
use exeunt_host::users::Account;
use exeunt_testkit::contract::files::FilesRig;
use rustix::process::{getegid, geteuid};
use tempfile::TempDir;

/// Nobody's user id on a usual system.
pub(crate) const STRANGER: u32 = 54_321;

/// Whether the tests may do what only root may; says so when not.
pub(crate) fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: {what} needs root");
    }
    root
}

/// A home, a directory outside it that must never change, and the adapter over the home.
pub(crate) struct Home {
    files: LinuxFiles,
    owner: Account,
    outside: TempDir,
    dir: TempDir,
}

impl Home {
    /// A home of the user who runs the tests.
    pub(crate) fn own() -> Self {
        Self::of(geteuid().as_raw(), getegid().as_raw())
    }

    /// A home of another account, contained by root.
    pub(crate) fn of_stranger() -> Self {
        Self::of(STRANGER, STRANGER)
    }

    /// As the others, in memory: for tests that wait for the disk hundreds of times.
    pub(crate) fn in_memory() -> Self {
        let account = |id: u32| if geteuid().is_root() { STRANGER } else { id };
        let (uid, gid) = (account(geteuid().as_raw()), account(getegid().as_raw()));
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory, uid, gid) } else { Self::of(uid, gid) }
    }

    fn of(uid: u32, gid: u32) -> Self {
        Self::within(&std::env::temp_dir(), uid, gid)
    }

    fn within(parent: &Path, uid: u32, gid: u32) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary"), b"untouched").unwrap();
        chown(dir.path(), Some(uid), Some(gid)).unwrap();
        let owner = Account { uid, gid, name: "throwaway".to_owned(), home: dir.path().to_owned() };
        let files = LinuxFiles::open(dir.path(), &owner, Bases::default(), &[]).unwrap();
        Self { files, owner, outside, dir }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn outside(&self) -> &Path {
        self.outside.path()
    }

    pub(crate) fn owner(&self) -> &Account {
        &self.owner
    }

    pub(crate) fn home(&self) -> Dir {
        self.files.base(exeunt_catalogue::Base::Home).unwrap().unwrap()
    }

    pub(crate) fn enter(&self, path: &str) -> Dir {
        path.split('/').fold(self.home(), |dir, step| self.files.enter(&dir, &name(step)).unwrap())
    }

    pub(crate) fn entry(&self, dir: &Dir, child: &[u8]) -> Entry {
        self.files.look(dir, &Name::new(child).unwrap()).unwrap().expect("is there")
    }

    /// Makes everything on the way to `path` the owner's.
    pub(crate) fn give(&self, path: &Path) {
        for place in path.ancestors().take_while(|place| *place != self.root()) {
            lchown(place, Some(self.owner.uid), Some(self.owner.gid)).unwrap();
        }
    }

    pub(crate) fn make_dirs(&self, path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        self.give(path);
    }
}

impl FilesRig for Home {
    type Files = LinuxFiles;

    fn files(&self) -> &LinuxFiles {
        &self.files
    }

    fn put(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        self.make_dirs(path.parent().unwrap());
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, content).unwrap();
        self.give(&fresh);
        replace(&fresh, &path);
    }

    fn symlink_out(&self, path: &str) {
        let path = self.path(path);
        self.make_dirs(path.parent().unwrap());
        symlink(self.outside(), &path).unwrap();
        self.give(&path);
    }

    fn link(&self, path: &str, other: &str) {
        let other = self.path(other);
        self.make_dirs(other.parent().unwrap());
        std::fs::hard_link(self.path(path), other).unwrap();
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(path)).ok()
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test plays the account that swaps its files")]
pub(crate) fn replace(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}
