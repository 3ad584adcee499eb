//! Surveying and quarantining.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::Instant;

use exeunt_catalogue::Base;
use exeunt_engine::ports::{FileKind, Files, FilesError, Name};
use exeunt_host::files::{Bases, LinuxFiles};
use exeunt_host::users::Account;
use exeunt_testkit::contract::files::{FilesRig, all};

use crate::homes::{Home, is_root, name};

#[test]
fn own_home_keeps_the_contract() {
    all(Home::own);
}

#[test]
fn home_of_another_account_keeps_the_contract_under_root() {
    if is_root("containing another account") {
        all(Home::of_stranger);
    }
}

#[test]
fn refuses_a_home_that_is_a_link_or_belongs_to_another_account() {
    let home = Home::own();
    let link = home.outside().join("link");
    symlink(home.root(), &link).unwrap();
    let open = |path, owner| LinuxFiles::open(path, owner, Bases::default(), &[]).map(drop);
    assert!(matches!(open(&link, home.owner()), Err(FilesError::OutOfBounds)));
    let mut stranger = home.owner().clone();
    stranger.uid += 1;
    assert!(matches!(open(home.root(), &stranger), Err(FilesError::Os { .. })));
    assert!(matches!(open(&home.path("none"), home.owner()), Err(FilesError::NotFound)));
}

#[test]
fn finds_directories_that_live_processes_name_and_no_others() {
    let home = Home::own();
    home.put("profiles/mine/Preferences", b"{}");
    home.symlink_out("profiles/out");
    let beneath = |path: &str| home.files().beneath_home(path.as_bytes());
    let inside = |path: &str| format!("{}/{path}", home.root().display());
    let found = beneath(&inside("profiles/./mine/")).unwrap().unwrap();
    assert_eq!(home.files().place(&found), [name("profiles"), name("mine")]);
    assert!(beneath(&inside("profiles/none")).unwrap().is_none());
    assert!(beneath(&inside("profiles/../../outside")).unwrap().is_none());
    assert!(beneath(&format!("{}x", home.root().display())).unwrap().is_none());
    assert!(matches!(beneath(&inside("profiles/out")), Err(FilesError::OutOfBounds)));
}

#[test]
fn takes_bases_from_the_environment_only_inside_the_home() {
    let home = Home::own();
    let value = |path: &std::path::Path| path.as_os_str().as_bytes().to_vec();
    let env = std::collections::BTreeMap::from([
        ("XDG_CONFIG_HOME".to_owned(), value(&home.path("conf/deep"))),
        ("XDG_CACHE_HOME".to_owned(), value(home.outside())),
    ]);
    let bases = Bases::from_env(home.root(), &env);
    assert_eq!(bases.config, Some("conf/deep".into()));
    assert_eq!(bases.cache, None);
    home.put("conf/deep/x", b"");
    let files = LinuxFiles::open(home.root(), home.owner(), bases, &[]).unwrap();
    let config = files.base(Base::Config).unwrap().unwrap();
    assert_eq!(files.place(&config), [name("conf"), name("deep")]);
}

#[test]
fn pins_a_runtime_directory_only_if_the_account_owns_it() {
    let home = Home::own();
    let open = |bases| LinuxFiles::open(home.root(), home.owner(), bases, &[]).unwrap();
    let bases = Bases { runtime: Some(home.outside().to_owned()), ..Bases::default() };
    let files = open(bases.clone());
    let runtime = files.base(Base::Runtime).unwrap().unwrap();
    assert_eq!(files.place(&runtime), [name("$XDG_RUNTIME_DIR")]);
    let quarantine = files.open_quarantine(&runtime, "x").unwrap();
    assert!(home.outside().join(".exeunt-quarantine-x").is_dir());
    files.empty_quarantine(&quarantine).unwrap();
    assert!(!home.outside().join(".exeunt-quarantine-x").exists());
    if is_root("giving a directory away") {
        chown(home.outside(), Some(crate::homes::STRANGER), None).unwrap();
        assert!(open(bases).base(Base::Runtime).unwrap().is_none());
    }
}

#[test]
fn handles_names_of_any_bytes_and_the_longest_length() {
    let home = Home::own();
    let names: [&[u8]; 3] = [&[b'n'; 255], b"\xff\xfe\x80 no text", b"new\nline\\ \x1b[31m"];
    for bytes in names {
        std::fs::write(home.root().join(OsStr::from_bytes(bytes)), b"x").unwrap();
    }
    let (files, dir) = (home.files(), home.home());
    let quarantine = files.open_quarantine(&dir, "names").unwrap();
    for (index, bytes) in names.iter().enumerate() {
        let entry = home.entry(&dir, bytes);
        assert_eq!(files.read(&dir, &entry.name, 10).unwrap(), b"x");
        files.quarantine(&dir, &entry, &quarantine, &name(&index.to_string())).unwrap();
    }
    assert_eq!(files.empty_quarantine(&quarantine).unwrap(), 3);
    assert!(files.list(&dir).unwrap().is_empty());
}

