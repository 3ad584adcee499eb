//! Globs over one file name, and relative paths made of them.
//! It refuses absolute paths, `.` and `..`, separators inside a name, and anything that expands.

use std::fmt;
use std::sync::Arc;

/// Most bytes in one component: the longest file name that Linux allows.
const MAX_NAME: usize = 255;
/// Most components in one relative path.
const MAX_COMPONENTS: usize = 16;

/// Why a text is not a glob or not a relative path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// The path, or a component of it, is empty.
    #[error("it has an empty part; write a relative path with single slashes, such as `a/b`")]
    Empty,
    /// The path begins at the root of a file system or at a drive.
    #[error("it is absolute; write it relative to one of the bases, without a leading slash")]
    Absolute,
    /// A component is `.` or holds `..`.
    #[error("it holds `.` or `..` as a step; name the place directly")]
    Dots,
    /// A separator, control character or NUL stands inside a name.
    #[error("it holds {0:?}, which no name in the catalogue may hold; separate parts with `/`")]
    Character(char),
    /// A tilde, dollar or percent sign asks for expansion.
    #[error("it asks for expansion with {0:?}; choose a base such as `home:` instead")]
    Expansion(char),
    /// Two stars stand side by side.
    #[error("it holds `**`; one `*` matches within one name, list each depth instead")]
    DoubleStar,
    /// A component or the path is longer than any real one.
    #[error("it is too long; a name has at most 255 bytes, a path at most 16 parts")]
    TooLong,
}

/// A pattern over one file name: bytes, where only `*` is special (any run of bytes, also none).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    text: Arc<str>,
    literal: bool,
}

impl Glob {
    /// Takes a text as a glob.
    ///
    /// # Errors
    /// [`GlobError`] when it is empty, too long, `.`, holds `..`, `**`, a separator or a control
    /// character.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(GlobError::TooLong);
        }
        if text == "." || text.contains("..") {
            return Err(GlobError::Dots);
        }
        if text.contains("**") {
            return Err(GlobError::DoubleStar);
        }
        match text.chars().find(|c| matches!(c, '/' | '\\') || c.is_control()) {
            Some(c) => Err(GlobError::Character(c)),
            None => Ok(Self { text: text.into(), literal: !text.contains('*') }),
        }
    }

    /// Whether `name` is matched, byte by byte. `.` and `..` never are.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        if self.literal {
            return self.text.as_bytes() == name;
        }
        self.matches_by(name, |a, b| a == b)
    }

    /// Whether the glob holds no `*` and so names one file.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Like [`Glob::matches`], but blind to ASCII case: for file systems that are.
    pub(crate) fn matches_any_case(&self, name: &[u8]) -> bool {
        if self.literal {
            return self.text.as_bytes().eq_ignore_ascii_case(name);
        }
        self.matches_by(name, |a, b| a.eq_ignore_ascii_case(&b))
    }

    /// Whether some name is matched by both globs, whatever the ASCII case.
    pub(crate) fn overlaps(&self, other: &Glob) -> bool {
        match (self.is_literal(), other.is_literal()) {
            (true, _) => other.matches_any_case(self.text.as_bytes()),
            (false, true) => self.matches_any_case(other.text.as_bytes()),
            (false, false) => stars_overlap(self.text.as_bytes(), other.text.as_bytes()),
        }
    }

    fn matches_by(&self, name: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
        if name.is_empty() || name == b"." || name == b".." {
            return false;
        }
        let pattern = self.text.as_bytes();
        let (mut p, mut n) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while let Some(&byte) = name.get(n) {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(&want) if same(want, byte) => {
                    p += 1;
                    n += 1;
                }
                Some(_) | None => {
                    let Some((after_star, from)) = retry else { return false };
                    retry = Some((after_star, from + 1));
                    (p, n) = (after_star, from + 1);
                }
            }
        }
        pattern.iter().skip(p).all(|&byte| byte == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A relative path of globs: 1 to 16 components, none of them `.`, `..` or empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelGlob {
    text: String,
    components: Vec<Glob>,
}

impl RelGlob {
    /// Takes a text as a relative path of globs, parts separated by `/`.
    ///
    /// # Errors
    /// [`GlobError`] when a part is not a glob, or the path is absolute, asks for expansion or has
    /// more than 16 parts.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.starts_with('/') {
            return Err(GlobError::Absolute);
        }
        if text.starts_with('~') {
            return Err(GlobError::Expansion('~'));
        }
        if let Some(c) = text.chars().find(|c| matches!(c, '$' | '%')) {
            return Err(GlobError::Expansion(c));
        }
        if text.contains(':') {
            return Err(GlobError::Character(':'));
        }
        let components = text.split('/').map(Glob::parse).collect::<Result<Vec<_>, _>>()?;
        if components.len() > MAX_COMPONENTS {
            return Err(GlobError::TooLong);
        }
        Ok(Self { text: text.to_owned(), components })
    }

    /// The parts, from the base downwards. Never empty.
    #[must_use]
    pub fn components(&self) -> &[Glob] {
        &self.components
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether no component holds a `*`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.components.iter().all(Glob::is_literal)
    }
}

