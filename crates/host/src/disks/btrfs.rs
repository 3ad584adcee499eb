//! Subvolumes of a btrfs that share files with the one that a home is in.
//!
//! It refuses to mount anything: the file system's own root tree names them, to root.
//!
//! Layouts: `btrfs_ioctl_search_args`, `btrfs_ioctl_ino_lookup_args` (`linux/btrfs.h`),
//! `btrfs_root_item`, `btrfs_root_ref` (`linux/btrfs_tree.h`). All on disk is little-endian.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use exeunt_engine::ports::{Keeper, Snapshot};
use rustix::fs::{Mode, OFlags, openat};

/// `_IOWR(0x94, 17, struct btrfs_ioctl_search_args)`.
const TREE_SEARCH: libc::Ioctl = 0xD000_9411;
/// `_IOWR(0x94, 18, struct btrfs_ioctl_ino_lookup_args)`.
const INO_LOOKUP: libc::Ioctl = 0xD000_9412;
/// Both arguments have this size, in bytes.
const ARGUMENT: usize = 4096;
/// The tree of trees.
const ROOT_TREE: u64 = 1;
/// The root directory of every subvolume.
const FIRST_INODE: u64 = 256;
/// The subvolume that holds all others.
const TOP: u64 = 5;
const ROOT_ITEM: u32 = 132;
const ROOT_BACKREF: u32 = 144;
/// Where a root item has its identifier, and its parent's.
const UUID_AT: usize = 247;
const PARENT_AT: usize = 263;
/// Deepest nesting of subvolumes that is named in full.
const DEEPEST: usize = 16;
/// At most so many subvolumes are read.
const MOST: usize = 20_000;

type Uuid = [u8; 16];

/// One subvolume.
#[derive(Default)]
struct Subvolume {
    uuid: Uuid,
    /// What it was taken from; zeros when it is no snapshot.
    parent: Uuid,
    /// The subvolume that it is in, the directory there, and its name. None: it was deleted.
    within: Option<(u64, u64, String)>,
}

/// Every subvolume that was taken from the one that `dir` is in, or that it was taken from, at any
/// remove.
///
/// # Errors
/// `EPERM` for anybody but root.
pub(super) fn relatives(dir: BorrowedFd<'_>) -> io::Result<Vec<Snapshot>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(dir, c".", flags, Mode::empty())?;
    let (own, _) = lookup(&dir, 0, FIRST_INODE)?;
    let all = subvolumes(&dir)?;
    let related = related(&all, own);
    let live = related.into_iter().filter(|id| all.get(id).is_some_and(|it| it.within.is_some()));
    Ok(live.map(|id| snapshot(path(&dir, &all, id))).collect())
}

fn snapshot(place: String) -> Snapshot {
    let keeper = if place.contains(".snapshots/") {
        Keeper::Snapper
    } else if place.contains("timeshift-btrfs/") {
        Keeper::Timeshift
    } else {
        Keeper::Btrfs
    };
    Snapshot { keeper, place }
}

/// What a chain of snapshots connects with `own`, without itself.
fn related(all: &BTreeMap<u64, Subvolume>, own: u64) -> Vec<u64> {
    let none = Uuid::default();
    let mut family: Vec<u64> = vec![own];
    let mut at = 0;
    while let Some(member) = family.get(at).and_then(|id| all.get(id)) {
        let kin = |other: &Subvolume| {
            (other.parent != none && other.parent == member.uuid)
                || (member.parent != none && member.parent == other.uuid)
                || (member.parent != none && member.parent == other.parent)
        };
        let fresh: Vec<u64> = all
            .iter()
            .filter(|(id, other)| !family.contains(id) && kin(other))
            .map(|(id, _)| *id)
            .collect();
        family.extend(fresh);
        at += 1;
    }
    family.retain(|id| *id != own);
    family
}

/// A subvolume's path from the top of the file system.
fn path(dir: &OwnedFd, all: &BTreeMap<u64, Subvolume>, mut id: u64) -> String {
    let mut path = String::new();
    for _ in 0..DEEPEST {
        let Some((parent, directory, name)) = all.get(&id).and_then(|it| it.within.clone()) else {
            break;
        };
        // Ends with a slash, unless it is empty.
        let above = lookup(dir, parent, directory).map(|(_, path)| path).unwrap_or_default();
        path = if path.is_empty() { name } else { format!("{name}/{path}") };
        path = format!("{above}{path}");
        if parent == TOP {
            break;
        }
        id = parent;
    }
    path
}

