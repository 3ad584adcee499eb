//! Unlinking a tree, one name at a time, on held handles.
//!
//! It refuses to cross a mount, to follow a link, and to call anything overwritten.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use exeunt_engine::ports::{Entry, FileKind, FilesError, Identity, Name};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, chmodat, ftruncate, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::beneath;
use super::quarantine::move_entry;
use crate::users::{Account, as_account};

/// How often a directory that others keep filling is listed again.
const SWEEPS: u32 = 8;

/// Unlinks `entry` of `dir` with everything beneath it. Returns how many files went.
pub(super) fn entry(dir: impl AsFd, entry: &Entry, owner: &Account) -> Result<u64, FilesError> {
    let mut work = Work::of(owner);
    if entry.kind == FileKind::Dir {
        match open_same(&dir, entry) {
            Ok(tree) => {
                work.clear(&tree, &BTreeSet::new());
                work.note(remove_dir(&dir, &entry.name));
            }
            Err(error) => work.note(Err(error)),
        }
    } else {
        work.unlink(&dir, entry);
    }
    work.done()
}

/// Unlinks everything in `dir` but what is `spared`. Returns how many files went.
pub(super) fn contents(
    dir: &OwnedFd,
    owner: &Account,
    spared: &BTreeSet<Name>,
) -> Result<u64, FilesError> {
    let mut work = Work::of(owner);
    work.clear(dir, spared);
    work.done()
}

/// Removes one empty directory.
pub(super) fn remove_dir(dir: impl AsFd, name: &Name) -> Result<(), FilesError> {
    unlink_name(dir, name, AtFlags::REMOVEDIR)
}

/// Gives the owner of a directory the permissions that moving it needs, when we are that owner.
/// Root needs none.
pub(super) fn permit_move(dir: impl AsFd, entry: &Entry) -> Result<(), FilesError> {
    if entry.kind != FileKind::Dir || geteuid().is_root() {
        return Ok(());
    }
    open_same(dir, entry).map(drop)
}

struct Work<'a> {
    owner: &'a Account,
    went: u64,
    first_error: Option<FilesError>,
    fresh: u64,
    /// Unlinked, and still there under another name with all that they hold.
    outlived: Vec<Identity>,
}

impl<'a> Work<'a> {
    fn of(owner: &'a Account) -> Self {
        Self { owner, went: 0, first_error: None, fresh: 0, outlived: Vec::new() }
    }

    /// Empties `top`. Directories below are first moved up into `top` itself, so that a tree of any
    /// depth needs two descriptors and no stack.
    fn clear(&mut self, top: &OwnedFd, spared: &BTreeSet<Name>) {
        let mut stuck = spared.clone();
        for _ in 0..SWEEPS {
            let Some(entries) = self.list(top) else { return };
            let mut queue: VecDeque<Entry> =
                entries.into_iter().filter(|e| !stuck.contains(&e.name)).collect();
            if queue.is_empty() {
                return;
            }
            while let Some(next) = queue.pop_front() {
                let gone = match next.kind {
                    FileKind::Dir if next.mount_point => self.fail(FilesError::OtherMount),
                    FileKind::Dir => self.clear_level(top, &next, &mut queue),
                    FileKind::File | FileKind::Symlink | FileKind::Special => {
                        self.unlink(top, &next)
                    }
                };
                if !gone {
                    stuck.insert(next.name);
                }
            }
        }
    }

    /// Unlinks the files of one directory of `top`, moves its directories up, and removes it.
    fn clear_level(&mut self, top: &OwnedFd, dir: &Entry, queue: &mut VecDeque<Entry>) -> bool {
        let level = match open_same(top, dir) {
            Ok(level) => level,
            Err(error) => return self.fail(error),
        };
        let Some(entries) = self.list(&level) else { return false };
        for below in entries {
            match below.kind {
                FileKind::Dir if below.mount_point => {
                    self.fail(FilesError::OtherMount);
                }
                FileKind::Dir => match self.move_up(&level, &below, top) {
                    Ok(moved) => queue.push_back(moved),
                    Err(error) => self.note(Err(error)),
                },
                FileKind::File | FileKind::Symlink | FileKind::Special => {
                    self.unlink(&level, &below);
                }
            }
        }
        match remove_dir(top, &dir.name) {
            Ok(()) | Err(FilesError::NotFound) => true,
            Err(error) => self.fail(error),
        }
    }

