//! Any bytes as a `state.vscdb` with a log or a journal beside it, under every row rule that is
//! compiled in: what is left has no such row, or the file is refused.
//!
//! The first byte says what lies beside the database (0 nothing, 1 a log, 2 a journal), the next two
//! how long the database is in little-endian sectors of 512 bytes.
#![no_main]

use std::sync::LazyLock;

use exeunt_catalogue::{Action, Catalogue, Edit};
use exeunt_host::files::cut_database;
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<Vec<Edit>> = LazyLock::new(|| {
    let catalogue = Catalogue::builtin().expect("the compiled-in catalogue is read");
    let mut rules: Vec<Edit> = Vec::new();
    for store in catalogue.apps().iter().flat_map(|app| &app.stores) {
        if let Action::Edit(edit @ Edit::Sqlite { .. }) = &store.action
            && !rules.contains(edit)
        {
            rules.push(edit.clone());
        }
    }
    rules
});

fuzz_target!(|bytes: &[u8]| {
    let [beside, low, high, bytes @ ..] = bytes else { return };
    let length = 512 * usize::from(u16::from_le_bytes([*low, *high]));
    let (main, rest) = bytes.split_at(length.min(bytes.len()));
    let (log, journal) = match beside {
        1 => (Some(rest), None),
        2 => (None, Some(rest)),
        _ => (None, None),
    };
    for rule in RULES.iter() {
        let Ok(cut) = cut_database(main, log, journal, rule) else { continue };
        if cut.matches > 0 {
            let again = cut_database(&cut.rest, None, None, rule);
            assert_eq!(again.expect("what is left is a database").matches, 0);
        }
    }
});