fn subvolumes(dir: &OwnedFd) -> io::Result<BTreeMap<u64, Subvolume>> {
    let mut all: BTreeMap<u64, Subvolume> = BTreeMap::new();
    let mut next = Key { id: FIRST_INODE, kind: ROOT_ITEM, offset: 0 };
    loop {
        let found = search(dir, next)?;
        let Some((last, _)) = found.last() else { return Ok(all) };
        next = last.after();
        for (key, item) in found {
            match key.kind {
                ROOT_ITEM => {
                    let known = all.entry(key.id).or_default();
                    (known.uuid, known.parent) = (array(&item, UUID_AT), array(&item, PARENT_AT));
                }
                ROOT_BACKREF => {
                    let name = item.get(18..).unwrap_or_default();
                    let name = String::from_utf8_lossy(name).into_owned();
                    all.entry(key.id).or_default().within =
                        Some((key.offset, number(&item, 0), name));
                }
                _ => {}
            }
        }
        if all.len() > MOST {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
    }
}

/// Where an item is in a tree.
#[derive(Clone, Copy)]
struct Key {
    id: u64,
    kind: u32,
    offset: u64,
}

impl Key {
    fn after(self) -> Self {
        match self.offset.checked_add(1) {
            Some(offset) => Self { offset, ..self },
            None => Self { kind: self.kind + 1, offset: 0, ..self },
        }
    }
}

/// Items of the root tree from `first` on: as many as one call gives, of subvolumes alone.
fn search(dir: &OwnedFd, first: Key) -> io::Result<Vec<(Key, Vec<u8>)>> {
    let mut argument = [0; ARGUMENT];
    // Objects above are trees of the file system's own (-1 and downwards).
    let last_id = u64::MAX - 256;
    let words = [ROOT_TREE, first.id, last_id, first.offset, u64::MAX, 0, u64::MAX];
    for (at, word) in words.into_iter().enumerate() {
        put(&mut argument, at * 8, &word.to_ne_bytes());
    }
    put(&mut argument, 56, &first.kind.to_ne_bytes());
    put(&mut argument, 60, &ROOT_BACKREF.to_ne_bytes());
    put(&mut argument, 64, &u32::MAX.to_ne_bytes());
    ioctl(dir, TREE_SEARCH, &mut argument)?;
    let count = u32::from_ne_bytes(array(&argument, 64));
    let mut at = 104;
    let mut found = Vec::new();
    for _ in 0..count {
        let word = |from: usize| u64::from_ne_bytes(array(&argument, at + from));
        let half = |from: usize| u32::from_ne_bytes(array(&argument, at + from));
        let key = Key { id: word(8), offset: word(16), kind: half(24) };
        let length = usize::try_from(half(28)).map_err(io::Error::other)?;
        let item = argument.get(at + 32..at + 32 + length).unwrap_or_default().to_vec();
        found.push((key, item));
        at += 32 + length;
    }
    Ok(found)
}

/// The tree that `dir` is in when `tree` is 0, else `tree`; and the path of a directory in it.
fn lookup(dir: &OwnedFd, tree: u64, inode: u64) -> io::Result<(u64, String)> {
    let mut argument = [0; ARGUMENT];
    put(&mut argument, 0, &tree.to_ne_bytes());
    put(&mut argument, 8, &inode.to_ne_bytes());
    ioctl(dir, INO_LOOKUP, &mut argument)?;
    let path = argument.get(16..).unwrap_or_default().split(|byte| *byte == 0).next();
    let path = String::from_utf8_lossy(path.unwrap_or_default()).into_owned();
    Ok((u64::from_ne_bytes(array(&argument, 0)), path))
}

#[expect(unsafe_code, reason = "no safe interface has these calls")]
fn ioctl(file: &OwnedFd, call: libc::Ioctl, argument: &mut [u8; ARGUMENT]) -> io::Result<()> {
    // SAFETY: the descriptor is open, and both calls read and write exactly ARGUMENT bytes, which
    // nobody else has.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), call, argument.as_mut_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in into.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// `N` bytes from `at` on; zeros for what is not there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    put(&mut out, 0, bytes.get(at..).unwrap_or_default());
    out
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subvolume(uuid: u8, parent: u8) -> Subvolume {
        Subvolume { uuid: [uuid; 16], parent: [parent; 16], within: None }
    }

    #[test]
    fn snapshots_of_snapshots_and_what_a_rollback_left_are_relatives() {
        let all = BTreeMap::from([
            (256, subvolume(1, 0)),
            (257, subvolume(2, 1)),
            (258, subvolume(3, 2)),
            (259, subvolume(4, 0)),
            // Its origin is gone, and with it the only link but the common parent.
            (260, subvolume(5, 9)),
            (261, subvolume(6, 9)),
        ]);
        assert_eq!(related(&all, 256), [257, 258]);
        assert_eq!(related(&all, 258), [257, 256]);
        assert_eq!(related(&all, 259), Vec::<u64>::new());
        assert_eq!(related(&all, 260), [261]);
    }

    #[test]
    fn a_snapshot_is_named_by_who_made_it() {
        let keeper = |place: &str| snapshot(place.to_owned()).keeper;
        assert_eq!(keeper("@home/.snapshots/7/snapshot"), Keeper::Snapper);
        assert_eq!(keeper("timeshift-btrfs/snapshots/2026-11-01/@home"), Keeper::Timeshift);
        assert_eq!(keeper("before-the-update"), Keeper::Btrfs);
    }
}