    fn move_up(&mut self, from: &OwnedFd, dir: &Entry, top: &OwnedFd) -> Result<Entry, FilesError> {
        permit_move(from, dir)?;
        loop {
            self.fresh += 1;
            let name = format!(".exeunt-{}", self.fresh);
            let name = Name::new(name.as_bytes()).ok_or(FilesError::OutOfBounds)?;
            match move_entry(from, &dir.name, top, &name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(Entry { name, ..dir.clone() }),
                Err(FilesError::Os { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Unlinks one entry that is no directory. One with other names is emptied first, if its owner
    /// is the home's: otherwise the other names would keep what it holds.
    fn unlink(&mut self, dir: impl AsFd, entry: &Entry) -> bool {
        if entry.mount_point {
            return self.fail(FilesError::OtherMount);
        }
        if entry.kind == FileKind::File && entry.links > 1 {
            let emptied = if entry.owner == self.owner.uid {
                truncate(&dir, entry, self.owner)
            } else {
                Err(FilesError::IdentityChanged)
            };
            // Unlinked all the same: one name less.
            if emptied.is_err() && !self.outlived.contains(&entry.identity) {
                self.outlived.push(entry.identity);
            }
        } else {
            // Its last name: nothing keeps it any more.
            self.outlived.retain(|file| *file != entry.identity);
        }
        match unlink_name(dir, &entry.name, AtFlags::empty()) {
            Ok(()) => {
                self.went += 1;
                true
            }
            Err(FilesError::NotFound) => true,
            Err(error) => self.fail(error),
        }
    }

    fn list(&mut self, dir: &OwnedFd) -> Option<Vec<Entry>> {
        match beneath::list(dir) {
            Ok(entries) => Some(entries),
            Err(error) => {
                self.note(Err(error));
                None
            }
        }
    }

    fn fail(&mut self, error: FilesError) -> bool {
        self.first_error.get_or_insert(error);
        false
    }

    fn note(&mut self, result: Result<(), FilesError>) {
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn done(self) -> Result<u64, FilesError> {
        if !self.outlived.is_empty() {
            let complete = self.first_error.is_none();
            return Err(FilesError::LinkedElsewhere { files: self.outlived, complete });
        }
        self.first_error.map_or(Ok(self.went), Err)
    }
}

/// Opens the directory `entry` if it is still the same, and makes sure that its owner may change it.
fn open_same(dir: impl AsFd, entry: &Entry) -> Result<OwnedFd, FilesError> {
    let handle = beneath::handle_on_mount(dir, entry.name.as_bytes())?;
    let stat = beneath::stat_handle(&handle)?;
    same(entry.identity, beneath::identity(&stat))?;
    let own = geteuid();
    if !own.is_root() && stat.stx_uid == own.as_raw() && stat.stx_mode & 0o700 != 0o700 {
        permit(&handle)?;
    }
    Ok(handle)
}

/// Gives a directory's owner all rights to it, through the handle and so to no other file.
fn permit(handle: &OwnedFd) -> Result<(), FilesError> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    chmodat(CWD, path, Mode::RWXU, AtFlags::empty()).map_err(|errno| beneath::os("fchmodat", errno))
}

/// Empties a file in place, as its owner where its mode allows, if it is still the same file.
fn truncate(dir: impl AsFd, entry: &Entry, owner: &Account) -> Result<(), FilesError> {
    let empty = || {
        let file = beneath::open_file(&dir, &entry.name, OFlags::WRONLY, Mode::empty())?;
        let stat = beneath::stat_handle(&file)?;
        same(entry.identity, beneath::identity(&stat))?;
        if stat.stx_uid != owner.uid {
            return Err(FilesError::IdentityChanged);
        }
        ftruncate(&file, 0).map_err(|errno| beneath::os("ftruncate", errno))
    };
    match as_account(owner.uid, owner.gid, empty) {
        Ok(Ok(())) => Ok(()),
        // A read-only file, or a quarantine that only root may enter.
        Ok(Err(_)) | Err(_) => empty(),
    }
}

fn same(surveyed: Identity, now: Identity) -> Result<(), FilesError> {
    if surveyed == now { Ok(()) } else { Err(FilesError::IdentityChanged) }
}

#[expect(clippy::disallowed_methods, reason = "the one place that removes entries of a home")]
fn unlink_name(dir: impl AsFd, name: &Name, flags: AtFlags) -> Result<(), FilesError> {
    unlinkat(dir, name.as_bytes(), flags).map_err(|errno| match errno {
        Errno::NOENT => FilesError::NotFound,
        other => beneath::os("unlinkat", other),
    })
}
