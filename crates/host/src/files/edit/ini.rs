//! Keys of INI files.
//!
//! It refuses to touch comments and other sections.

use exeunt_catalogue::Glob;

use super::{Cut, CutError};

/// Cuts out every key that one of `keys` matches, with its continuation lines, in the section of
/// that name or in all.
pub(super) fn cut(text: &[u8], section: Option<&str>, keys: &[String]) -> Result<Cut, CutError> {
    let globs = keys
        .iter()
        .map(|key| Glob::parse(&key.to_ascii_lowercase()).map_err(|_| CutError::Rule(key.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    let mut cut = Cut { rest: Vec::with_capacity(text.len()), matches: 0 };
    let mut inside = section.is_none();
    let mut cut_indent = None;
    for line in text.split_inclusive(|&b| b == b'\n') {
        let body = line.trim_ascii();
        let indent = line.len() - line.trim_ascii_start().len();
        let comment = body.first().is_none_or(|b| matches!(b, b'#' | b';'));
        if cut_indent.is_some_and(|key_indent| indent > key_indent && !comment) {
            continue;
        }
        cut_indent = None;
        if let Some(name) = header(body) {
            inside = section.is_none_or(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name));
        } else if inside && !comment && globs.iter().any(|glob| glob.matches(&key(body))) {
            cut.matches += 1;
            cut_indent = Some(indent);
            continue;
        }
        cut.rest.extend(line);
    }
    Ok(cut)
}

fn header(body: &[u8]) -> Option<&[u8]> {
    let name = body.strip_prefix(b"[")?;
    let end = name.iter().position(|&b| b == b']')?;
    name.get(..end).map(<[u8]>::trim_ascii)
}

/// What stands before the first `=`, or before the first `: `, or the whole line.
fn key(body: &[u8]) -> Vec<u8> {
    let equals = body.iter().position(|&b| b == b'=');
    let colon = body.windows(2).position(|pair| pair == b": ");
    let end = equals.into_iter().chain(colon).min().unwrap_or(body.len());
    body.get(..end).unwrap_or_default().trim_ascii().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn cuts_a_key_with_its_continuation_in_its_section_only() {
        let text =
            b"# head\n[pypi]\nusername = a\nPassword = b\n  more\n; note\n[other]\npassword: c\n";
        let cut = cut(text, Some("pypi"), &keys(&["password"])).unwrap();
        assert_eq!(cut.matches, 1);
        assert_eq!(cut.rest, b"# head\n[pypi]\nusername = a\n; note\n[other]\npassword: c\n");
    }

    #[test]
    fn matches_keys_with_colons_and_slashes_by_glob_and_keeps_comments() {
        let text = b"//registry.example/:_authToken=abc\n#x:_authToken=kept\nregistry=https://r/\n";
        let cut = cut(text, None, &keys(&["*:_authToken"])).unwrap();
        assert_eq!(cut.matches, 1);
        assert_eq!(cut.rest, b"#x:_authToken=kept\nregistry=https://r/\n");
    }

    #[test]
    fn indented_keys_after_a_cut_one_stay() {
        let text = b"[credential]\n\thelper = store\n\ttoken = t\n\tuser = me\n";
        let cut = cut(text, Some("credential"), &keys(&["token"])).unwrap();
        assert_eq!(cut.rest, b"[credential]\n\thelper = store\n\tuser = me\n");
    }
}
