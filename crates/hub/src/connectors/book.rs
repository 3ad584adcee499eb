//! Registered providers and the tokens handed over for them, in one sealed file.
//!
//! It refuses the record, and a file in clear: without a key, nothing is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::RwLock;

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::seal::{SealError, Sealing, is_sealed};
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
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// There is no key to keep anything under.
    #[error("this hub has no key to keep credentials under, and keeps none in clear")]
    NoKey,
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
    sealing: Option<Sealing>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").finish_non_exhaustive()
    }
}

impl Book {
    /// Reads the file, if there is one, with the key at `key`. A file that an earlier version wrote
    /// in clear is sealed.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn open(data: &DataDir, key: Option<&Path>) -> Result<Self, BookError> {
        let text = data.secret(FILE)?;
        let was_sealed = text.as_deref().is_some_and(is_sealed);
        let at = |path| Sealing::at(path, data.path(), was_sealed);
        let sealing = key.map(at).transpose()?;
        let Some(text) = text else { return Ok(Self { pages: RwLock::default(), sealing }) };
        let pages = match &sealing {
            Some(sealing) if was_sealed => serde_json::from_str(&sealing.open(&text)?)?,
            Some(sealing) => {
                let pages: Pages = serde_json::from_str(&text)?;
                data.replace_secret(FILE, &sealing.seal(&text)?)?;
                tracing::warn!("the connectors' file was in clear, and is sealed now");
                pages
            }
            None if was_sealed => return Err(SealError::NoKey.into()),
            None => return Err(SealError::InClear.into()),
        };
        Ok(Self { pages: RwLock::new(pages), sealing })
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

    /// Forgets a provider and what was handed over for it; whether there was one. Durable when it
    /// returns.
    ///
    /// # Errors
    /// [`BookError`]; then nothing changed.
    pub fn remove(&self, data: &DataDir, name: &str) -> Result<bool, BookError> {
        if self.get(name).is_none() {
            return Ok(false);
        }
        self.change(data, |pages| {
            pages.providers.remove(name);
            pages.grants.remove(name);
            Ok(())
        })?;
        Ok(true)
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
        let sealing = self.sealing.as_ref().ok_or(BookError::NoKey)?;
        data.replace_secret(FILE, &sealing.seal(&serde_json::to_string(&next)?)?)?;
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

    struct Scene {
        _dir: tempfile::TempDir,
        data: DataDir,
        key: std::path::PathBuf,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = DataDir::hold(&dir.path().join("data")).unwrap();
            let key = dir.path().join("key");
            Self { _dir: dir, data, key }
        }

        fn open(&self) -> Book {
            Book::open(&self.data, Some(&self.key)).unwrap()
        }
    }

    #[test]
    fn survives_a_restart_in_a_file_that_shows_nothing() {
        let scene = Scene::new();
        let alice = Subject::parse("alice").unwrap();
        let book = scene.open();
        book.register(&scene.data, "op", one()).unwrap();
        book.keep(&scene.data, "op", &alice, "t0k3n".into()).unwrap();
        book.keep(&scene.data, "op", &alice, "t0k3n".into()).unwrap();
        let again = scene.open();
        assert_eq!(again.tokens("op", &alice), ["t0k3n"]);
        let path = scene.data.file(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        for secret in ["s3cret", "t0k3n", "alice", "op"] {
            assert!(!text.contains(&format!("\"{secret}")), "{text}");
        }
        again.forget(&scene.data, "op", &alice, &["t0k3n".into()]).unwrap();
        assert!(scene.open().tokens("op", &alice).is_empty());
        assert!(!format!("{:?}", again.all()).contains("s3cret"));
        assert!(again.remove(&scene.data, "op").unwrap());
        assert!(!scene.open().remove(&scene.data, "op").unwrap());
    }

    #[test]
    fn keeps_nothing_without_a_key_and_opens_nothing_without_it() {
        let scene = Scene::new();
        let without = Book::open(&scene.data, None).unwrap();
        let refused = without.register(&scene.data, "op", one());
        assert!(matches!(refused, Err(BookError::NoKey)), "{refused:?}");
        assert!(without.all().is_empty());
        scene.open().register(&scene.data, "op", one()).unwrap();
        let refused = Book::open(&scene.data, None).unwrap_err();
        assert!(refused.to_string().contains("--connectors-key"), "{refused}");
    }

    #[test]
    fn seals_a_file_that_an_earlier_version_left_in_clear_and_loses_nothing() {
        let scene = Scene::new();
        let pages = serde_json::json!({ "providers": { "op": one() }, "grants": {} });
        scene.data.write_secret(FILE, &pages.to_string()).unwrap();
        let refused = Book::open(&scene.data, None).unwrap_err();
        assert!(refused.to_string().contains("in clear"), "{refused}");
        assert!(scene.open().get("op").is_some());
        let text = std::fs::read_to_string(scene.data.file(FILE)).unwrap();
        assert!(!text.contains("s3cret") && is_sealed(&text));
        assert!(scene.open().get("op").is_some());
    }

    #[test]
    fn keeps_no_more_of_one_person_than_it_says() {
        let scene = Scene::new();
        let (data, book) = (&scene.data, scene.open());
        let alice = Subject::parse("alice").unwrap();
        for number in 0..MOST_OF_ONE {
            book.keep(data, "op", &alice, format!("t{number}")).unwrap();
        }
        assert!(matches!(book.keep(data, "op", &alice, "more".into()), Err(BookError::Full)));
        assert_eq!(book.tokens("op", &alice).len(), MOST_OF_ONE);
    }
}
