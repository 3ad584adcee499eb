//! Erasing: what goes, what must stay, and what is said of what cannot go.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use exeunt_catalogue::Edit;
use exeunt_engine::ports::{Files, FilesError};
use exeunt_host::files::{Bases, LinuxFiles};
use exeunt_host::users::as_account;
use exeunt_testkit::contract::files::FilesRig;
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::homes::{Home, STRANGER, is_root, name, replace};
use crate::programs::need;

#[test]
fn erases_a_tree_deeper_than_any_path_or_stack() {
    let home = Home::own();
    home.make_dirs(&home.path("deep"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, home.path("deep"), flags, Mode::empty()).unwrap();
    for _ in 0..2_500 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    openat(&at, "leaf", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    let deep = home.entry(&home.home(), b"deep");
    assert_eq!(home.files().erase(&home.home(), &deep).unwrap(), 1);
    assert!(!home.path("deep").exists());
}

#[test]
fn names_that_the_eraser_itself_would_take_are_no_obstacle() {
    let home = Home::own();
    for n in 0..6 {
        home.put(&format!("d/.exeunt-{n}/.exeunt-1/.exeunt-2/x"), b"");
    }
    let dir = home.entry(&home.home(), b"d");
    assert_eq!(home.files().erase(&home.home(), &dir).unwrap(), 6);
    assert!(!home.path("d").exists());
}

/// Sets or takes a flag of `path`, such as `+i`.
fn chattr(sign: &str, path: &Path) {
    need("chattr", "e2fsprogs");
    let status = Command::new("chattr").arg(sign).arg(path).status();
    assert!(status.unwrap().success(), "this file system has no such flag");
}

/// R41: what an administrator's flag keeps in place goes all the same, and that is counted.
#[test]
fn root_takes_the_flag_from_what_it_erases_and_counts_it() {
    if !is_root("the immutable flag") {
        return;
    }
    let home = Home::of_stranger();
    for file in ["d/Cookies", "d/log", "t/sub/deep/x", "t/y"] {
        home.put(file, b"secret");
    }
    for (sign, path) in [
        ("+i", "d/Cookies"),
        ("+a", "d/log"),
        ("+i", "t/sub/deep/x"),
        ("+i", "t/sub/deep"),
        ("+a", "t/sub"),
        ("+i", "t"),
    ] {
        chattr(sign, &home.path(path));
    }
    let (files, dir) = (home.files(), home.enter("d"));
    let quarantine = files.open_quarantine(&dir, "x").unwrap();
    for (child, as_name) in [("Cookies", "0"), ("log", "1")] {
        let entry = home.entry(&dir, child.as_bytes());
        assert!(entry.immutable);
        files.quarantine(&dir, &entry, &quarantine, &name(as_name)).unwrap();
    }
    assert_eq!(files.freed(), 2);
    files
        .quarantine(&home.home(), &home.entry(&home.home(), b"t"), &quarantine, &name("2"))
        .unwrap();
    assert_eq!(files.empty_quarantine(&quarantine).unwrap(), 4);
    assert_eq!(files.freed(), 6);
}

#[test]
fn a_directory_that_stays_gets_its_flag_back() {
    if !is_root("the immutable flag") {
        return;
    }
    let home = Home::of_stranger();
    home.put("d/Cookies", b"secret");
    home.put("d/rc", b"token=t\nkept\n");
    chattr("+i", &home.path("d"));
    let (files, dir) = (home.files(), home.enter("d"));
    let edit = Edit::Lines { starts: vec!["token".to_owned()], contains: Vec::new() };
    assert_eq!(files.erase(&dir, &home.entry(&dir, b"Cookies")).unwrap(), 1);
    assert_eq!(files.edit(&dir, &home.entry(&dir, b"rc"), &edit).unwrap(), 1);
    assert!(home.entry(&home.home(), b"d").immutable);
    assert!(files.freed() >= 1);
    chattr("-i", &home.path("d"));
    assert_eq!(home.content("d/rc"), Some(b"kept\n".to_vec()));
    assert!(!home.path("d/Cookies").exists());
}

#[test]
fn user_mode_cannot_take_a_flag_and_reports_the_file() {
    if !is_root("playing an unprivileged account") {
        return;
    }
    let home = Home::of_stranger();
    home.put("d/Cookies", b"kept by force");
    home.put("d/other", b"");
    chattr("+i", &home.path("d/Cookies"));
    let results = as_account(STRANGER, STRANGER, || {
        let files = LinuxFiles::open(home.root(), home.owner(), Bases::default(), &[]).unwrap();
        let (root, dir) = (home.home(), home.enter("d"));
        let whole = files.look(&root, &name("d")).unwrap().unwrap();
        let cookies = files.look(&dir, &name("Cookies")).unwrap().unwrap();
        let quarantine = files.open_quarantine(&dir, "x").unwrap();
        let moved = files.quarantine(&dir, &cookies, &quarantine, &name("0"));
        let erased = files.erase(&root, &whole);
        assert_eq!(files.freed(), 0);
        files.empty_quarantine(&quarantine).unwrap();
        [moved, erased.map(drop)]
    });
    chattr("-i", &home.path("d/Cookies"));
    for result in results.unwrap() {
        let Err(FilesError::Os { source, .. }) = result else { panic!("{result:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    }
    assert_eq!(home.content("d/Cookies"), Some(b"kept by force".to_vec()));
    assert!(!home.path("d/other").exists());
}

/// What another name still shows is empty, and what lay on the disk is written over first.
#[test]
fn a_sparse_file_with_another_name_is_emptied_without_being_filled() {
    let home = Home::own();
    home.put("d/mine", b"secret");
    home.link("d/mine", "other/mine");
    let sparse = std::fs::File::options().write(true).open(home.path("d/mine")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let before = std::time::Instant::now();
    home.files().erase(&home.home(), &home.entry(&home.home(), b"d")).unwrap();
    assert!(before.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(home.content("other/mine"), Some(Vec::new()));
}

#[test]
fn empties_other_names_of_a_file_but_never_another_accounts_file() {
    if !is_root("files of two accounts") {
        return;
    }
    let home = Home::of_stranger();
    home.put("d/mine", b"secret");
    home.link("d/mine", "other/mine");
    std::fs::set_permissions(home.path("d/mine"), PermissionsExt::from_mode(0o400)).unwrap();
    home.put("d/roots", b"not the account's");
    home.link("d/roots", "other/roots");
    chown(home.path("d/roots"), Some(0), Some(0)).unwrap();
    let (files, dir) = (home.files(), home.home());
    let quarantine = files.open_quarantine(&dir, "x").unwrap();
    files.quarantine(&dir, &home.entry(&dir, b"d"), &quarantine, &name("0")).unwrap();
    let outlived = files.empty_quarantine(&quarantine).unwrap_err();
    let FilesError::LinkedElsewhere { files: kept, complete: true } = outlived else {
        panic!("{outlived}");
    };
    let roots = std::fs::metadata(home.path("other/roots")).unwrap().ino();
    assert_eq!(kept.iter().map(|file| file.ino).collect::<Vec<_>>(), [roots]);
    assert_eq!(home.content("other/mine"), Some(Vec::new()));
    assert_eq!(home.content("other/roots"), Some(b"not the account's".to_vec()));
}

#[test]
fn user_mode_erases_its_own_directories_without_permissions() {
    if !is_root("playing an unprivileged account") {
        return;
    }
    let home = Home::of_stranger();
    home.put("d/closed/inner/x", b"");
    for closed in ["d/closed/inner", "d/closed", "d"] {
        std::fs::set_permissions(home.path(closed), PermissionsExt::from_mode(0o000)).unwrap();
    }
    as_account(STRANGER, STRANGER, || {
        let open = LinuxFiles::open(home.root(), home.owner(), Bases::default(), &[]);
        let files = open.unwrap();
        let dir = home.home();
        let entry = files.look(&dir, &name("d")).unwrap().unwrap();
        let quarantine = files.open_quarantine(&dir, "x").unwrap();
        files.quarantine(&dir, &entry, &quarantine, &name("0")).unwrap();
        assert_eq!(files.empty_quarantine(&quarantine).unwrap(), 1);
    })
    .unwrap();
    assert_eq!(std::fs::read_dir(home.root()).unwrap().count(), 0);
}

/// What a random tree is made of.
#[derive(Clone, Debug)]
enum Piece {
    File,
    Dir,
    /// A link to this target, relative to the outside directory's path where it begins with `@`.
    Link(&'static str),
}

const TARGETS: &[&str] =
    &["@", "@/canary", "@/sub", "..", "../..", "/", ".", "missing", "/etc/passwd"];

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        2 => Just(Piece::File),
        3 => Just(Piece::Dir),
        3 => proptest::sample::select(TARGETS).prop_map(Piece::Link),
    ]
}

fn build(home: &Home, tree: &[(Vec<u8>, Piece)]) {
    for (path, piece) in tree {
        let path = path.iter().fold(home.path("t"), |at, n| at.join(format!("n{n}")));
        if std::fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        // A parent that is a link or a file leaves no room; that piece is left out.
        let parent = path.parent().unwrap();
        let real = parent.ancestors().take_while(|place| place.starts_with(home.root()));
        if real.into_iter().any(|place| place.is_symlink() || place.is_file()) {
            continue;
        }
        home.make_dirs(parent);
        match piece {
            Piece::File => std::fs::write(&path, b"in the home").unwrap(),
            Piece::Dir => std::fs::create_dir(&path).unwrap(),
            Piece::Link(target) => {
                let target = match target.strip_prefix('@') {
                    Some(rest) => format!("{}{rest}", home.outside().display()),
                    None => (*target).to_owned(),
                };
                symlink(target, &path).unwrap();
            }
        }
        home.give(&path);
    }
}

fn picture(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seen.extend(picture(&path));
        }
        let content = std::fs::read(&path).unwrap_or_default();
        seen.push((path, content));
    }
    seen.sort();
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_follows_a_link_out_of_a_random_tree(
        tree in proptest::collection::vec((proptest::collection::vec(0_u8..3, 1..5), piece()), 1..40),
        by_quarantine: bool,
    ) {
        let home = Home::own();
        std::fs::create_dir(home.outside().join("sub")).unwrap();
        std::fs::write(home.outside().join("sub/inner"), b"also untouched").unwrap();
        build(&home, &tree);
        let before = picture(home.outside());
        if home.path("t").exists() {
            let (files, dir) = (home.files(), home.home());
            let entry = home.entry(&dir, b"t");
            files.identities(&dir, &entry, 1000).unwrap();
            if by_quarantine {
                let quarantine = files.open_quarantine(&dir, "p").unwrap();
                files.quarantine(&dir, &entry, &quarantine, &name("0")).unwrap();
                files.empty_quarantine(&quarantine).unwrap();
            } else {
                files.erase(&dir, &entry).unwrap();
            }
        }
        prop_assert_eq!(std::fs::read_dir(home.root()).unwrap().count(), 0);
        prop_assert_eq!(picture(home.outside()), before);
    }
}

#[test]
fn leaves_a_file_alone_that_took_the_surveyed_ones_place() {
    let home = Home::own();
    home.put("d/Cookies", b"surveyed");
    let dir = home.enter("d");
    let surveyed = home.entry(&dir, b"Cookies");
    home.put("kept", b"precious");
    replace(&home.path("kept"), &home.path("d/Cookies"));
    assert!(matches!(home.files().erase(&dir, &surveyed), Err(FilesError::IdentityChanged)));
    assert_eq!(home.content("d/Cookies"), Some(b"precious".to_vec()));
}
