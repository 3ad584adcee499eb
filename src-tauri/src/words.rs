//! The tray menu's words, from the same file as the page's.
//!
//! It refuses to hold a sentence of its own.

use std::sync::OnceLock;

use serde_json::{Map, Value};

/// The words for `key`, with `{name}` replaced; a key that is missing shows itself.
pub(crate) fn word(key: &str, name: &str) -> String {
    static WORDS: OnceLock<Map<String, Value>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        serde_json::from_str(include_str!("../../ui/src/locales/en.json")).unwrap_or_default()
    });
    words.get(key).and_then(Value::as_str).unwrap_or(key).replace("{name}", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_words_of_the_page() {
        assert_eq!(word("tray.signed_in", "alice"), "alice is signed in here");
    }
}
