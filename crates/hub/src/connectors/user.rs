//! Whom a provider knows by a subject.
//!
//! It refuses to pick: an address that several people have is nobody's, and another issuer's name
//! is none of this provider's.

use exeunt_domain::Subject;
use serde_json::Value;

use super::Person;
use super::call::{Failed, text};

/// How a provider may know a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    /// By the provider's own id.
    Id(&'a str),
    /// By an address.
    Email(&'a str),
    /// By a name that both sides use.
    Name(&'a str),
}

impl<'a> Known<'a> {
    /// The word itself, where a provider takes any of them in one place.
    pub(super) fn word(self) -> &'a str {
        match self {
            Known::Id(word) | Known::Email(word) | Known::Name(word) => word,
        }
    }
}

impl Person {
    /// How the provider that is the issuer `issuer` may know them; one that is none has no name.
    ///
    /// # Errors
    /// [`Failed::Never`] for another issuer's name.
    pub(super) fn known_at(&self, issuer: &str) -> Result<Known<'_>, Failed> {
        match &self.subject {
            Subject::IssSub { iss, sub }
                if !issuer.is_empty()
                    && iss.trim_end_matches('/') == issuer.trim_end_matches('/') =>
            {
                Ok(Known::Id(sub))
            }
            Subject::IssSub { .. } => Err(Failed::Never("the subject is another issuer's".into())),
            Subject::Email { email } => Ok(Known::Email(email)),
            Subject::Account { uri } => Ok(Known::Email(uri.trim_start_matches("acct:"))),
            Subject::Opaque { id } => Ok(Known::Name(id)),
        }
    }
}

/// The one user that a search found: what it has at `pointer`.
///
/// # Errors
/// [`Failed::Never`] when it found none, or several.
pub(super) fn only(found: &[Value], pointer: &str) -> Result<String, Failed> {
    match found {
        [one] => text("the user", one, pointer),
        [] => Err(Failed::Never("the provider knows no such user".into())),
        [_, _, ..] => Err(Failed::Never("the provider knows several such users".into())),
    }
}

#[cfg(test)]
mod tests {
    use exeunt_domain::Subject;
    use serde_json::json;

    use super::*;

    #[test]
    fn another_issuers_name_is_none_of_this_providers() {
        let person = |text: &str| Person { subject: Subject::parse(text).unwrap(), tokens: vec![] };
        let id = person("https://id.example|u1");
        assert_eq!(id.known_at("https://id.example/"), Ok(Known::Id("u1")));
        assert!(id.known_at("https://id.example.evil").is_err());
        assert!(id.known_at("").is_err() && person("|u1").known_at("").is_err());
        assert_eq!(person("acct:a@b.c").known_at(""), Ok(Known::Email("a@b.c")));
    }

    #[test]
    fn picks_nobody_among_several() {
        assert!(only(&[], "/id").is_err() && only(&[json!({}), json!({})], "/id").is_err());
        assert!(only(&[json!({})], "/id").is_err());
        assert_eq!(only(&[json!({ "id": 7 })], "/id"), Ok("7".to_owned()));
    }
}