#[test]
fn never_blocks_on_fifos_and_takes_sockets_away_like_any_entry() {
    let home = Home::own();
    home.make_dirs(&home.path("d"));
    let fifo = home.path("d/fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.path("d/socket")).unwrap();
    let (files, dir) = (home.files(), home.enter("d"));
    for special in ["fifo", "socket"] {
        assert_eq!(home.entry(&dir, special.as_bytes()).kind, FileKind::Special);
        assert!(matches!(files.read(&dir, &name(special), 1), Err(FilesError::NotFound)));
    }
    let whole = home.entry(&home.home(), b"d");
    assert_eq!(files.identities(&home.home(), &whole, 10).unwrap(), [whole.identity]);
    assert_eq!(files.erase(&home.home(), &whole).unwrap(), 2);
}

#[test]
fn puts_ten_thousand_files_out_of_reach_by_one_rename() {
    let home = Home::own();
    home.make_dirs(&home.path("cache"));
    for index in 0..10_000 {
        std::fs::write(home.path(&format!("cache/f_{index:06}")), b"").unwrap();
    }
    let (files, dir) = (home.files(), home.home());
    let cache = home.entry(&dir, b"cache");
    assert_eq!(files.list(&home.enter("cache")).unwrap().len(), 10_000);
    let quarantine = files.open_quarantine(&dir, "many").unwrap();
    let before = Instant::now();
    files.quarantine(&dir, &cache, &quarantine, &name("0")).unwrap();
    let took = before.elapsed();
    assert!(!home.path("cache").exists());
    eprintln!("10,000 files out of reach in {took:?}");
    assert_eq!(files.empty_quarantine(&quarantine).unwrap(), 10_000);
}

#[test]
fn makes_a_quarantine_where_only_we_can_reach_it_and_finds_one_left_behind() {
    let home = Home::own();
    home.put("d/x", b"x");
    let state = tempfile::tempdir().unwrap();
    let open = |candidates: &[std::path::PathBuf]| {
        LinuxFiles::open(home.root(), home.owner(), Bases::default(), candidates).unwrap()
    };
    let candidates = [home.path("none"), state.path().to_owned()];
    let files = open(&candidates);
    let quarantine = files.open_quarantine(&home.enter("d"), "order-1").unwrap();
    let place = state.path().join(".exeunt-quarantine-order-1");
    assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    let dir = home.enter("d");
    files.quarantine(&dir, &home.entry(&dir, b"x"), &quarantine, &name("0")).unwrap();
    // As after a power cut: nothing but the directory itself is left.
    drop((files, quarantine));
    let files = open(&candidates);
    let second = files.open_quarantine(&dir, "order-1").unwrap();
    assert!(state.path().join(".exeunt-quarantine-order-1.1").is_dir(), "a fresh one each time");
    files.empty_quarantine(&second).unwrap();
    let left = files.leftover_quarantines().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(files.empty_quarantine(&left[0]).unwrap(), 1);
    assert!(!place.exists());
}

#[test]
fn root_quarantines_beside_the_home_where_the_account_can_rename_nothing() {
    if !is_root("a directory that only root can write to") {
        return;
    }
    let homes = tempfile::tempdir().unwrap();
    std::fs::set_permissions(homes.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let home = homes.path().join("throwaway");
    std::fs::create_dir_all(home.join("d")).unwrap();
    let owner = Account { home: home.clone(), ..Home::of_stranger().owner().clone() };
    for place in [&home, &home.join("d")] {
        chown(place, Some(owner.uid), Some(owner.gid)).unwrap();
    }
    let files = LinuxFiles::open(&home, &owner, Bases::default(), &[]).unwrap();
    let dir = files.base(Base::Home).unwrap().unwrap();
    let quarantine = files.open_quarantine(&dir, "x").unwrap();
    let beside = homes.path().join(".exeunt-quarantine-x");
    assert!(beside.is_dir());
    let entry = files.look(&dir, &name("d")).unwrap().unwrap();
    files.quarantine(&dir, &entry, &quarantine, &name("0")).unwrap();
    drop(quarantine);
    let left = files.leftover_quarantines().unwrap();
    assert_eq!(left.len(), 1);
    files.empty_quarantine(&left[0]).unwrap();
    assert!(!beside.exists() && !home.join("d").exists());
}

#[test]
fn refuses_a_quarantine_place_that_others_can_write_to() {
    let home = Home::own();
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let candidates = [shared.path().to_owned()];
    let files = LinuxFiles::open(home.root(), home.owner(), Bases::default(), &candidates).unwrap();
    let quarantine = files.open_quarantine(&home.home(), "x").unwrap();
    assert_eq!(std::fs::read_dir(shared.path()).unwrap().count(), 0);
    assert!(home.path(".exeunt-quarantine-x").is_dir());
    files.empty_quarantine(&quarantine).unwrap();
}

#[test]
fn does_not_read_as_root_what_a_link_of_the_account_points_to() {
    if !is_root("another account's home") {
        return;
    }
    let home = Home::of_stranger();
    home.make_dirs(&home.path("d"));
    symlink("/etc/shadow", home.path("d/hosts.yml")).unwrap();
    let read = home.files().read(&home.enter("d"), &name("hosts.yml"), 100);
    assert!(matches!(read, Err(FilesError::NotFound)));
    let entry = home.entry(&home.enter("d"), b"hosts.yml");
    assert_eq!(entry.kind, FileKind::Symlink);
    assert_eq!(home.files().erase(&home.enter("d"), &entry).unwrap(), 1);
    assert!(std::path::Path::new("/etc/shadow").exists());
}

#[test]
fn a_name_that_is_no_name_cannot_be_made() {
    for bad in [b"".as_slice(), b".", b"..", b"a/b", b"a\0"] {
        assert!(Name::new(bad).is_none());
    }
}