impl fmt::Display for RelGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether two star patterns share a name: reachable pairs of positions, row by row.
fn stars_overlap(left: &[u8], right: &[u8]) -> bool {
    let mut reach = vec![false; right.len() + 1];
    for l in (0..=left.len()).rev() {
        let mut row = vec![false; right.len() + 1];
        for r in (0..=right.len()).rev() {
            let below = |row: &[bool], at: usize| row.get(at).copied().unwrap_or(false);
            let hit = match (left.get(l), right.get(r)) {
                (None, None) => true,
                (Some(b'*'), _) if below(&reach, r) || (r < right.len() && below(&row, r + 1)) => {
                    true
                }
                (_, Some(b'*')) => below(&row, r + 1) || (l < left.len() && below(&reach, r)),
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(b) && below(&reach, r + 1),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if let Some(cell) = row.get_mut(r) {
                *cell = hit;
            }
        }
        reach = row;
    }
    reach.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    #[test]
    fn star_matches_any_run_within_one_name() {
        assert!(glob("*").matches(b"anything"));
        assert!(glob("session*.js").matches(b"sessionstore.js"));
        assert!(glob("a*b*c").matches(b"axxbyybzc"));
        assert!(!glob("a*b*c").matches(b"axxbyy"));
        assert!(!glob("Cookies").matches(b"Cookies2"));
        assert!(glob("krb*").matches(b"krb\xff\xfe"));
    }

    #[test]
    fn never_matches_the_dot_names() {
        for pattern in ["*", ".*"] {
            assert!(!glob(pattern).matches(b"."));
            assert!(!glob(pattern).matches(b".."));
            assert!(!glob(pattern).matches(b""));
        }
    }

    #[test]
    fn treats_brackets_and_question_marks_as_plain() {
        assert!(glob("[ab]?").matches(b"[ab]?"));
        assert!(!glob("[ab]?").matches(b"ax"));
    }

    #[test]
    fn refuses_paths_that_leave_or_expand() {
        for bad in [
            "",
            "/etc",
            "a//b",
            "a/",
            "..",
            "a/../b",
            "./a",
            "~/x",
            "$HOME/x",
            "%APPDATA%",
            "C:/x",
            "a\\b",
            "a/**/b",
            "a\0",
        ] {
            assert!(RelGlob::parse(bad).is_err(), "{bad:?} was accepted");
        }
        let deep = ["a"; 17].join("/");
        assert_eq!(RelGlob::parse(&deep), Err(GlobError::TooLong));
    }

    #[test]
    fn overlap_is_found_between_two_starred_names() {
        assert!(glob("a*").overlaps(&glob("*b")));
        assert!(glob("*").overlaps(&glob("*.kdbx")));
        assert!(glob("PREF*").overlaps(&glob("*ences")));
        assert!(!glob("a*").overlaps(&glob("b*")));
        assert!(!glob("*x").overlaps(&glob("*y")));
    }

    proptest! {
        #[test]
        fn no_parsed_path_holds_dots_slashes_or_nul(text in "\\PC{0,40}|[./a*~:\\x00]{0,12}") {
            if let Ok(path) = RelGlob::parse(&text) {
                prop_assert!(!path.components().is_empty());
                for part in path.components() {
                    let part = part.as_str();
                    prop_assert!(!part.is_empty() && part != ".");
                    prop_assert!(!part.contains("..") && !part.contains('/') && !part.contains('\0'));
                }
            }
        }

        #[test]
        fn matching_agrees_with_a_naive_matcher(pattern in "[ab*]{1,8}", name in "[ab]{1,8}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                prop_assert_eq!(glob.matches(name.as_bytes()), naive(pattern.as_bytes(), name.as_bytes()));
            }
        }

        #[test]
        fn two_globs_overlap_when_they_share_a_name(
            left in "[ab*]{1,6}", right in "[ab*]{1,6}", name in "[ab]{1,8}",
        ) {
            if let (Ok(left), Ok(right)) = (Glob::parse(&left), Glob::parse(&right)) {
                let name = name.as_bytes();
                prop_assert!(!(left.matches(name) && right.matches(name)) || left.overlaps(&right));
                prop_assert_eq!(left.overlaps(&right), right.overlaps(&left));
            }
        }
    }

    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|n| naive(rest, &name[n..])),
            (Some((p, rest)), Some((n, tail))) => p == n && naive(rest, tail),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}
