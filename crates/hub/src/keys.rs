//! The hub's own keys: the one that signs now, those that wait for a quorum, and those that signed
//! before.
//!
//! It refuses to sign with a key that no file in the data directory holds, and to forget one that
//! something was signed with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use exeunt_domain::Kid;
use exeunt_ssf::{Jwks, PublicJwk, SigningKey};

use crate::config::{DataDir, DataError, KEY_FILE, read_secret};

/// The name of a later key's file: this and the key's thumbprint.
pub const LATER: &str = "hub-key-";

/// The hub's keys.
#[derive(Debug)]
pub struct HubKeys {
    held: RwLock<Held>,
}

#[derive(Debug)]
struct Held {
    all: BTreeMap<Kid, SigningKey>,
    now: SigningKey,
    /// Thumbprints of those that signed before.
    before: Vec<Kid>,
}

/// No file holds the key that the record names.
#[derive(Debug, thiserror::Error)]
#[error(
    "the record says that this hub signs with {0}, and no file in its directory holds that key"
)]
pub struct MissingKey(pub Kid);

impl HubKeys {
    /// Reads every key in `data`; the first one is made when there is none. It signs.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn open(data: &DataDir) -> Result<Self, DataError> {
        let first = data.signing_key()?;
        let mut all = BTreeMap::from([(first.kid().clone(), first.clone())]);
        for name in data.names_beginning_with(LATER)? {
            let path = data.file(&name);
            let Some(seed) = data.secret(&name)? else { continue };
            let key = SigningKey::from_seed_b64(&seed)
                .map_err(|source| DataError::Key { path, source })?;
            all.insert(key.kid().clone(), key);
        }
        Ok(Self { held: RwLock::new(Held { all, now: first, before: Vec::new() }) })
    }

    /// The keys that sign by the record: `now`, and before it `before`.
    ///
    /// # Errors
    /// [`MissingKey`].
    pub fn follow(&self, now: Option<&Kid>, before: &[Kid]) -> Result<(), MissingKey> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = now else { return Ok(()) };
        held.now = held.all.get(now).cloned().ok_or_else(|| MissingKey(now.clone()))?;
        held.before = before.to_vec();
        Ok(())
    }

    /// The key that signs.
    #[must_use]
    pub fn now(&self) -> SigningKey {
        self.held.read().unwrap_or_else(PoisonError::into_inner).now.clone()
    }

    /// A key that is held, whether it signs or not.
    #[must_use]
    pub fn find(&self, kid: &Kid) -> Option<SigningKey> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).all.get(kid).cloned()
    }

    /// What others may verify by: the key that signs, then those that signed before.
    #[must_use]
    pub fn published(&self) -> Jwks {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let before = held.before.iter().rev().filter_map(|kid| held.all.get(kid));
        let keys = std::iter::once(&held.now).chain(before).map(|key| key.jwk().clone()).collect();
        Jwks { keys }
    }

    /// Every key whose file is here: for what this hub itself signed at any time.
    #[must_use]
    pub fn own(&self) -> Jwks {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Jwks { keys: held.all.values().map(|key| key.jwk().clone()).collect() }
    }

    /// A fresh key, in a file of its own. It signs nothing until a quorum agrees.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn generate(&self, data: &DataDir) -> Result<PublicJwk, DataError> {
        let failed = |source| DataError::Key { path: data.file(LATER), source };
        let key = SigningKey::generate().map_err(failed)?;
        data.write_secret(&format!("{LATER}{}", key.kid()), &key.to_seed_b64())?;
        let jwk = key.jwk().clone();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.all.insert(key.kid().clone(), key);
        Ok(jwk)
    }
}

/// Every key that the hub of a directory ever signed with, whether it serves or not.
///
/// # Errors
/// [`DataError`].
pub fn beside(data: &Path) -> Result<Jwks, DataError> {
    let failed = |source| DataError::Io { path: data.to_owned(), source };
    let mut keys = Jwks::default();
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name != KEY_FILE && !name.starts_with(LATER) {
            continue;
        }
        if let Some(seed) = read_secret(&path)? {
            let key = SigningKey::from_seed_b64(&seed);
            keys.keys.push(key.map_err(|source| DataError::Key { path, source })?.jwk().clone());
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_signs_only_once_the_record_says_so_and_the_old_one_stays_published() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let keys = HubKeys::open(&data).unwrap();
        let first = keys.now().kid().clone();
        let fresh = keys.generate(&data).unwrap();
        assert_eq!((keys.now().kid(), keys.published().keys.len()), (&first, 1));
        keys.follow(Some(fresh.kid()), std::slice::from_ref(&first)).unwrap();
        // Another process over the same directory.
        for keys in [keys, HubKeys::open(&data).unwrap()] {
            keys.follow(Some(fresh.kid()), std::slice::from_ref(&first)).unwrap();
            assert_eq!(keys.now().kid(), fresh.kid());
            let published = keys.published();
            assert_eq!(
                published.keys.iter().map(PublicJwk::kid).collect::<Vec<_>>(),
                [fresh.kid(), &first]
            );
        }
    }

    #[test]
    fn a_record_that_names_a_key_without_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let keys = HubKeys::open(&data).unwrap();
        let gone = Kid::parse("gone").unwrap();
        assert!(keys.follow(Some(&gone), &[]).is_err());
        assert_ne!(keys.now().kid(), &gone);
    }
}
