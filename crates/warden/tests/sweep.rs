//! `exeunt-warden sweep`, as an upgrade or a removal runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const STRANGER: u32 = 54_322;
/// More than any process has.
const NO_PROCESS: u32 = 4_194_400;

fn private(dir: &Path, owner: u32) -> PathBuf {
    std::fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
    std::fs::write(dir.join("1-2"), "token").unwrap();
    for place in [dir.to_owned(), dir.join("1-2")] {
        chown(&place, Some(owner), Some(owner)).unwrap();
    }
    dir.to_owned()
}

#[test]
fn empties_every_place_where_a_quarantine_or_a_copy_can_have_been_left() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: another account's home needs root");
        return;
    }
    let homes = tempfile::tempdir().unwrap();
    std::fs::set_permissions(homes.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (home, state) = (homes.path().join("home"), homes.path().join("state"));
    for (dir, owner) in [(&home, STRANGER), (&state, 0)] {
        std::fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
        chown(dir, Some(owner), Some(owner)).unwrap();
    }
    let scratch = |pid: u32, owner| {
        let name = format!("exeunt-scratch-{pid}-{:016x}", std::process::id());
        private(&Path::new("/dev/shm").join(name), owner)
    };
    let left = [
        private(&state.join(".exeunt-quarantine-a"), 0),
        private(&homes.path().join(".exeunt-quarantine-b"), 0),
        private(&home.join(".exeunt-quarantine-c"), 0),
        scratch(NO_PROCESS, STRANGER),
    ];
    let stays = [
        // It is the account's own, whatever it is called.
        private(&home.join(".exeunt-quarantine-mine"), STRANGER),
        // Its process lives, and is at work with it.
        scratch(std::process::id(), STRANGER),
    ];
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_exeunt-warden"));
    let ended = sweep.arg("sweep").arg("--home").arg(&home).arg("--state-dir").arg(&state);
    let ended = ended.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(said.trim(), "3 quarantines, 4 files erased");
    assert!(left.iter().all(|place| !place.exists()), "{left:?}");
    assert!(stays.iter().all(|place| place.join("1-2").exists()), "{stays:?}");
    clear(&stays[1]);
}

#[expect(clippy::disallowed_methods, reason = "the test's own directory")]
fn clear(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
}
