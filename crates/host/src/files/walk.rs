//! Walking what lies under an entry, without a stack frame or a descriptor per level.
//!
//! It refuses to cross a mount, to follow a link, and to go on past its limit.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use exeunt_engine::ports::{Entry, FileKind, FilesError, Identity};

use super::beneath;

/// Longest relative path that can be opened at once (`PATH_MAX` with its NUL is 4096 bytes).
const LONGEST_PATH: usize = 4_000;

/// Every regular file and directory at or under `entry`, at most `limit` of them.
pub(super) fn identities(
    dir: impl AsFd,
    entry: &Entry,
    limit: usize,
) -> Result<Vec<Identity>, FilesError> {
    let mut found = Vec::new();
    if counts(entry) && limit > 0 {
        found.push(entry.identity);
    }
    let mut queue = VecDeque::new();
    if entry.kind == FileKind::Dir && !entry.mount_point {
        queue.push_back(entry.name.as_bytes().to_vec());
    }
    while let Some(path) = queue.pop_front() {
        let below = match beneath::handle_on_mount(&dir, &path) {
            Ok(below) => below,
            // Vanished, or swapped for a link or a mount: nothing of ours lies there.
            Err(FilesError::NotFound | FilesError::OutOfBounds) => continue,
            Err(error) => return Err(error),
        };
        let left = limit.saturating_sub(found.len());
        if left == 0 {
            break;
        }
        let wanted = |child: &Entry| counts(child) && !child.mount_point;
        for child in beneath::list_some(&below, left, wanted)? {
            found.push(child.identity);
            if child.kind == FileKind::Dir {
                queue.push_back(join(&path, &child)?);
            }
        }
    }
    Ok(found)
}

fn counts(entry: &Entry) -> bool {
    matches!(entry.kind, FileKind::File | FileKind::Dir)
}

fn join(path: &[u8], child: &Entry) -> Result<Vec<u8>, FilesError> {
    let joined = [path, b"/", child.name.as_bytes()].concat();
    if joined.len() > LONGEST_PATH {
        return Err(beneath::os("openat2", rustix::io::Errno::NAMETOOLONG));
    }
    Ok(joined)
}
