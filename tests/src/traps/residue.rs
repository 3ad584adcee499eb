//! Looks for secrets in raw bytes: as text, as UTF-16, as base64, and inside Firefox's compressed
//! JSON and LevelDB's compressed tables.
//!
//! It refuses to trust a format: whatever cannot be unpacked is still searched as it is.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem::Finder;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, readlinkat, statat};

use super::leveldb;
use super::profiles::MOZ_LZ4;

/// What a warden's own private directories are called.
const QUARANTINE: &str = ".exeunt-quarantine-";
/// Most that compressed JSON may unpack to, in bytes.
const UNPACKED_LIMIT: usize = 256 << 20;

/// One secret in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which of the secrets.
    pub secret: usize,
    /// Where.
    pub place: String,
}

/// Every secret in any form in the files, names and links below `root`. What lies in a quarantine
/// that only root may enter is out of reach, and is not found.
///
/// # Errors
/// Something below `root` could not be read.
pub fn in_tree(root: &Path, secrets: &[&str]) -> Result<Vec<Found>> {
    let needles = Needles::new(secrets);
    let mut found = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(top) = openat(CWD, root, flags, Mode::empty()) else { return Ok(found) };
    let mut open = vec![(names(&top)?, top)];
    let mut place = PathBuf::from(root);
    // By handles, since a path may be longer than a system call takes.
    while let Some((left, dir)) = open.last_mut() {
        let Some(name) = left.pop() else {
            open.pop();
            place.pop();
            continue;
        };
        let path = place.join(name.as_path());
        needles.note(name.as_path().as_os_str().as_encoded_bytes(), &path, &mut found);
        let Ok(stat) = statat(&*dir, name.as_path(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if is_private_quarantine(&name, stat.st_uid, stat.st_mode) => {}
            FileType::Directory => {
                let flags = flags | OFlags::NOFOLLOW;
                let below = openat(&*dir, name.as_path(), flags, Mode::empty());
                let below = below.with_context(|| shown(&path))?;
                place = path;
                open.push((names(&below)?, below));
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let Ok(file) = openat(&*dir, name.as_path(), flags, Mode::empty()) else {
                    continue;
                };
                needles.note(&read_all(file)?, &path, &mut found);
            }
            FileType::Symlink => {
                let target = readlinkat(&*dir, name.as_path(), Vec::new()).unwrap_or_default();
                needles.note(target.as_bytes(), &path, &mut found);
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }
    Ok(found)
}

/// Every secret in any form in one file, such as a raw disk.
///
/// # Errors
/// It could not be read.
pub fn in_file(path: &Path, secrets: &[&str]) -> Result<Vec<Found>> {
    let bytes = std::fs::read(path).with_context(|| shown(path))?;
    let mut found = Vec::new();
    Needles::new(secrets).note(&bytes, path, &mut found);
    Ok(found)
}

/// Every secret in a file that a process of `uid` with the rig's mark still holds open, also when
/// the file has no name any more.
///
/// # Errors
/// `/proc` cannot be read.
pub fn in_open_files(uid: u32, mark: &str, secrets: &[&str]) -> Result<Vec<Found>> {
    use std::os::unix::fs::MetadataExt as _;
    let needles = Needles::new(secrets);
    let wanted = format!("{}={mark}", crate::process::MARK);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let id = entry.file_name();
        let is_process = id.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        if !is_process || entry.metadata().map(|data| data.uid()).ok() != Some(uid) {
            continue;
        }
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if !environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()) {
            continue;
        }
        for held in ["fd", "map_files"] {
            let Ok(held) = std::fs::read_dir(entry.path().join(held)) else { continue };
            for link in held.flatten() {
                // A file that still has its name is found there.
                let nameless = std::fs::metadata(link.path())
                    .is_ok_and(|data| data.is_file() && data.nlink() == 0);
                if nameless && let Ok(bytes) = std::fs::read(link.path()) {
                    needles.note(&bytes, &link.path(), &mut found);
                }
            }
        }
    }
    Ok(found)
}

/// Forms of secrets, ready to be looked for.
struct Needles {
    forms: Vec<(usize, Finder<'static>)>,
}

impl Needles {
    fn new(secrets: &[&str]) -> Self {
        let forms = secrets.iter().enumerate().flat_map(|(secret, text)| {
            forms(text).into_iter().map(move |form| (secret, Finder::new(&form).into_owned()))
        });
        Self { forms: forms.collect() }
    }

    fn note(&self, bytes: &[u8], path: &Path, found: &mut Vec<Found>) {
        let unpacked = unpacked(bytes, path);
        for bytes in std::iter::once(bytes).chain(unpacked.iter().map(Vec::as_slice)) {
            for (secret, finder) in &self.forms {
                let fresh = Found { secret: *secret, place: shown(path) };
                if finder.find(bytes).is_some() && !found.contains(&fresh) {
                    found.push(fresh);
                }
            }
        }
    }
}

/// What a compressed file holds.
fn unpacked(bytes: &[u8], path: &Path) -> Vec<Vec<u8>> {
    if let Some(rest) = bytes.strip_prefix(MOZ_LZ4)
        && let Some((length, block)) = rest.split_at_checked(4)
        && let Ok(length) = <[u8; 4]>::try_from(length)
    {
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(UNPACKED_LIMIT);
        return lz4_flex::block::decompress(block, length.min(UNPACKED_LIMIT))
            .into_iter()
            .collect();
    }
    if path.extension().is_some_and(|end| end == "ldb") {
        leveldb::blocks(bytes)
    } else {
        Vec::new()
    }
}

/// A secret as it may lie on disk: plain, UTF-16 (little endian), and base64 at each of its three
/// alignments, without the digits that its neighbours change.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let wide = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let coded = (0..3_usize).map(|shift| {
        let padded = [&vec![0; shift], secret.as_bytes()].concat();
        let text = STANDARD_NO_PAD.encode(&padded);
        let (first, last) = ((shift * 8).div_ceil(6), padded.len() * 8 / 6);
        text.as_bytes().get(first..last).unwrap_or_default().to_vec()
    });
    [secret.as_bytes().to_vec(), wide].into_iter().chain(coded).collect()
}

fn is_private_quarantine(name: &Path, uid: u32, mode: u32) -> bool {
    name.to_string_lossy().starts_with(QUARANTINE)
        && uid == 0
        && mode & 0o077 == 0
        && crate::people::is_root()
}

fn names(dir: &OwnedFd) -> Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); 64 << 10];
    let mut listed = RawDir::new(dir.as_fd(), &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = listed.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(names)
}

fn read_all(file: OwnedFd) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::from(file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.len() <= 400 {
        return text;
    }
    let head: String = text.chars().take(400).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traps::profiles;

    fn finds(bytes: &[u8]) -> bool {
        let mut found = Vec::new();
        Needles::new(&["canary-0123456789"]).note(bytes, Path::new("x"), &mut found);
        !found.is_empty()
    }

    #[test]
    fn finds_a_secret_in_every_form() {
        assert!(finds(b"..canary-0123456789.."));
        assert!(finds(&profiles::snss("canary-0123456789")));
        assert!(finds(&profiles::session_store("canary-0123456789")));
        for before in ["", "x", "xy", "xyz"] {
            let coded = STANDARD_NO_PAD.encode(format!("{before}canary-0123456789 and more"));
            assert!(finds(coded.as_bytes()), "after {before:?}");
        }
        assert!(!finds(b"canary-012345678"));
    }
}
