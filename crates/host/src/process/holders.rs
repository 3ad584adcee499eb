//! Who holds a file open: descriptors, mappings, working and root directories.
//!
//! It refuses to judge by name, and to ask a file server: identities come from the kernel.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use exeunt_engine::ports::Identity;
use rustix::fs::{AtFlags, StatxFlags, makedev, readlinkat, statx};

use super::proc::{Pinned, names_in};

/// Which of `wanted` the process holds. Empty once it is gone.
///
/// # Errors
/// `PermissionDenied` when its descriptors are hidden from us.
pub(super) fn held(
    process: &Pinned,
    wanted: &BTreeSet<Identity>,
) -> io::Result<BTreeSet<Identity>> {
    let mut held = BTreeSet::new();
    // Threads usually share descriptors; when the leader has ended only the others still show them.
    let leader_ended =
        process.stat()?.is_some_and(|s| matches!(s.state, b'Z' | b'X') && !s.is_zombie());
    let mut places = vec![String::new()];
    if leader_ended {
        places.extend(names_in(process.dir(), "task")?.iter().map(|t| format!("task/{t}/")));
    }
    for place in places {
        let mut look = |link: &str| {
            if let Some(identity) = followed(process.dir(), &format!("{place}{link}"))
                && wanted.contains(&identity)
            {
                held.insert(identity);
            }
        };
        look("cwd");
        look("root");
        for descriptor in names_in(process.dir(), &format!("{place}fd"))? {
            look(&format!("fd/{descriptor}"));
        }
        mapped(process, &place, wanted, &mut held)?;
    }
    Ok(held)
}

/// The paths that the nameless files which the process has open had, as the kernel remembers them.
///
/// # Errors
/// `PermissionDenied` when its descriptors are hidden from us.
pub(super) fn nameless(process: &Pinned) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for descriptor in names_in(process.dir(), "fd")? {
        let link = format!("fd/{descriptor}");
        let Ok(target) = readlinkat(process.dir(), &link, Vec::new()) else { continue };
        let path = target.as_bytes().strip_suffix(b" (deleted)");
        paths.extend(path.filter(|path| path.starts_with(b"/")).map(<[u8]>::to_vec));
    }
    Ok(paths)
}

/// Which file a link in `/proc` stands for, whatever its path says.
fn followed(dir: impl AsFd, link: &str) -> Option<Identity> {
    let stat = statx(dir, link, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some(Identity { dev: makedev(stat.stx_dev_major, stat.stx_dev_minor), ino: stat.stx_ino })
}

/// Adds the wanted files that are mapped. Layered file systems show another device number in
/// `maps` than `stat` does, so a mapping with a wanted inode number is looked at through
/// `map_files`; where that is hidden from us, the number alone counts.
fn mapped(
    process: &Pinned,
    place: &str,
    wanted: &BTreeSet<Identity>,
    held: &mut BTreeSet<Identity>,
) -> io::Result<()> {
    let maps = process.read(&format!("{place}maps"))?.unwrap_or_default();
    for line in maps.split(|&b| b == b'\n') {
        let Some((range, shown)) = parse_mapping(line) else { continue };
        if wanted.contains(&shown) {
            held.insert(shown);
            continue;
        }
        let alike: Vec<_> = wanted.iter().filter(|w| w.ino == shown.ino).copied().collect();
        if alike.is_empty() {
            continue;
        }
        match followed(process.dir(), &format!("map_files/{range}")) {
            Some(identity) => held.extend(wanted.get(&identity)),
            None => held.extend(alike),
        }
    }
    Ok(())
}

/// One line of `maps`: address range and the file, if any, see proc_pid_maps(5).
fn parse_mapping(line: &[u8]) -> Option<(&str, Identity)> {
    let line = std::str::from_utf8(line.split(|&b| b == b'/').next()?).ok()?;
    let mut fields = line.split_ascii_whitespace();
    let range = fields.next()?;
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    let hex = |text| u32::from_str_radix(text, 16).ok();
    let ino: u64 = fields.next()?.parse().ok()?;
    let dev = makedev(hex(major)?, hex(minor)?);
    (ino != 0).then_some((range, Identity { dev, ino }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_mapping_and_skips_anonymous_ones() {
        let line = b"7f00-7f10 r--s 00000000 fe:01 1311 \x20 /home/\xff/x";
        let (range, identity) = parse_mapping(line).unwrap();
        assert_eq!(range, "7f00-7f10");
        assert_eq!(identity, Identity { dev: makedev(0xfe, 1), ino: 1311 });
        assert!(parse_mapping(b"7f00-7f10 rw-p 00000000 00:00 0 [heap]").is_none());
    }
}
