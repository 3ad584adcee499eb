//! Replays the fuzz corpora of files that edits are made in.

use exeunt_catalogue::{Action, Catalogue, Edit};
use exeunt_host::files::{cut_database, cut_text};

/// Every rule of the compiled-in catalogue that `is` wants.
fn rules(is: fn(&Edit) -> bool) -> Vec<Edit> {
    let catalogue = Catalogue::builtin().unwrap();
    let stores = catalogue.apps().iter().flat_map(|app| &app.stores);
    let edits = stores.filter_map(|store| match &store.action {
        Action::Edit(edit) if is(edit) => Some(edit.clone()),
        Action::Edit(_) | Action::Remove => None,
    });
    let mut rules: Vec<Edit> = Vec::new();
    for edit in edits {
        if !rules.contains(&edit) {
            rules.push(edit);
        }
    }
    rules
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(dir).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_preferences_of_the_corpus_is_cut_clean_or_refused() {
    let rules = rules(|edit| matches!(edit, Edit::Json { .. }));
    let (mut cuts, mut refused) = (0, 0);
    for bytes in corpus("preferences") {
        for rule in &rules {
            let Ok(cut) = cut_text(&bytes, rule) else {
                refused += 1;
                continue;
            };
            cuts += cut.matches;
            assert_eq!(cut_text(&cut.rest, rule).unwrap().matches, 0);
        }
    }
    assert!(cuts >= 5 && refused >= rules.len(), "{cuts} cuts, {refused} refused");
}

/// The first byte of a file says what lies beside the database, the next two how many sectors of
/// 512 bytes it has.
#[test]
fn every_state_database_of_the_corpus_is_cut_clean_or_refused() {
    let rules = rules(|edit| matches!(edit, Edit::Sqlite { .. }));
    let (mut cuts, mut refused) = (0, 0);
    for bytes in corpus("vscdb") {
        let [beside, low, high, bytes @ ..] = &bytes[..] else { continue };
        let length = 512 * usize::from(u16::from_le_bytes([*low, *high]));
        let (main, rest) = bytes.split_at(length.min(bytes.len()));
        let log = (*beside == 1).then_some(rest);
        let journal = (*beside == 2).then_some(rest);
        for rule in &rules {
            match cut_database(main, log, journal, rule) {
                Ok(cut) => {
                    cuts += cut.matches;
                    let again = cut_database(&cut.rest, None, None, rule).unwrap();
                    assert_eq!(again.matches, 0);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(cuts >= 6 && refused >= 1, "{cuts} rows cut, {refused} refused");
}
