//! The immutable and append-only flags of files (`chattr(1)`, `FS_IOC_SETFLAGS`).
//!
//! It refuses to follow a name: a flag is taken from the very file that was looked at, or not at all.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use exeunt_engine::ports::{Entry, FileKind, FilesError, Identity};
use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat};

use super::beneath;

/// What keeps a file from being moved, changed and removed.
const STUCK: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// Which files and directories had a flag taken from them.
#[derive(Debug, Default)]
pub(super) struct Freed(Mutex<BTreeSet<Identity>>);

impl Freed {
    fn note(&self, file: Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(file);
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        u64::try_from(files).unwrap_or(u64::MAX)
    }
}

/// Takes the flags from `entry`, if it is still the same file, and notes it in `freed`. Only root
/// may; and only regular files and directories have any.
pub(super) fn clear(dir: impl AsFd, entry: &Entry, freed: &Freed) -> Result<(), FilesError> {
    let flags = match entry.kind {
        FileKind::Dir => OFlags::RDONLY | OFlags::DIRECTORY,
        FileKind::File => OFlags::RDONLY,
        FileKind::Symlink | FileKind::Special => return Ok(()),
    };
    let file = beneath::open_file(dir, &entry.name, flags, Mode::empty())?;
    if beneath::identity(&beneath::stat_handle(&file)?) != entry.identity {
        return Err(FilesError::IdentityChanged);
    }
    if take(&file)?.is_some() {
        freed.note(entry.identity);
    }
    Ok(())
}

/// A directory whose own flag keeps its entries from moving: taken from it until this is dropped.
#[derive(Debug)]
pub(super) struct Loosened {
    dir: OwnedFd,
    had: IFlags,
}

impl Loosened {
    /// Takes the flags from the directory behind the handle; `None` when it has none.
    pub(super) fn of(dir: impl AsFd, freed: &Freed) -> Result<Option<Self>, FilesError> {
        let stat = beneath::stat_handle(&dir)?;
        if !beneath::is_stuck(&stat) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(dir, c".", flags, Mode::empty())
            .map_err(|errno| beneath::os("openat", errno))?;
        let had = take(&dir)?;
        freed.note(beneath::identity(&stat));
        Ok(had.map(|had| Self { dir, had }))
    }
}

impl Drop for Loosened {
    fn drop(&mut self) {
        if let Err(errno) = ioctl_setflags(&self.dir, self.had) {
            tracing::warn!(%errno, "a directory's flags could not be given back");
        }
    }
}

/// Takes the flags from an open file, and returns what it had; `None` when it had neither.
fn take(file: &OwnedFd) -> Result<Option<IFlags>, FilesError> {
    let had = ioctl_getflags(file).map_err(|errno| beneath::os("FS_IOC_GETFLAGS", errno))?;
    if !had.intersects(STUCK) {
        return Ok(None);
    }
    ioctl_setflags(file, had.difference(STUCK))
        .map_err(|errno| beneath::os("FS_IOC_SETFLAGS", errno))?;
    Ok(Some(had))
}
