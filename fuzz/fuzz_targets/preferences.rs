//! Any bytes as a browser's `Preferences` or `Local State`, under every JSON rule that is compiled
//! in: what is left is JSON without what the rule names, or the file is refused.
#![no_main]

use std::sync::LazyLock;

use exeunt_catalogue::{Action, Catalogue, Edit};
use exeunt_host::files::cut_text;
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<Vec<Edit>> = LazyLock::new(|| {
    let catalogue = Catalogue::builtin().expect("the compiled-in catalogue is read");
    let mut rules: Vec<Edit> = Vec::new();
    for store in catalogue.apps().iter().flat_map(|app| &app.stores) {
        if let Action::Edit(edit @ Edit::Json { .. }) = &store.action
            && !rules.contains(edit)
        {
            rules.push(edit.clone());
        }
    }
    rules
});

fuzz_target!(|bytes: &[u8]| {
    for rule in RULES.iter() {
        let Ok(cut) = cut_text(bytes, rule) else { continue };
        if cut.matches == 0 {
            assert_eq!(cut.rest, bytes);
            continue;
        }
        let again = cut_text(&cut.rest, rule).expect("what is left is still JSON");
        assert_eq!(again.matches, 0, "something was left");
    }
});
