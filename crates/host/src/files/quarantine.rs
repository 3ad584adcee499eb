//! Moving surveyed entries out of reach by rename, on held handles.
//!
//! It refuses to keep what was not surveyed: another file that stands there is put back.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use exeunt_engine::ports::{Entry, FilesError, Name};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fsync, mkdirat, openat, renameat_with};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{beneath, erase};

/// What every quarantine's name begins with.
const PREFIX: &str = ".exeunt-quarantine-";

/// How often a name that is taken is tried again with a number behind it.
const TRIES: u32 = 64;

/// A fresh private directory that entries are moved into.
#[derive(Debug)]
pub struct Quarantine {
    dir: OwnedFd,
    parent: OwnedFd,
    name: Name,
    /// Entries that came in by mistake and could not be put back; never erased.
    spared: Mutex<BTreeSet<Name>>,
}

impl AsFd for Quarantine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Quarantine {
    /// Moves `entry` in and looks which file really came; another one goes back.
    pub(super) fn take(
        &self,
        dir: impl AsFd,
        entry: &Entry,
        as_name: &Name,
    ) -> Result<(), FilesError> {
        erase::permit_move(&dir, entry)?;
        move_entry(&dir, &entry.name, &self.dir, as_name, RenameFlags::NOREPLACE)?;
        let came = beneath::look(&self.dir, as_name)?;
        if came.is_some_and(|came| came.identity == entry.identity) {
            return Ok(());
        }
        self.put_back(dir, &entry.name, as_name);
        Err(FilesError::IdentityChanged)
    }

    /// Unlinks everything in here, and then the directory itself. Returns how many files went.
    pub(super) fn empty(&self, means: erase::Means<'_>) -> Result<u64, FilesError> {
        let spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let went = erase::contents(&self.dir, means, &spared);
        if !matches!(went, Ok(_) | Err(FilesError::LinkedElsewhere { complete: true, .. })) {
            return went;
        }
        if !spared.is_empty() {
            return Err(beneath::os("unlinkat", Errno::NOTEMPTY));
        }
        let stands = beneath::look(&self.parent, &self.name)?.map(|e| e.identity);
        if stands == Some(beneath::identity(&beneath::stat_handle(&self.dir)?)) {
            erase::remove_dir(&self.parent, &self.name)?;
        }
        went
    }

    fn put_back(&self, dir: impl AsFd, name: &Name, as_name: &Name) {
        let beside = |n: u32| Name::new(&[name.as_bytes(), format!(".{n}").as_bytes()].concat());
        let names = std::iter::once(Some(name.clone())).chain((1..=9).map(beside));
        for name in names.flatten() {
            if move_entry(&self.dir, as_name, &dir, &name, RenameFlags::NOREPLACE).is_ok() {
                return;
            }
        }
        tracing::warn!("an entry that was not surveyed could not be put back; it is kept");
        self.spared.lock().unwrap_or_else(PoisonError::into_inner).insert(as_name.clone());
    }
}

/// Opens a directory that a caller offered for quarantines. Only our own user may write to it.
pub(super) fn open_candidate(path: &Path) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(CWD, path, flags, Mode::empty()).map_err(beneath::open_error)?;
    let stat = beneath::stat_handle(&dir)?;
    let ours = stat.stx_uid == geteuid().as_raw() && stat.stx_mode & 0o022 == 0;
    if ours { Ok(dir) } else { Err(beneath::os("statx", Errno::PERM)) }
}

/// Makes a fresh quarantine in `parent`; one that is not really ours and on `mount` is refused.
pub(super) fn make(parent: OwnedFd, order: &str, mount: u64) -> Result<Quarantine, FilesError> {
    let (name, dir) = make_private_dir(&parent, &format!("{PREFIX}{}", plain(order)))?;
    if beneath::stat_handle(&dir)?.stx_mnt_id != mount {
        erase::remove_dir(&parent, &name)?;
        return Err(FilesError::OtherMount);
    }
    Ok(Quarantine { dir, parent, name, spared: Mutex::default() })
}

/// Makes a fresh 0700 directory whose name begins with `stem`, and opens it.
pub(super) fn make_private_dir(
    parent: impl AsFd,
    stem: &str,
) -> Result<(Name, OwnedFd), FilesError> {
    for attempt in 0..TRIES {
        let text = if attempt == 0 { stem.to_owned() } else { format!("{stem}.{attempt}") };
        let name = Name::new(text.as_bytes()).ok_or(FilesError::OutOfBounds)?;
        match mkdirat(&parent, name.as_bytes(), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(errno) => return Err(beneath::os("mkdirat", errno)),
        }
        let dir = beneath::handle_on_mount(&parent, name.as_bytes())?;
        let stat = beneath::stat_handle(&dir)?;
        if stat.stx_uid != geteuid().as_raw() || stat.stx_mode & 0o077 != 0 {
            return Err(FilesError::IdentityChanged);
        }
        return Ok((name, dir));
    }
    Err(beneath::os("mkdirat", Errno::EXIST))
}

