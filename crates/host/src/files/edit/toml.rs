//! Keys of TOML documents.
//!
//! It refuses to reformat: what is not cut out keeps its order, its spacing and its comments.

use toml_edit::{DocumentMut, Item, TableLike};

use super::{Cut, CutError};

/// Cuts out what the dotted `keys` name; `*` as a segment matches any key.
pub(super) fn cut(text: &[u8], keys: &[String]) -> Result<Cut, CutError> {
    let text = std::str::from_utf8(text).map_err(|e| CutError::format("TOML", e))?;
    let mut document: DocumentMut =
        text.parse().map_err(|e: toml_edit::TomlError| CutError::format("TOML", e.message()))?;
    let mut matches = 0;
    for key in keys {
        let path = segments(key).ok_or_else(|| CutError::Rule(key.clone()))?;
        matches += cut_table(document.as_table_mut(), &path);
    }
    Ok(Cut { rest: document.to_string().into_bytes(), matches })
}

fn cut_table(table: &mut dyn TableLike, path: &[String]) -> u64 {
    let Some((first, rest)) = path.split_first() else { return 0 };
    let matching: Vec<String> = table
        .iter()
        .map(|(key, _)| key.to_owned())
        .filter(|key| first == "*" || first == key)
        .collect();
    let mut matches = 0;
    for key in matching {
        if rest.is_empty() {
            matches += u64::from(table.remove(&key).is_some());
        } else if let Some(item) = table.get_mut(&key) {
            matches += cut_item(item, rest);
        }
    }
    matches
}

fn cut_item(item: &mut Item, path: &[String]) -> u64 {
    if let Some(table) = item.as_table_like_mut() {
        return cut_table(table, path);
    }
    item.as_array_of_tables_mut()
        .map_or(0, |tables| tables.iter_mut().map(|table| cut_table(table, path)).sum())
}

/// Splits a dotted key at its dots outside quotes.
fn segments(key: &str) -> Option<Vec<String>> {
    let mut path = vec![String::new()];
    let mut quote = None;
    for c in key.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '.') => path.push(String::new()),
            (None | Some(_), c) => path.last_mut()?.push(c),
        }
    }
    let whole = quote.is_none() && path.iter().all(|segment| !segment.is_empty());
    whole.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_tokens_of_every_registry_and_keeps_comments() {
        let text = b"# mine\n[registry]\ntoken = \"t\" # x\ndefault = \"a\"\n\n[registries.b]\ntoken = 't'\nindex = \"i\"\n";
        let keys = ["registry.token".to_owned(), "registries.*.token".to_owned()];
        let cut = cut(text, &keys).unwrap();
        assert_eq!(cut.matches, 2);
        assert_eq!(
            String::from_utf8(cut.rest).unwrap(),
            "# mine\n[registry]\ndefault = \"a\"\n\n[registries.b]\nindex = \"i\"\n"
        );
    }

    #[test]
    fn says_that_a_broken_document_is_no_toml_without_quoting_it() {
        let error = cut(b"token = \"s3cret\nx", &["token".into()]).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
