//! Kerberos ticket caches in files: `/tmp/krb5cc_UID`, and those in the home and the runtime
//! directory.
//!
//! It refuses to remove anything but a regular file of the account that is named, and shaped, like a
//! ticket cache; and it does so with the account's own rights.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use exeunt_engine::ports::AgentError;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat};
use rustix::io::read;

use super::reach;
use super::talk::os;

/// The directory that ticket caches are in by default, outside every home.
pub(super) const SHARED: &str = "/tmp";

/// Whether `name` is that of a ticket cache of `uid` in [`SHARED`]: `krb5cc_UID`, `krb5cc_UID_*`.
pub(super) fn is_shared_name(name: &OsStr, uid: u32) -> bool {
    let own = format!("krb5cc_{uid}");
    let rest = name.as_bytes().strip_prefix(own.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"_"))
}

/// How many ticket caches stand at `path`: one for a file, more for a directory of them. Call it as
/// the account.
pub(super) fn count(path: &Path, uid: u32) -> Result<u64, AgentError> {
    Ok(caches(path, uid).map_err(os("open"))?.map_or(0, |(_, names)| names.len() as u64))
}

/// Removes the ticket caches at `path`. Call it as the account.
pub(super) fn destroy(path: &Path, uid: u32) -> Result<(), AgentError> {
    let Some((dir, names)) = caches(path, uid).map_err(os("open"))? else { return Ok(()) };
    for name in names {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one removal outside the home: on a held handle, with the account's rights"
        )]
        match rustix::fs::unlinkat(&dir, name.as_os_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(os("unlinkat")(errno.into())),
        }
    }
    Ok(())
}

/// Why the cache at `path` is left alone, when it is: another name would keep its tickets.
pub(super) fn left_alone(path: &Path) -> Option<String> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    use std::os::unix::fs::MetadataExt;
    let linked = meta.is_file() && meta.nlink() > 1;
    linked.then(|| "the ticket cache has another name elsewhere".to_owned())
}

/// The directory that holds the caches at `path`, and their names in it.
fn caches(path: &Path, uid: u32) -> io::Result<Option<(OwnedFd, Vec<OsString>)>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let parent = match reach::open(parent, uid) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(stat) = reach::look(&parent, name)? else { return Ok(None) };
    if stat.st_uid != uid {
        return Ok(None);
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        let names = if is_cache(&parent, name, uid)? { vec![name.to_owned()] } else { vec![] };
        return Ok(Some((parent, names)));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(&parent, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name.as_bytes().starts_with(b"tkt") && is_cache(&dir, name, uid)? {
            names.push(name.to_owned());
        }
    }
    Ok(Some((dir, names)))
}

/// Whether `name` is a regular file of the account that begins as a ticket cache does: format
/// versions 0x0501 to 0x0504 (MIT krb5, "Credential cache file format").
fn is_cache(dir: &OwnedFd, name: &OsStr, uid: u32) -> io::Result<bool> {
    let Some(stat) = reach::look(dir, name)? else { return Ok(false) };
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_uid != uid || stat.st_nlink > 1 {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let mut start = [0; 2];
    Ok(read(&file, &mut start)? == 2 && matches!(start, [5, 1..=4]))
}
