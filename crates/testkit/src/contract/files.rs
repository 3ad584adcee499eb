//! The contract of [`Files`].
//!
//! It refuses to look through the port only: a rig shows what is really there.

use exeunt_catalogue::{Base, Edit};
use exeunt_engine::ports::{Entry, FileKind, Files, FilesError, Name};

/// A home to test in, and a way to change it behind the port's back. Paths are relative to the home.
pub trait FilesRig {
    /// The implementation.
    type Files: Files;

    /// The implementation over this rig's home.
    fn files(&self) -> &Self::Files;
    /// Writes a file with the directories on the way; another one stands there afterwards.
    fn put(&self, path: &str, content: &[u8]);
    /// Makes a symbolic link to a directory outside the home.
    fn symlink_out(&self, path: &str);
    /// Gives a file another name.
    fn link(&self, path: &str, other: &str);
    /// What a file holds; `None` when it is not there.
    fn content(&self, path: &str) -> Option<Vec<u8>>;
}

type DirOf<R> = <<R as FilesRig>::Files as Files>::Dir;

/// Runs the whole contract, each part in a home of its own.
pub fn all<R: FilesRig>(make: impl Fn() -> R) {
    finds_bases_and_places(&make());
    never_enters_a_symbolic_link(&make());
    lists_and_looks_without_following(&make());
    reads_regular_files_only(&make());
    names_every_file_and_directory_of_a_tree(&make());
    quarantines_and_erases(&make());
    refuses_an_entry_that_changed(&make());
    never_overwrites_in_a_quarantine(&make());
    erases_in_place_and_empties_other_names(&make());
    edits_a_file_and_keeps_the_rest(&make());
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a plain name")
}

fn home<R: FilesRig>(rig: &R) -> DirOf<R> {
    rig.files().base(Base::Home).expect("the home opens").expect("the home is there")
}

fn enter<R: FilesRig>(rig: &R, path: &str) -> DirOf<R> {
    path.split('/').fold(home(rig), |dir, step| {
        rig.files().enter(&dir, &name(step)).expect("a directory of the test is entered")
    })
}

fn entry<R: FilesRig>(rig: &R, dir: &DirOf<R>, child: &str) -> Entry {
    let found = rig.files().look(dir, &name(child)).expect("looking works");
    found.expect("an entry of the test is there")
}

fn finds_bases_and_places<R: FilesRig>(rig: &R) {
    let files = rig.files();
    assert!(files.base(Base::Config).unwrap_or_else(|e| panic!("{e}")).is_none());
    rig.put(".config/app/x", b"x");
    let config = files.base(Base::Config).expect("opens").expect("is there");
    assert_eq!(files.place(&config), [name(".config")]);
    let app = files.enter(&config, &name("app")).expect("enters");
    assert_eq!(files.place(&app), [name(".config"), name("app")]);
    assert!(matches!(files.enter(&config, &name("none")), Err(FilesError::NotFound)));
    assert!(matches!(files.enter(&app, &name("x")), Err(FilesError::NotFound)));
    assert!(files.beneath_home(b"/somewhere/else").expect("is no error").is_none());
}

fn never_enters_a_symbolic_link<R: FilesRig>(rig: &R) {
    rig.symlink_out(".config");
    let files = rig.files();
    assert!(matches!(files.base(Base::Config), Err(FilesError::OutOfBounds)));
    let entered = files.enter(&home(rig), &name(".config"));
    assert!(matches!(entered, Err(FilesError::OutOfBounds)));
}

fn lists_and_looks_without_following<R: FilesRig>(rig: &R) {
    rig.put("d/file", b"four");
    rig.put("d/sub/x", b"");
    rig.symlink_out("d/link");
    let dir = enter(rig, "d");
    let mut listed = rig.files().list(&dir).expect("lists");
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let kinds: Vec<_> = listed.iter().map(|e| (e.name.to_shown(), e.kind)).collect();
    let expected = [("file", FileKind::File), ("link", FileKind::Symlink), ("sub", FileKind::Dir)];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    for seen in &listed {
        assert_eq!(&entry(rig, &dir, &seen.name.to_shown()), seen);
        assert!(!seen.immutable && !seen.mount_point);
    }
    assert_eq!((listed[0].size, listed[0].links), (4, 1));
    assert!(rig.files().look(&dir, &name("none")).expect("is no error").is_none());
}

fn reads_regular_files_only<R: FilesRig>(rig: &R) {
    rig.put("d/file", b"0123456789");
    rig.symlink_out("d/link");
    rig.put("d/sub/x", b"");
    let dir = enter(rig, "d");
    let read = |file: &str, limit| rig.files().read(&dir, &name(file), limit);
    assert_eq!(read("file", 100).expect("reads"), b"0123456789");
    assert_eq!(read("file", 4).expect("reads"), b"0123");
    for none in ["link", "sub", "none"] {
        assert!(matches!(read(none, 100), Err(FilesError::NotFound)), "{none}");
    }
}

