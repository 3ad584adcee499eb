//! Edits of real files in a home.

use std::os::unix::fs::PermissionsExt;

use exeunt_catalogue::Edit;
use exeunt_engine::ports::{Files, FilesError};
use exeunt_testkit::contract::files::FilesRig;
use rusqlite::Connection;

use crate::homes::{Home, is_root};

fn tokens() -> Edit {
    Edit::Sqlite {
        table: "token_service".to_owned(),
        key_column: Some("service".to_owned()),
        key_like: vec!["AccountId-%".to_owned()],
    }
}

/// A database whose rows are only in its write-ahead log, as after a killed browser.
fn seed(home: &Home) {
    home.make_dirs(&home.path("d"));
    let scratch = tempfile::tempdir().unwrap();
    let database = Connection::open(scratch.path().join("db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode=WAL; CREATE TABLE token_service(service TEXT, token TEXT);
             INSERT INTO token_service VALUES('AccountId-7','s3cret'),('keep','kept');",
        )
        .unwrap();
    for (from, to) in [("db", "d/Web Data"), ("db-wal", "d/Web Data-wal")] {
        home.put(to, &std::fs::read(scratch.path().join(from)).unwrap());
    }
}

fn holds_secret(home: &Home) -> bool {
    std::fs::read_dir(home.path("d")).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(6).any(|window| window == b"s3cret")
    })
}

fn edits_a_database(home: &Home) {
    seed(home);
    let mode = PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(home.path("d/Web Data"), mode).unwrap();
    assert!(holds_secret(home));
    let (files, dir) = (home.files(), home.enter("d"));
    let before = home.entry(&dir, b"Web Data");
    assert_eq!(files.count_matches(&dir, &before, &tokens()).unwrap(), 1);
    assert_eq!(home.entry(&dir, b"Web Data"), before, "counting changed the file");
    assert_eq!(files.edit(&dir, &before, &tokens()).unwrap(), 1);
    assert!(!holds_secret(home));
    let after = home.entry(&dir, b"Web Data");
    assert_eq!(files.count_matches(&dir, &after, &tokens()).unwrap(), 0);
    let names: Vec<_> = files.list(&dir).unwrap().iter().map(|e| e.name.to_shown()).collect();
    assert_eq!(names, ["Web Data"], "the log went with its rows and nothing is left over");
    assert_eq!(after.owner, home.owner().uid);
    let mode = std::fs::metadata(home.path("d/Web Data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let database = Connection::open(home.path("d/Web Data")).unwrap();
    let kept = database.query_row("SELECT token FROM token_service", [], |row| row.get(0));
    assert_eq!(kept, Ok("kept".to_owned()));
}

#[test]
fn cuts_rows_out_of_a_database_whose_log_was_left_behind() {
    edits_a_database(&Home::own());
}

#[test]
fn cuts_rows_out_of_another_accounts_database_as_that_account() {
    if is_root("another account's home") {
        edits_a_database(&Home::of_stranger());
    }
}

#[test]
fn leaves_a_file_as_it_was_when_it_is_not_of_its_format() {
    let home = Home::own();
    home.put("d/Web Data", b"SQLite format 3\0 but cut off");
    home.put("d/config.json", b"{\"auths\":");
    let (files, dir) = (home.files(), home.enter("d"));
    let json = Edit::Json { keys: vec!["/auths".to_owned()] };
    for (file, edit) in [("Web Data", tokens()), ("config.json", json)] {
        let before = home.content(&format!("d/{file}"));
        let entry = home.entry(&dir, file.as_bytes());
        assert!(matches!(files.edit(&dir, &entry, &edit), Err(FilesError::Os { .. })));
        assert!(matches!(files.count_matches(&dir, &entry, &edit), Err(FilesError::Os { .. })));
        assert_eq!(home.content(&format!("d/{file}")), before);
    }
    assert_eq!(files.list(&dir).unwrap().len(), 2);
}

#[test]
fn sweeps_what_an_edit_left_that_a_power_cut_ended() {
    let home = Home::own();
    home.put("d/.exeunt-edit-0123456789abcdef", b"old tokens");
    home.put("d/rc", b"a\n");
    let (files, dir) = (home.files(), home.enter("d"));
    let edit = Edit::Lines { starts: vec!["token".to_owned()], contains: Vec::new() };
    let rc = home.entry(&dir, b"rc");
    assert_eq!(files.count_matches(&dir, &rc, &edit).unwrap(), 1, "a survey must find it");
    assert_eq!(files.edit(&dir, &rc, &edit).unwrap(), 1);
    assert_eq!(files.count_matches(&dir, &rc, &edit).unwrap(), 0);
    assert_eq!(files.list(&dir).unwrap().len(), 1);
    assert_eq!(home.content("d/rc"), Some(b"a\n".to_vec()));
}

#[test]
fn empties_the_old_file_when_it_has_another_name() {
    let home = Home::own();
    home.put("d/rc", b"keep\ntoken=t\n");
    home.link("d/rc", "backup/rc");
    let (files, dir) = (home.files(), home.enter("d"));
    let edit = Edit::Lines { starts: vec!["token".to_owned()], contains: Vec::new() };
    assert_eq!(files.edit(&dir, &home.entry(&dir, b"rc"), &edit).unwrap(), 1);
    assert_eq!(home.content("d/rc"), Some(b"keep\n".to_vec()));
    assert_eq!(home.content("backup/rc"), Some(Vec::new()));
}