/// Quarantines in `parent` that are ours: made by our user, and private.
pub(super) fn leftovers(parent: impl AsFd) -> Result<Vec<Quarantine>, FilesError> {
    let mut left = Vec::new();
    for (name, _) in beneath::names(&parent)? {
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(dir) = beneath::handle_on_mount(&parent, name.as_bytes()) else { continue };
        let stat = beneath::stat_handle(&dir)?;
        if stat.stx_uid == geteuid().as_raw() && stat.stx_mode & 0o077 == 0 {
            let parent = parent.as_fd().try_clone_to_owned();
            let parent = parent.map_err(|source| FilesError::Os { op: "dup", source })?;
            left.push(Quarantine { dir, parent, name, spared: Mutex::default() });
        }
    }
    Ok(left)
}

/// Whether `entry` still stands where it was surveyed, and can be moved at all: as it is now.
pub(super) fn check_unchanged(dir: impl AsFd, entry: &Entry) -> Result<Entry, FilesError> {
    let now = beneath::look(dir, &entry.name)?.ok_or(FilesError::NotFound)?;
    if now.identity != entry.identity {
        return Err(FilesError::IdentityChanged);
    }
    if now.mount_point { Err(FilesError::OtherMount) } else { Ok(now) }
}

/// Moves one name from one held directory to another.
#[expect(clippy::disallowed_methods, reason = "the one place that renames entries of a home")]
pub(super) fn move_entry(
    from: impl AsFd,
    name: &Name,
    to: impl AsFd,
    as_name: &Name,
    flags: RenameFlags,
) -> Result<(), FilesError> {
    renameat_with(from, name.as_bytes(), to, as_name.as_bytes(), flags).map_err(|errno| match errno
    {
        Errno::NOENT => FilesError::NotFound,
        Errno::XDEV => FilesError::OtherMount,
        other => beneath::os("renameat2", other),
    })
}

/// Makes the names in a directory durable, as far as its file system can.
pub(super) fn sync(dir: impl AsFd) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = openat(dir, c".", flags, Mode::empty()).and_then(fsync);
    if let Err(error) = synced {
        tracing::debug!(%error, "a directory could not be synced");
    }
}

/// An order's id as part of a file name: letters, digits and dashes, at most 64 of them.
fn plain(order: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    order.chars().take(64).map(fits).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn held(path: &Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).unwrap()
    }

    fn rig() -> (tempfile::TempDir, OwnedFd, Quarantine, Entry) {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("Cookies"), b"surveyed").unwrap();
        let dir = held(home.path());
        let entry = beneath::look(&dir, &Name::new(b"Cookies").unwrap()).unwrap().unwrap();
        let mount = beneath::stat_handle(&dir).unwrap().stx_mnt_id;
        let quarantine = make(held(home.path()), "txn/../1", mount).unwrap();
        (home, dir, quarantine, entry)
    }

    fn swap(home: &Path) {
        fs::write(home.join("new"), b"not surveyed").unwrap();
        fs::hard_link(home.join("Cookies"), home.join("surveyed-elsewhere")).unwrap();
        let (dir, new) = (held(home), Name::new(b"new").unwrap());
        let cookies = Name::new(b"Cookies").unwrap();
        move_entry(&dir, &new, &dir, &cookies, RenameFlags::empty()).unwrap();
    }

    #[test]
    fn puts_back_a_file_that_was_swapped_in_between_look_and_rename() {
        let (home, dir, quarantine, entry) = rig();
        swap(home.path());
        let as_name = Name::new(b"0").unwrap();
        let result = quarantine.take(&dir, &entry, &as_name);
        assert!(matches!(result, Err(FilesError::IdentityChanged)), "{result:?}");
        assert_eq!(fs::read(home.path().join("Cookies")).unwrap(), b"not surveyed");
        assert!(beneath::look(&quarantine, &as_name).unwrap().is_none());
    }

    #[test]
    fn never_erases_what_came_in_by_mistake_and_could_not_go_back() {
        let (home, dir, quarantine, entry) = rig();
        swap(home.path());
        let as_name = Name::new(b"0").unwrap();
        let cookies = Name::new(b"Cookies").unwrap();
        move_entry(&dir, &cookies, &quarantine, &as_name, RenameFlags::NOREPLACE).unwrap();
        // Every name that it could go back to is taken meanwhile.
        for taken in std::iter::once(String::new()).chain((1..=9).map(|n| format!(".{n}"))) {
            fs::write(home.path().join(format!("Cookies{taken}")), b"taken").unwrap();
        }
        quarantine.put_back(&dir, &entry.name, &as_name);
        let owner = crate::users::Account::of_uid(geteuid().as_raw()).unwrap();
        let means = erase::Means { owner: &owner, freed: &super::super::flags::Freed::default() };
        assert!(quarantine.empty(means).is_err());
        let kept = super::super::linux::read_file(&quarantine, &as_name, 100).unwrap();
        assert_eq!(kept, b"not surveyed");
    }

    #[test]
    fn names_a_quarantine_after_its_order_without_leaving_the_directory() {
        let (_home, _dir, quarantine, _entry) = rig();
        assert_eq!(quarantine.name.as_bytes(), b".exeunt-quarantine-txn____1");
    }
}
