//! Replays the fuzz corpora of what browsers say about their profiles.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use exeunt_engine::{listed_profiles, profile_paths};

fn replay(target: &str, run: impl Fn(&[u8]) -> usize) -> (usize, usize) {
    let dir = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).collect();
    let found = files.iter().map(|file| run(&std::fs::read(file.path()).unwrap())).sum();
    (files.len(), found)
}

#[test]
fn every_profiles_ini_of_the_corpus_is_read_line_by_line() {
    let (files, paths) = replay("profiles_ini", |bytes| {
        let paths = profile_paths(bytes);
        assert!(paths.iter().all(|path| !path.is_empty() && !path.contains(&b'\n')));
        paths.len()
    });
    assert!(files >= 5 && paths >= 5, "{paths} paths in {files} files");
}

#[test]
fn every_local_state_of_the_corpus_gives_single_names_or_none() {
    let (files, names) = replay("local_state", |bytes| {
        let names = listed_profiles(bytes);
        assert!(names.iter().all(|name| !name.as_bytes().contains(&b'/')));
        names.len()
    });
    assert!(files >= 5 && names >= 2, "{names} names in {files} files");
}
