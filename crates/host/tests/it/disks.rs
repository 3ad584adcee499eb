//! What disks keep of what is erased: real file systems in a file, mounted for this.

use std::os::unix::fs::{FileExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use exeunt_engine::ports::{Disks, Keeper, Trim};
use exeunt_host::disks::{LinuxDisks, await_trims};
use exeunt_host::users::{Account, as_account};

use crate::homes::{STRANGER, is_root};
use crate::programs::need;

/// A file system in a file, mounted until this is dropped.
struct Disk {
    image: PathBuf,
    point: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    /// Makes one with `mkfs`, as large as `megabytes`; nothing when this user may not mount.
    fn make(mkfs: &str, package: &str, megabytes: u64) -> Option<Self> {
        if !is_root("mounting") {
            return None;
        }
        need(mkfs, package);
        let memory = tempfile::tempdir_in("/dev/shm");
        let dir = memory.or_else(|_| tempfile::tempdir()).unwrap();
        let (image, point) = (dir.path().join("image"), dir.path().join("point"));
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        std::fs::create_dir(&point).unwrap();
        run(Command::new(mkfs).arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point));
        Some(Self { image, point, _dir: dir })
    }

    fn home(&self, name: &str) -> Account {
        let home = self.point.join(name);
        if !home.is_dir() {
            std::fs::create_dir_all(&home).unwrap();
        }
        chown(&home, Some(STRANGER), Some(STRANGER)).unwrap();
        Account { uid: STRANGER, gid: STRANGER, name: "prey".into(), home }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.point));
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {said}");
}

fn btrfs(words: &[&str], places: &[&Path]) {
    run(Command::new("btrfs").args(["-q", "subvolume"]).args(words).args(places));
}

fn found(disks: &LinuxDisks) -> Vec<(Keeper, String)> {
    let (found, errors) = disks.snapshots();
    assert!(errors.is_empty(), "{errors:?}");
    found.into_iter().map(|snapshot| (snapshot.keeper, snapshot.place)).collect()
}

#[test]
fn names_every_btrfs_snapshot_of_the_home_and_no_other_subvolume() {
    let Some(disk) = Disk::make("mkfs.btrfs", "btrfs-progs", 128) else { return };
    let at = |name: &str| disk.point.join(name);
    btrfs(&["create"], &[&at("@home")]);
    btrfs(&["create"], &[&at("other")]);
    let account = disk.home("@home/alice");
    let disks = LinuxDisks::of(&account).unwrap();
    assert_eq!(found(&disks), []);
    std::fs::create_dir_all(at("timeshift-btrfs/snapshots/2026-11-01")).unwrap();
    btrfs(&["create"], &[&at("@home/.snapshots")]);
    std::fs::create_dir(at("@home/.snapshots/1")).unwrap();
    for (from, to) in [
        ("@home", "timeshift-btrfs/snapshots/2026-11-01/@home"),
        ("@home", "@home/.snapshots/1/snapshot"),
        ("other", "other-before"),
        ("timeshift-btrfs/snapshots/2026-11-01/@home", "copy-of-a-copy"),
    ] {
        btrfs(&["snapshot"], &[&at(from), &at(to)]);
    }
    let expected = [
        (Keeper::Btrfs, "copy-of-a-copy".to_owned()),
        (Keeper::Snapper, "@home/.snapshots/1/snapshot".to_owned()),
        (Keeper::Timeshift, "timeshift-btrfs/snapshots/2026-11-01/@home".to_owned()),
    ];
    assert_eq!(found(&disks), expected);
    btrfs(&["delete"], &[&at("copy-of-a-copy")]);
    assert_eq!(found(&disks), expected[1..]);
    let (_, errors) = as_account(STRANGER, STRANGER, || disks.snapshots()).unwrap();
    assert_eq!(errors.len(), 1, "user mode says that it cannot list them: {errors:?}");
}

/// R10: no overwriting is claimed, and the disk is told what is free where it listens.
#[test]
fn tells_the_disk_of_free_blocks_and_says_how_many() {
    let Some(disk) = Disk::make("mkfs.ext4", "e2fsprogs", 16) else { return };
    let account = disk.home("alice");
    let secret = account.home.join("Cookies");
    std::fs::write(&secret, [b"exeunt-canary-on-a-disk".as_slice(), &[b'x'; 9000]].concat())
        .unwrap();
    rustix::fs::syncfs(std::fs::File::open(&disk.point).unwrap()).unwrap();
    assert!(on_disk(&disk.image), "the secret never was on the disk");
    erase(&account, "Cookies");
    rustix::fs::syncfs(std::fs::File::open(&disk.point).unwrap()).unwrap();
    assert!(on_disk(&disk.image), "unlinking alone does not take it from the disk");
    let disks = LinuxDisks::of(&account).unwrap();
    assert_eq!(disks.trim(), Trim::NotBegun);
    disks.begin_trim();
    assert!(await_trims(Duration::from_secs(30)));
    let trimmed = disks.trim();
    assert!(matches!(trimmed, Trim::Done { bytes } if bytes > 0), "{trimmed:?}");
    assert!(!on_disk(&disk.image));
}

#[test]
fn leaves_a_disk_alone_that_its_file_system_tells_by_itself() {
    let Some(disk) = Disk::make("mkfs.ext4", "e2fsprogs", 16) else { return };
    run(Command::new("mount").args(["-o", "remount,discard"]).arg(&disk.point));
    let disks = LinuxDisks::of(&disk.home("alice")).unwrap();
    disks.begin_trim();
    assert_eq!(disks.trim(), Trim::NotNeeded);
    run(Command::new("mount").args(["-o", "remount,nodiscard"]).arg(&disk.point));
    let disks = LinuxDisks::of(&disk.home("alice")).unwrap();
    as_account(STRANGER, STRANGER, || disks.begin_trim()).unwrap();
    assert_eq!(disks.trim(), Trim::NotAllowed);
}

fn erase(account: &Account, file: &str) {
    use exeunt_engine::ports::Files;
    use exeunt_host::files::{Bases, LinuxFiles};
    let files = LinuxFiles::open(&account.home, account, Bases::default(), &[]).unwrap();
    let home = files.base(exeunt_catalogue::Base::Home).unwrap().unwrap();
    let entry = files.look(&home, &crate::homes::name(file)).unwrap().unwrap();
    assert_eq!(files.erase(&home, &entry).unwrap(), 1);
}

/// Whether the canary lies anywhere in the raw image.
fn on_disk(image: &Path) -> bool {
    let file = std::fs::File::open(image).unwrap();
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.windows(23).any(|part| part == b"exeunt-canary-on-a-disk")
}
