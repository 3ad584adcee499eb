//! Whole lines.
//!
//! It refuses to touch a line that no pattern matches, whatever its encoding.

use super::Cut;

/// Cuts out every line that starts with one of `starts`, leading blanks aside, or holds one of
/// `contains`.
pub(super) fn cut(text: &[u8], starts: &[String], contains: &[String]) -> Cut {
    let mut cut = Cut { rest: Vec::with_capacity(text.len()), matches: 0 };
    for line in text.split_inclusive(|&b| b == b'\n') {
        let body = line.trim_ascii_start();
        let goes = starts.iter().any(|s| !s.is_empty() && body.starts_with(s.as_bytes()))
            || contains.iter().any(|s| holds(line, s.as_bytes()));
        if goes {
            cut.matches += 1;
        } else {
            cut.rest.extend(line);
        }
    }
    cut
}

fn holds(line: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_only_matching_lines_and_keeps_bytes_that_are_no_text() {
        let text = b"registry=https://r/\n  //r/:_authToken=abc\n\xff\xfe keep\n_password=x";
        let cut = cut(text, &["_password".into()], &[":_authToken".into()]);
        assert_eq!(cut.matches, 2);
        assert_eq!(cut.rest, b"registry=https://r/\n\xff\xfe keep\n");
    }

    #[test]
    fn an_empty_pattern_matches_nothing() {
        assert_eq!(cut(b"a\nb\n", &[String::new()], &[String::new()]).matches, 0);
    }
}
