//! Registered providers and the tokens handed over for them, in one file that only the hub's user
//! reads.
//!
//! It refuses the record: no credential and no token of a provider is ever written there.

use std::collections::BTreeMap;
use std::sync::RwLock;

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::config::{DataDir, DataError};

/// The file's name within the data directory.
const FILE: &str = "connectors";
/// Most tokens that are kept for one person at one provider.
const MOST_OF_ONE: usize = 64;
/// Most tokens that are kept.
const MOST: usize = 10_000;

/// A registered provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// How to reach it.
    pub settings: Settings,
    /// The audiences whose services may hand over tokens for it.
    #[serde(default)]
    pub audiences: Vec<String>,
}

/// The file cannot be used, or takes no more.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// It cannot be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It is no longer what was written.
    #[error("the file of connectors is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// As many tokens as are kept.
    #[error("no more tokens are kept: at most 64 of one person and 10,000 in all")]
    Full,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Pages {
    providers: BTreeMap<String, Registered>,
    /// Provider, subject key, tokens.
    grants: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// The file, and what it says.
pub struct Book {
    pages: RwLock<Pages>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").finish_non_exhaustive()
    }
}

impl Book {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn open(data: &DataDir) -> Result<Self, BookError> {
        let pages = match data.secret(FILE)? {
            Some(text) => serde_json::from_str(&text)?,
            None => Pages::default(),
        };
        Ok(Self { pages: RwLock::new(pages) })
    }

    /// Every provider, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Registered)> {
        let pages = self.pages.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        pages.providers.iter().map(|(name, one)| (name.clone(), one.clone())).collect()
    }

    /// One provider.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Registered> {
        let pages = self.pages.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        pages.providers.get(name).cloned()
    }

    /// The tokens that were handed over.
    #[must_use]
    pub fn tokens(&self, name: &str, subject: &Subject) -> Vec<String> {
        let pages = self.pages.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of = pages.grants.get(name).and_then(|of| of.get(&subject.key()));
        of.cloned().unwrap_or_default()
    }

    /// Registers a provider, or replaces one of that name. Durable when it returns.
    ///
    /// # Errors
    /// [`BookError`]; then nothing changed.
    pub fn register(&self, data: &DataDir, name: &str, one: Registered) -> Result<(), BookError> {
        self.change(data, |pages| {
            pages.providers.insert(name.to_owned(), one);
            Ok(())
        })
    }

    /// Keeps a token. Durable when it returns.
    ///
    /// # Errors
    /// [`BookError`]; then nothing changed.
    pub fn keep(
        &self,
        data: &DataDir,
        name: &str,
        subject: &Subject,
        token: String,
    ) -> Result<(), BookError> {
        self.change(data, |pages| {
            let all: usize = pages.grants.values().flat_map(BTreeMap::values).map(Vec::len).sum();
            let of = pages.grants.entry(name.to_owned()).or_default();
            let tokens = of.entry(subject.key()).or_default();
            if tokens.contains(&token) {
                return Ok(());
            }
            if tokens.len() >= MOST_OF_ONE || all >= MOST {
                return Err(BookError::Full);
            }
            tokens.push(token);
            Ok(())
        })
    }

    /// Forgets tokens that no longer work. Durable when it returns.
    ///
    /// # Errors
    /// [`BookError`]; then nothing changed.
    pub fn forget(
        &self,
        data: &DataDir,
        name: &str,
        subject: &Subject,
        dead: &[String],
    ) -> Result<(), BookError> {
        self.change(data, |pages| {
            let Some(of) = pages.grants.get_mut(name) else { return Ok(()) };
            if let Some(tokens) = of.get_mut(&subject.key()) {
                tokens.retain(|token| !dead.contains(token));
            }
            of.retain(|_, tokens| !tokens.is_empty());
            Ok(())
        })
    }

    fn change(
        &self,
        data: &DataDir,
        change: impl FnOnce(&mut Pages) -> Result<(), BookError>,
    ) -> Result<(), BookError> {
        // Held while the file is written, so that two changes cannot pass each other.
        let mut pages = self.pages.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut next = pages.clone();
        change(&mut next)?;
        data.replace_secret(FILE, &serde_json::to_string(&next)?)?;
        *pages = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn one() -> Registered {
        let settings = serde_json::json!({
            "kind": "oauth", "revocation_endpoint": "http://127.0.0.1:1/r",
            "client_id": "c", "client_secret": "s3cret",
        });
        Registered { settings: serde_json::from_value(settings).unwrap(), audiences: vec![] }
    }

    #[test]
    fn survives_a_restart_in_a_file_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let alice = Subject::parse("alice").unwrap();
        let book = Book::open(&data).unwrap();
        book.register(&data, "op", one()).unwrap();
        book.keep(&data, "op", &alice, "t1".into()).unwrap();
        book.keep(&data, "op", &alice, "t1".into()).unwrap();
        let again = Book::open(&data).unwrap();
        assert_eq!(again.tokens("op", &alice), ["t1"]);
        let mode = std::fs::metadata(data.file(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        again.forget(&data, "op", &alice, &["t1".into()]).unwrap();
        assert!(Book::open(&data).unwrap().tokens("op", &alice).is_empty());
        assert!(!format!("{:?}", again.all()).contains("s3cret"));
    }

    #[test]
    fn keeps_no_more_of_one_person_than_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let book = Book::open(&data).unwrap();
        let alice = Subject::parse("alice").unwrap();
        for number in 0..MOST_OF_ONE {
            book.keep(&data, "op", &alice, format!("t{number}")).unwrap();
        }
        assert!(matches!(book.keep(&data, "op", &alice, "more".into()), Err(BookError::Full)));
        assert_eq!(book.tokens("op", &alice).len(), MOST_OF_ONE);
    }
}