fn names_every_file_and_directory_of_a_tree<R: FilesRig>(rig: &R) {
    rig.put("d/tree/a", b"");
    rig.put("d/tree/sub/b", b"");
    rig.symlink_out("d/tree/link");
    let dir = enter(rig, "d");
    let tree = entry(rig, &dir, "tree");
    let files = rig.files();
    let found = files.identities(&dir, &tree, 100).expect("walks");
    let sub = enter(rig, "d/tree/sub");
    let expected = [
        tree.identity,
        entry(rig, &enter(rig, "d/tree"), "a").identity,
        entry(rig, &enter(rig, "d/tree"), "sub").identity,
        entry(rig, &sub, "b").identity,
    ];
    assert_eq!(found.len(), expected.len());
    assert!(expected.iter().all(|identity| found.contains(identity)));
    assert_eq!(files.identities(&dir, &tree, 2).expect("walks").len(), 2);
}

fn quarantines_and_erases<R: FilesRig>(rig: &R) {
    rig.put("d/tree/a", b"a");
    rig.put("d/tree/sub/b", b"b");
    rig.put("d/stays", b"kept");
    let (files, dir) = (rig.files(), enter(rig, "d"));
    let tree = entry(rig, &dir, "tree");
    let quarantine = files.open_quarantine(&dir, "txn-1").expect("is made");
    files.quarantine(&dir, &tree, &quarantine, &name("0")).expect("moves");
    assert!(files.look(&dir, &tree.name).expect("looks").is_none());
    assert!(files.in_quarantine(&quarantine, &name("0")).expect("looks"));
    assert_eq!(files.empty_quarantine(&quarantine).expect("empties"), 2);
    assert_eq!(rig.content("d/tree/a"), None);
    assert_eq!(rig.content("d/stays"), Some(b"kept".to_vec()));
}

fn refuses_an_entry_that_changed<R: FilesRig>(rig: &R) {
    rig.put("d/x", b"surveyed");
    let (files, dir) = (rig.files(), enter(rig, "d"));
    let surveyed = entry(rig, &dir, "x");
    rig.put("d/x", b"another");
    let quarantine = files.open_quarantine(&dir, "txn-1").expect("is made");
    let moved = files.quarantine(&dir, &surveyed, &quarantine, &name("0"));
    assert!(matches!(moved, Err(FilesError::IdentityChanged)));
    assert!(matches!(files.erase(&dir, &surveyed), Err(FilesError::IdentityChanged)));
    assert!(!files.in_quarantine(&quarantine, &name("0")).expect("looks"));
    assert_eq!(rig.content("d/x"), Some(b"another".to_vec()));
    let gone = Entry { name: name("gone"), ..surveyed };
    assert!(matches!(files.erase(&dir, &gone), Err(FilesError::NotFound)));
}

fn never_overwrites_in_a_quarantine<R: FilesRig>(rig: &R) {
    rig.put("d/x", b"x");
    rig.put("d/y", b"y");
    let (files, dir) = (rig.files(), enter(rig, "d"));
    let quarantine = files.open_quarantine(&dir, "txn-1").expect("is made");
    let (x, y) = (entry(rig, &dir, "x"), entry(rig, &dir, "y"));
    files.quarantine(&dir, &x, &quarantine, &name("0")).expect("moves");
    assert!(files.quarantine(&dir, &y, &quarantine, &name("0")).is_err());
    assert_eq!(rig.content("d/y"), Some(b"y".to_vec()));
    assert_eq!(files.empty_quarantine(&quarantine).expect("empties"), 1);
}

fn erases_in_place_and_empties_other_names<R: FilesRig>(rig: &R) {
    rig.put("d/tree/x", b"secret");
    rig.link("d/tree/x", "elsewhere/y");
    let (files, dir) = (rig.files(), enter(rig, "d"));
    let tree = entry(rig, &dir, "tree");
    assert_eq!(files.erase(&dir, &tree).expect("erases"), 1);
    assert!(files.look(&dir, &tree.name).expect("looks").is_none());
    assert_eq!(rig.content("elsewhere/y"), Some(Vec::new()));
}

fn edits_a_file_and_keeps_the_rest<R: FilesRig>(rig: &R) {
    rig.put("d/rc", b"registry=r\n_authToken=t\n");
    let (files, dir) = (rig.files(), enter(rig, "d"));
    let edit = Edit::Lines { starts: vec!["_authToken".to_owned()], contains: Vec::new() };
    let before = entry(rig, &dir, "rc");
    assert_eq!(files.count_matches(&dir, &before, &edit).expect("counts"), 1);
    assert_eq!(files.edit(&dir, &before, &edit).expect("edits"), 1);
    assert_eq!(rig.content("d/rc"), Some(b"registry=r\n".to_vec()));
    let after = entry(rig, &dir, "rc");
    assert_eq!(files.count_matches(&dir, &after, &edit).expect("counts"), 0);
    assert_eq!(files.list(&dir).expect("lists").len(), 1);
    // The file is another one now.
    assert!(matches!(files.edit(&dir, &before, &edit), Err(FilesError::IdentityChanged)));
}
