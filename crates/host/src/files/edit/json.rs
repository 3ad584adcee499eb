//! Members of JSON documents.
//!
//! It refuses to rewrite what stays: numbers, order and spacing of the rest are kept byte by byte.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Cut, CutError};

/// Cuts out what the RFC 6901 pointers name; `*` as a token matches any member or element.
pub(super) fn cut(text: &[u8], pointers: &[String]) -> Result<Cut, CutError> {
    let text = std::str::from_utf8(text).map_err(|e| CutError::format("JSON", e))?;
    let paths = pointers
        .iter()
        .map(|pointer| tokens(pointer).ok_or_else(|| CutError::Rule(pointer.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
    let value: &RawValue = serde_json::from_str(text).map_err(not_json)?;
    let start = offset(text, value);
    let (rest, matches) = cut_value(value.get(), &paths)?;
    let head = text.get(..start).unwrap_or_default();
    let tail = text.get(start + value.get().len()..).unwrap_or_default();
    Ok(Cut { rest: [head, &rest, tail].concat().into_bytes(), matches })
}

fn not_json(error: serde_json::Error) -> CutError {
    // The parser's own words may quote the document; the position does not.
    CutError::format("JSON", format_args!("line {}, column {}", error.line(), error.column()))
}

/// The tokens of a pointer; `None` for the empty pointer, which means the whole document.
fn tokens(pointer: &str) -> Option<Vec<String>> {
    let tokens = pointer.strip_prefix('/')?.split('/');
    Some(tokens.map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

fn cut_value(text: &str, paths: &[&[String]]) -> Result<(String, u64), CutError> {
    if !text.starts_with(['{', '[']) {
        return Ok((text.to_owned(), 0));
    }
    let Parts(parts) = serde_json::from_str(text).map_err(not_json)?;
    let mut kept = Vec::new();
    let (mut matches, mut before) = (0, 1);
    for (index, (key, value)) in parts.iter().enumerate() {
        let start = offset(text, value);
        let end = start + value.get().len();
        // Between two values stand a comma and, in an object, the key.
        let lead = text.get(before..start).unwrap_or_default();
        let lead = if index == 0 { lead } else { lead.split_once(',').map_or(lead, |(_, l)| l) };
        before = end;
        let fits = |token: &String| token == "*" || token == key;
        let below: Vec<&[String]> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| fits(first))
            .map(|(_, rest)| rest)
            .collect();
        if below.iter().any(|path| path.is_empty()) {
            matches += 1;
        } else if below.is_empty() {
            kept.push(format!("{lead}{}", value.get()));
        } else {
            let (rest, within) = cut_value(value.get(), &below)?;
            matches += within;
            kept.push(format!("{lead}{rest}"));
        }
    }
    if matches == 0 {
        return Ok((text.to_owned(), 0));
    }
    let (open, tail) = (text.get(..1).unwrap_or_default(), text.get(before..).unwrap_or_default());
    Ok((format!("{open}{}{tail}", kept.join(",")), matches))
}

/// Where a value that was borrowed from `text` begins in it.
fn offset(text: &str, value: &RawValue) -> usize {
    (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// The members of an object, or the elements of an array under their indexes.
struct Parts<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartsVisitor;
        impl<'de> Visitor<'de> for PartsVisitor {
            type Value = Parts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = map.next_entry::<String, &RawValue>()? {
                    parts.push(part);
                }
                Ok(Parts(parts))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Vec::new();
                while let Some(value) = seq.next_element::<&RawValue>()? {
                    parts.push((parts.len().to_string(), value));
                }
                Ok(Parts(parts))
            }
        }
        deserializer.deserialize_any(PartsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(pointers: &[&str]) -> Vec<String> {
        pointers.iter().map(|&pointer| pointer.to_owned()).collect()
    }

    #[test]
    fn cuts_members_and_keeps_the_rest_byte_by_byte() {
        let text = b"\n{ \"auths\": {\"r1\": {\"auth\": \"x\", \"email\": 1.0e5}, \"r2\": {\"auth\": \"y\"}},\n  \"big\": 123456789012345678901234567890 }\n";
        let cut = cut(text, &keys(&["/auths/*/auth"])).unwrap();
        assert_eq!(cut.matches, 2);
        assert_eq!(
            String::from_utf8(cut.rest).unwrap(),
            "\n{ \"auths\": {\"r1\": { \"email\": 1.0e5}, \"r2\": {}},\n  \"big\": 123456789012345678901234567890 }\n"
        );
    }

    #[test]
    fn understands_escapes_in_pointers_keys_and_array_indexes() {
        let text = br#"{"a/b":1,"m~n":2,"\u0061":3,"l":[1,{"t":2},3]}"#;
        let cut = cut(text, &keys(&["/a~1b", "/m~0n", "/a", "/l/1/t", "/l/0"])).unwrap();
        assert_eq!(cut.matches, 5);
        assert_eq!(cut.rest, br#"{"l":[{},3]}"#);
    }

    #[test]
    fn refuses_the_whole_document_and_broken_ones() {
        assert!(matches!(cut(b"{}", &keys(&[""])), Err(CutError::Rule(_))));
        assert!(matches!(cut(b"{\"a\":", &keys(&["/a"])), Err(CutError::Format { .. })));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Into::into),
            "[a-z,{}\":\\\\]{0,6}".prop_map(Into::into),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map("[ab,\"{]{1,2}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_removal_from_the_parsed_value(value in json(), pretty: bool, first in "[ab*]", second in "[ab*]") {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let pointer = format!("/{first}/{second}");
            let cut = cut(text.unwrap().as_bytes(), &[pointer]).unwrap();
            let mut expected = value;
            let removed = remove(&mut expected, &[&first, &second]);
            let rest: serde_json::Value = serde_json::from_slice(&cut.rest).unwrap();
            prop_assert_eq!(rest, expected);
            prop_assert_eq!(cut.matches, removed);
        }
    }

    fn remove(value: &mut serde_json::Value, path: &[&str]) -> u64 {
        let (first, rest) = path.split_first().unwrap();
        let mut removed = 0;
        let mut keep = |key: &str, child: &mut serde_json::Value| {
            let fits = *first == "*" || *first == key;
            if fits && rest.is_empty() {
                removed += 1;
                return false;
            }
            if fits {
                removed += remove(child, rest);
            }
            true
        };
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, child| keep(key, child));
        } else if let Some(list) = value.as_array_mut() {
            let mut index = 0;
            list.retain_mut(|child| {
                index += 1;
                keep(&(index - 1).to_string(), child)
            });
        }
        removed
    }
}
