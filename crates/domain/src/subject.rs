//! Subjects as RFC 9493 and the Shared Signals Framework write them.
//!
//! It refuses to guess: an unknown format is an error, and no match is ever widened to everyone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A simple subject identifier (RFC 9493 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum Subject {
    /// An account URI, `acct:alice@example.org` (RFC 7565).
    Account {
        /// The `acct:` URI.
        uri: String,
    },
    /// An e-mail address.
    Email {
        /// The address.
        email: String,
    },
    /// An issuer and its own name for the subject.
    IssSub {
        /// The issuer.
        iss: String,
        /// The issuer's `sub`.
        sub: String,
    },
    /// A name that only the two sides understand.
    Opaque {
        /// The name.
        id: String,
    },
}

/// A complex subject (SSF 1.0 §3.4): every member present must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename = "complex")]
pub struct SubjectPattern {
    /// The person or machine identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Subject>,
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Subject>,
    /// One session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Subject>,
}

/// The text names no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubject {
    /// Nothing was given.
    #[error("the subject is empty")]
    Empty,
    /// Longer than 1,024 bytes or holding control characters.
    #[error("the subject is over 1,024 bytes or holds control characters")]
    Unprintable,
}

impl Subject {
    /// Reads what a person types: `acct:…` is an account, `iss|sub` an issuer's name, a text with
    /// `@` an e-mail address, anything else an opaque name. Case and spaces at the ends of an
    /// address are folded.
    ///
    /// # Errors
    /// [`InvalidSubject`] for an empty, oversized or unprintable text.
    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidSubject::Empty);
        }
        if text.len() > 1024 || text.chars().any(char::is_control) {
            return Err(InvalidSubject::Unprintable);
        }
        Ok(if text.starts_with("acct:") {
            Subject::Account { uri: text.to_lowercase() }
        } else if let Some((iss, sub)) = text.split_once('|') {
            Subject::IssSub { iss: iss.to_owned(), sub: sub.to_owned() }
        } else if text.contains('@') {
            Subject::Email { email: text.to_lowercase() }
        } else {
            Subject::Opaque { id: text.to_owned() }
        })
    }

    /// One canonical text a subject: what registries and watermarks are keyed by, and what
    /// [`Subject::parse`] reads back.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Subject::Account { uri } => uri.to_lowercase(),
            Subject::Email { email } => email.to_lowercase(),
            Subject::IssSub { iss, sub } => format!("{iss}|{sub}"),
            Subject::Opaque { id } => id.clone(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

impl std::str::FromStr for Subject {
    type Err = InvalidSubject;
    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type_and_reads_its_own_key_back() {
        for text in ["alice", "Alice@Corp.example", "acct:a@b", "https://idp.example|00u1"] {
            let subject = Subject::parse(text).unwrap();
            assert_eq!(Subject::parse(&subject.key()).unwrap(), subject, "{text}");
        }
        assert_eq!(
            Subject::parse("Alice@Corp.example").unwrap(),
            Subject::Email { email: "alice@corp.example".into() }
        );
    }

    #[test]
    fn refuses_empty_and_unprintable_subjects() {
        assert_eq!(Subject::parse("  "), Err(InvalidSubject::Empty));
        assert_eq!(Subject::parse("a\u{7}b"), Err(InvalidSubject::Unprintable));
        assert_eq!(Subject::parse(&"x".repeat(1025)), Err(InvalidSubject::Unprintable));
    }

    #[test]
    fn writes_rfc_9493_members() {
        let json = serde_json::to_value(Subject::parse("a@b.example").unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({"format": "email", "email": "a@b.example"}));
    }

    #[test]
    fn refuses_an_unknown_format() {
        assert!(serde_json::from_str::<Subject>(r#"{"format":"everyone"}"#).is_err());
    }
}
