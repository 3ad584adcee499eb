//! Keys of YAML documents, by lines and their indentation.
//!
//! It refuses a document in which a key stands where lines cannot cut it out, such as `{a: b}`.

use super::{Cut, CutError};

/// Cuts out every mapping key of these names, at any depth, with all that is indented below it.
pub(super) fn cut(text: &[u8], keys: &[String]) -> Result<Cut, CutError> {
    let text = std::str::from_utf8(text).map_err(|e| CutError::format("YAML", e))?;
    let mut cut = Cut { rest: Vec::with_capacity(text.len()), matches: 0 };
    let mut cutting: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let blank = line.trim().is_empty();
        if cutting.is_some_and(|level| blank || indent > level || continues(line, indent, level)) {
            continue;
        }
        cutting = None;
        let (dashes, body) = after_dashes(line.trim_start_matches(' '));
        if !blank && keys.iter().any(|key| key_of(body) == Some(key)) {
            cut.matches += 1;
            cutting = Some(indent + dashes);
            if dashes > 0 {
                // The list item stays, with whatever other keys follow below.
                let dash = line.get(..indent + dashes).unwrap_or_default();
                cut.rest.extend(dash.trim_end().as_bytes());
                cut.rest.push(b'\n');
            }
            continue;
        }
        if keys.iter().any(|key| holds_flow_key(body, key)) {
            return Err(CutError::format("block-style YAML", "a key stands inside a flow value"));
        }
        cut.rest.extend(line.as_bytes());
    }
    Ok(cut)
}

/// A list below a key may stand at the key's own indentation.
fn continues(line: &str, indent: usize, level: usize) -> bool {
    let body = line.trim_start_matches(' ');
    indent == level && (body.starts_with("- ") || body.trim_end() == "-")
}

/// How many bytes of list dashes a line starts with, and what follows them.
fn after_dashes(line: &str) -> (usize, &str) {
    let mut body = line;
    while let Some(rest) = body.strip_prefix("- ") {
        body = rest.trim_start_matches(' ');
    }
    (line.len() - body.len(), body)
}

/// The key that a line begins with, without its quotes.
fn key_of(body: &str) -> Option<&str> {
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (key, rest) = match quote {
        Some(quote) => body.get(1..)?.split_once(quote)?,
        None => {
            let end = body.find(':')?;
            (body.get(..end)?.trim_end(), body.get(end..)?)
        }
    };
    let value = rest.trim_start_matches(' ').strip_prefix(':')?;
    (value.is_empty() || value.starts_with([' ', '\n', '\r', '\t'])).then_some(key)
}

/// Whether a key stands behind an opening brace or a comma of a flow mapping.
fn holds_flow_key(body: &str, key: &str) -> bool {
    !body.starts_with('#')
        && body.split(['{', ',']).skip(1).any(|part| key_of(part.trim_start()) == Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn cuts_tokens_of_every_account_and_keeps_their_settings() {
        let text = b"github.com:\n    users:\n        alice:\n            oauth_token: gho_x\n    \
            user: alice\n    oauth_token: gho_x\n    git_protocol: https\n";
        let cut = cut(text, &keys(&["oauth_token"])).unwrap();
        assert_eq!(cut.matches, 2);
        let rest = String::from_utf8(cut.rest).unwrap();
        assert_eq!(
            rest,
            "github.com:\n    users:\n        alice:\n    user: alice\n    git_protocol: https\n"
        );
    }

    #[test]
    fn cuts_block_scalars_lists_and_quoted_keys() {
        let text = b"a: 1\n\"token\": |\n  line\n\n  line\nb: 2\ntoken:\n- x\n- y\nc: 3\n";
        let cut = cut(text, &keys(&["token"])).unwrap();
        assert_eq!((cut.matches, cut.rest.as_slice()), (2, b"a: 1\nb: 2\nc: 3\n".as_slice()));
    }

    #[test]
    fn keeps_the_other_keys_of_a_list_item() {
        let text = b"users:\n- token: t\n  name: n\n- name: m\n  token: u\n";
        let cut = cut(text, &keys(&["token"])).unwrap();
        assert_eq!(cut.rest, b"users:\n-\n  name: n\n- name: m\n");
        assert_eq!(cut.matches, 2);
    }

    #[test]
    fn does_not_mistake_longer_keys_values_or_comments() {
        let text = b"oauth_token_type: x\n# oauth_token: c\nurl: http://oauth_token:80/\n";
        let cut = cut(text, &keys(&["oauth_token"])).unwrap();
        assert_eq!((cut.matches, cut.rest.as_slice()), (0, text.as_slice()));
    }

    #[test]
    fn refuses_a_key_inside_a_flow_mapping() {
        assert!(cut(b"h: {user: a, oauth_token: t}\n", &keys(&["oauth_token"])).is_err());
    }
}
