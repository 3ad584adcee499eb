//! The few system calls that every file operation is made of.
//!
//! It refuses a path that leaves its handle: `openat2` with `RESOLVE_BENEATH`, no symbolic links
//! and no magic links, and one name at a time elsewhere.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use exeunt_engine::ports::{Entry, FileKind, FilesError, Identity, Name};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxAttributes, StatxFlags,
    openat, openat2, statx,
};
use rustix::io::Errno;

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Room for directory records in one `getdents64` call, in bytes.
const LISTING_BUFFER: usize = 64 * 1024;

/// An operating-system error of the named call.
pub(super) fn os(op: &'static str, errno: Errno) -> FilesError {
    FilesError::Os { op, source: io::Error::from(errno) }
}

/// Sorts the error of an open beneath a handle.
pub(super) fn open_error(errno: Errno) -> FilesError {
    match errno {
        Errno::NOENT | Errno::NOTDIR => FilesError::NotFound,
        Errno::LOOP | Errno::XDEV => FilesError::OutOfBounds,
        other => os("openat2", other),
    }
}

/// A handle on the directory at `path` beneath `dir`, good for everything but listing.
pub(super) fn handle(dir: impl AsFd, path: &[u8]) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, path, flags, Mode::empty(), BENEATH).map_err(open_error)
}

/// The same, but only on the mount of `dir`; a mount in the way is [`FilesError::OutOfBounds`].
pub(super) fn handle_on_mount(dir: impl AsFd, path: &[u8]) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, path, flags, Mode::empty(), BENEATH | ResolveFlags::NO_XDEV).map_err(open_error)
}

/// Opens a regular file beneath `dir`, never blocking on a FIFO and never taking a terminal.
pub(super) fn open_file(
    dir: impl AsFd,
    name: &Name,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, FilesError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat2(dir, name.as_bytes(), flags, mode, BENEATH).map_err(|errno| match errno {
        Errno::NXIO => FilesError::NotFound,
        other => open_error(other),
    })
}

/// `statx` of one name, never following it; `None` when it is not there.
pub(super) fn stat(
    dir: impl AsFd,
    name: &[u8],
    cached: Cached,
) -> Result<Option<Statx>, FilesError> {
    let sync = match cached {
        Cached::Allowed => AtFlags::STATX_DONT_SYNC,
        Cached::No => AtFlags::empty(),
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | sync;
    match statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(os("statx", errno)),
    }
}

/// `statx` of the file behind a handle.
pub(super) fn stat_handle(fd: impl AsFd) -> Result<Statx, FilesError> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    statx(fd, c"", AtFlags::EMPTY_PATH, wanted).map_err(|errno| os("statx", errno))
}

/// Whether a file server may be left unasked, so that one that hangs is not waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cached {
    /// Take what the kernel knows.
    Allowed,
    /// Ask.
    No,
}

/// Which file a `statx` is of.
pub(super) fn identity(stat: &Statx) -> Identity {
    Identity { dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), ino: stat.stx_ino }
}

/// Whether the immutable or append-only flag is set.
pub(super) fn is_stuck(stat: &Statx) -> bool {
    stat.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND)
}

/// A `statx` as the engine's entry; `mount` is the mount id of the directory that holds it.
pub(super) fn entry(name: Name, stat: &Statx, mount: u64) -> Entry {
    let kind = match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => FileKind::Special,
    };
    Entry {
        name,
        identity: identity(stat),
        kind,
        size: stat.stx_size,
        links: u64::from(stat.stx_nlink),
        owner: stat.stx_uid,
        immutable: is_stuck(stat),
        mount_point: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
            || stat.stx_mnt_id != mount,
    }
}

/// One entry of `dir`; `None` when it is not there.
pub(super) fn look(dir: impl AsFd, name: &Name) -> Result<Option<Entry>, FilesError> {
    let mount = stat_handle(&dir)?.stx_mnt_id;
    let found = stat(&dir, name.as_bytes(), Cached::No)?;
    Ok(found.map(|stat| entry(name.clone(), &stat, mount)))
}

/// The names in `dir` and whether each is known to be a directory.
pub(super) fn names(dir: impl AsFd) -> Result<Vec<(Name, bool)>, FilesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let listing = openat(dir, c".", flags, Mode::empty()).map_err(|errno| os("openat", errno))?;
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut records = RawDir::new(&listing, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(record) = records.next() {
        let record = record.map_err(|errno| os("getdents64", errno))?;
        if let Some(name) = Name::new(record.file_name().to_bytes()) {
            names.push((name, record.file_type() == FileType::Directory));
        }
    }
    Ok(names)
}

/// Every entry of `dir`; what vanishes meanwhile is left out.
pub(super) fn list(dir: impl AsFd) -> Result<Vec<Entry>, FilesError> {
    list_some(dir, usize::MAX, |_| true)
}

/// The first `limit` entries that `keep` says yes to; the rest is not looked at.
pub(super) fn list_some(
    dir: impl AsFd,
    limit: usize,
    keep: impl Fn(&Entry) -> bool,
) -> Result<Vec<Entry>, FilesError> {
    let mount = stat_handle(&dir)?.stx_mnt_id;
    let mut entries = Vec::new();
    for (name, is_dir) in names(&dir)? {
        if entries.len() >= limit {
            break;
        }
        // A directory may be the root of a file system whose server hangs: take what is known.
        let cached = if is_dir { Cached::Allowed } else { Cached::No };
        if let Some(stat) = stat(&dir, name.as_bytes(), cached)? {
            let entry = entry(name, &stat, mount);
            entries.extend(keep(&entry).then_some(entry));
        }
    }
    Ok(entries)
}
