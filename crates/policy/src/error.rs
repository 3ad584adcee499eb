//! What can be wrong in a policy, said with file, line, column and mistake.
//!
//! It refuses to be vague: every mistake names the text and what to write instead.

use std::fmt;

/// A position in a policy. Line and column count from 1; a column is one character.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is longer than 64 KiB.
    #[error("{0}: a policy has at most 65,536 bytes")]
    TooLong(String),
    /// It is no TOML of a policy's shape: a syntax error, an unknown key, a word out of a closed set.
    #[error("{at}: {mistake}")]
    Shape {
        /// Where.
        at: Location,
        /// The parser's own words.
        mistake: String,
    },
    /// A value makes no sense.
    #[error("{at}: `{found}` {mistake}")]
    Value {
        /// Where.
        at: Location,
        /// The text found.
        found: String,
        /// What is wrong with it, and what to write instead.
        mistake: &'static str,
    },
}
