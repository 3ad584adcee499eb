//! What can be wrong in a catalogue file, said with file, line, column, mistake and remedy.
//! It refuses to be vague: every variant names the text that is wrong and what to write instead.

use std::fmt;

use crate::glob::GlobError;
use crate::place::PlaceError;

/// A position in a catalogue file. Line and column count from 1; a column is one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file's name, as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Location {
    /// The position of byte `offset` in `text`.
    pub(crate) fn of(file: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Self { file: file.to_owned(), line, column }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The parser's message, with its own words for shapes put as a person would.
pub(crate) fn in_plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        (
            "invalid type: map, expected a sequence",
            "a single table where several may stand: write [[…]] with two brackets",
        ),
        ("expected a sequence", "where a list is expected: put it in [ ]"),
        ("expected a string", "where a text is expected: put it in quotes"),
        ("invalid type: ", "found "),
        (
            "wanted exactly 1 element, more than 1 element",
            "one value has several forms: give one form, such as one format of edit",
        ),
        (", expected `=`", ", expected `=` between a key and its value"),
    ];
    let message = message.replace('\n', " ");
    WORDS
        .iter()
        .fold(message, |said, (theirs, ours)| said.replace(theirs, ours))
        .replace(", where", " where")
}

/// Why catalogue files are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The file is not TOML of the catalogue's shape: a syntax error, an unknown or missing key, a
    /// word out of a closed set.
    #[error("{at}: {mistake}; correct it by the table of keys in docs/adding.md")]
    Shape {
        /// Where.
        at: Location,
        /// The parser's own words.
        mistake: String,
    },
    /// An id is not lowercase kebab case.
    #[error(
        "{at}: `{id}` is not an id; use 1 to 64 lowercase letters, digits and single inner hyphens"
    )]
    Id {
        /// Where.
        at: Location,
        /// The text found.
        id: String,
    },
    /// An id is taken, in this file, another one, or the compiled-in catalogue.
    #[error(
        "{at}: `{id}` is already taken; an entry can be added but never replaced, choose another id"
    )]
    Taken {
        /// Where.
        at: Location,
        /// The id.
        id: String,
    },
    /// A path is refused.
    #[error("{at}: the path `{path}` is refused: {mistake}")]
    Path {
        /// Where.
        at: Location,
        /// The text found.
        path: String,
        /// What is wrong with it.
        mistake: GlobError,
    },
    /// A place is refused.
    #[error("{at}: the place `{place}` is refused: {mistake}")]
    Place {
        /// Where.
        at: Location,
        /// The text found.
        place: String,
        /// What is wrong with it.
        mistake: PlaceError,
    },
    /// An app names a family that no file defines.
    #[error("{at}: there is no family `{family}`; known are {known}")]
    Family {
        /// Where.
        at: Location,
        /// The name found.
        family: String,
        /// The names that would do.
        known: String,
    },
    /// An entry does not make sense.
    #[error("{at}: {mistake}; {remedy}")]
    Rule {
        /// Where.
        at: Location,
        /// What is wrong.
        mistake: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A rule could remove what is never touched.
    #[error(
        "{at}: `{path}` of `{app}` reaches a protected place ({reason}); name the exact files that hold the session instead"
    )]
    Protected {
        /// Where.
        at: Location,
        /// The app.
        app: String,
        /// The path as written.
        path: String,
        /// Why the place is protected.
        reason: String,
    },
    /// A file without an entry.
    #[error("{file}: it has neither [[app]] nor [[family]]; add an entry, or remove this file")]
    Empty {
        /// The file's name.
        file: String,
    },
    /// The files define `protected.toml`.
    #[error("{file}: the protected places are compiled in and cannot be given; remove this file")]
    ProtectedFile {
        /// The file's name.
        file: String,
    },
}
