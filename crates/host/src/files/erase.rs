//! Unlinking a tree, one name at a time, on held handles.
//!
//! It refuses to cross a mount, to follow a link, and to call anything overwritten.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use exeunt_engine::ports::{Entry, FileKind, FilesError, Identity, Name};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, Statx, chmodat, fdatasync, ftruncate, unlinkat,
};
use rustix::io::{Errno, pwrite};
use rustix::process::geteuid;

use super::quarantine::move_entry;
use super::{beneath, flags};
use crate::users::{Account, as_account};

/// How often a directory that others keep filling is listed again.
const SWEEPS: u32 = 8;

/// Most that is written over in one file, in bytes.
const OVERWRITTEN: u64 = 64 << 20;

/// Whose files are erased, and what had to be done for it.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    /// The account that owns the home.
    pub(super) owner: &'a Account,
    /// What an immutable or append-only flag was taken from.
    pub(super) freed: &'a flags::Freed,
}

/// Unlinks `entry` of `dir` with everything beneath it. Returns how many files went.
pub(super) fn entry(dir: impl AsFd, entry: &Entry, means: Means<'_>) -> Result<u64, FilesError> {
    let mut work = Work::with(means);
    if entry.kind == FileKind::Dir {
        work.free(&dir, entry);
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
    means: Means<'_>,
    spared: &BTreeSet<Name>,
) -> Result<u64, FilesError> {
    let mut work = Work::with(means);
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
    means: Means<'a>,
    went: u64,
    first_error: Option<FilesError>,
    fresh: u64,
    /// Unlinked, and still there under another name with all that they hold.
    outlived: Vec<Identity>,
}

impl<'a> Work<'a> {
    fn with(means: Means<'a>) -> Self {
        Self { means, went: 0, first_error: None, fresh: 0, outlived: Vec::new() }
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
        self.free(top, dir);
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
        self.free(from, dir);
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
        let is_own = entry.owner == self.means.owner.uid;
        if is_own || entry.links == 1 {
            self.free(&dir, entry);
        }
        if entry.kind == FileKind::File && entry.links > 1 {
            let emptied = if is_own {
                empty(&dir, entry, self.means.owner)
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

    /// Takes a flag away that would keep the entry where it is. Where that is refused, so is what
    /// follows, with the better words.
    fn free(&self, dir: impl AsFd, entry: &Entry) {
        if entry.immutable
            && let Err(error) = flags::clear(dir, entry, self.means.freed)
        {
            tracing::debug!(%error, "a file keeps its immutable or append-only flag");
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
fn empty(dir: impl AsFd, entry: &Entry, owner: &Account) -> Result<(), FilesError> {
    let empty = || {
        let file = beneath::open_file(&dir, &entry.name, OFlags::WRONLY, Mode::empty())?;
        let stat = beneath::stat_handle(&file)?;
        same(entry.identity, beneath::identity(&stat))?;
        if stat.stx_uid != owner.uid {
            return Err(FilesError::IdentityChanged);
        }
        zero(&file, &stat);
        ftruncate(&file, 0).map_err(|errno| beneath::os("ftruncate", errno))
    };
    match as_account(owner.uid, owner.gid, empty) {
        Ok(Ok(())) => Ok(()),
        // A read-only file, or a quarantine that only root may enter.
        Ok(Err(_)) | Err(_) => empty(),
    }
}

/// Writes zeros over what an open file holds, where it lies. It is truncated next: that a disk which
/// moves its blocks, or has no room, keeps the old ones is no error, since no overwriting is claimed.
fn zero(file: &OwnedFd, stat: &Statx) {
    let zeros = [0; 64 << 10];
    // A hole has nothing to write over, and writing would fill it.
    let end = stat.stx_size.min(stat.stx_blocks.saturating_mul(512)).min(OVERWRITTEN);
    let mut at = 0;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(zeros.len()).min(zeros.len());
        match pwrite(file, zeros.get(..want).unwrap_or_default(), at) {
            Ok(wrote) if wrote > 0 => at += u64::try_from(wrote).unwrap_or(u64::MAX),
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => break,
        }
    }
    // Before this the zeros are in memory only, and truncating would drop them there.
    let _moved = fdatasync(file);
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
