//! Old states that are directories: Snapper's, Timeshift's, those of ZFS, and core dumps.
//!
//! It refuses to read any of their files: names alone say what there is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use exeunt_engine::ports::{Keeper, Snapshot};
use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags, openat2};

use crate::mounts::Mount;

/// Where `systemd-coredump(8)` keeps core dumps.
const CORE_DUMPS: &str = "var/lib/systemd/coredump";

/// `.snapshots/NUMBER/info.xml`, in the home or in a directory above it on the same mount
/// (`snapper(8)`).
pub(super) fn of_snapper(home: &Path, mount: &Mount) -> Vec<Snapshot> {
    let above = home.ancestors().take_while(|dir| dir.starts_with(&mount.point));
    let places = above.map(|dir| dir.join(".snapshots"));
    let numbered = places.flat_map(|place| {
        let numbers = names(&place).into_iter().filter(|name| is_number(name));
        numbers.map(move |number| place.join(OsStr::from_bytes(&number)))
    });
    let real = numbered.filter(|place| names(place).iter().any(|name| name == b"info.xml"));
    real.map(|place| snapshot(Keeper::Snapper, &place)).collect()
}

/// `timeshift/snapshots/DATE/localhost` with something of the home in it, on any disk.
pub(super) fn of_timeshift(root: &Path, table: &[Mount], home: &Path) -> Vec<Snapshot> {
    let disks = table.iter().filter(|mount| mount.is_on_disk()).map(|mount| mount.point.clone());
    let mut found = Vec::new();
    for disk in disks.chain([root.to_owned()]) {
        let place = disk.join("timeshift/snapshots");
        for date in names(&place) {
            let dated = place.join(OsStr::from_bytes(&date));
            let copy = dated.join("localhost").join(home.strip_prefix("/").unwrap_or(home));
            if !names(&copy).is_empty() {
                found.push(snapshot(Keeper::Timeshift, &dated));
            }
        }
    }
    found
}

/// `.zfs/snapshot/NAME` at the mount's root, there even where listing does not show it.
pub(super) fn of_zfs(mount: &Mount) -> Vec<Snapshot> {
    let place = mount.point.join(".zfs/snapshot");
    let found = names(&place).into_iter().map(|name| place.join(OsStr::from_bytes(&name)));
    found.map(|place| snapshot(Keeper::Zfs, &place)).collect()
}

/// `core.COMM.UID.BOOT.PID.TIME`: what a program had in memory, tokens among it.
pub(super) fn core_dumps(root: &Path, uid: u32) -> Vec<Snapshot> {
    let place = root.join(CORE_DUMPS);
    let of_account = |name: &Vec<u8>| {
        let fields: Vec<&[u8]> = name.split(|byte| *byte == b'.').collect();
        // A program's name may have dots in it: the id is counted from the end, with or without
        // the ending of a compressed one.
        let ids = [4, 5].map(|from_end| fields.len().checked_sub(from_end));
        let mut ids = ids.into_iter().flatten().filter_map(|at| fields.get(at));
        fields.first() == Some(&b"core".as_slice())
            && ids.any(|id| *id == uid.to_string().as_bytes())
    };
    let found = names(&place).into_iter().filter(of_account);
    let found = found.map(|name| place.join(OsStr::from_bytes(&name)));
    found.map(|place| snapshot(Keeper::CoreDumps, &place)).collect()
}

fn snapshot(keeper: Keeper, place: &Path) -> Snapshot {
    Snapshot { keeper, place: place.display().to_string() }
}

fn is_number(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

/// The names in a directory that no link leads to; none when it cannot be listed.
fn names(place: &Path) -> Vec<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let plain = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let Ok(dir) = openat2(CWD, place, flags, Mode::empty(), plain) else { return Vec::new() };
    let entries = Dir::new(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_bytes().to_vec());
    names.filter(|name| name != b"." && name != b"..").collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn planted(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for file in files {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), b"").unwrap();
        }
        (dir, root)
    }

    fn places(found: &[Snapshot], root: &Path) -> Vec<String> {
        let below = |it: &Snapshot| {
            let place = Path::new(&it.place).strip_prefix(root).unwrap();
            place.display().to_string()
        };
        let mut places: Vec<_> = found.iter().map(below).collect();
        places.sort();
        places
    }

    /// The mount that a planted tree is on, as if it began there.
    fn mount_at(root: &Path) -> Mount {
        let table = Mount::table().unwrap();
        let mount = Mount::of(&table, std::fs::File::open(root).unwrap()).unwrap();
        Mount { point: root.to_owned(), ..mount }
    }

    #[test]
    fn finds_snappers_snapshots_above_the_home_and_nothing_that_only_looks_so() {
        let (_dir, root) = planted(&[
            "home/.snapshots/1/info.xml",
            "home/.snapshots/12/info.xml",
            "home/.snapshots/12/snapshot/alice/x",
            "home/.snapshots/notes/info.xml",
            "home/.snapshots/3/other",
            "home/alice/x",
        ]);
        let found = of_snapper(&root.join("home/alice"), &mount_at(&root));
        assert_eq!(places(&found, &root), ["home/.snapshots/1", "home/.snapshots/12"]);
        std::os::unix::fs::symlink(
            root.join("home/.snapshots"),
            root.join("home/alice/.snapshots"),
        )
        .unwrap();
        assert_eq!(of_snapper(&root.join("home/alice"), &mount_at(&root)).len(), 2);
    }

    #[test]
    fn finds_timeshifts_copies_that_hold_something_of_the_home() {
        let (_dir, root) = planted(&[
            "timeshift/snapshots/2026-11-01_10-00-01/localhost/home/alice/.config/x",
            "timeshift/snapshots/2026-11-02_10-00-01/localhost/etc/passwd",
        ]);
        std::fs::create_dir_all(
            root.join("timeshift/snapshots/2026-11-03_10-00-01/localhost/home/alice"),
        )
        .unwrap();
        let found = of_timeshift(&root, &[], Path::new("/home/alice"));
        assert_eq!(places(&found, &root), ["timeshift/snapshots/2026-11-01_10-00-01"]);
    }

    #[test]
    fn finds_the_snapshots_of_zfs_and_the_core_dumps_of_the_account() {
        let (_dir, root) = planted(&[
            ".zfs/snapshot/daily-1/x",
            "var/lib/systemd/coredump/core.Web Content.1000.abc.77.1700000000000000.zst",
            "var/lib/systemd/coredump/core.a.b.1000.abc.78.1700000000000000",
            "var/lib/systemd/coredump/core.bash.1001.abc.79.1700000000000000.zst",
        ]);
        assert_eq!(places(&of_zfs(&mount_at(&root)), &root), [".zfs/snapshot/daily-1"]);
        assert_eq!(core_dumps(&root, 1000).len(), 2);
    }
}
