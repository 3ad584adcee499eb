//! The port to the account's keyrings.
//!
//! It refuses to carry a secret, and to unlock or prompt for anything.

use std::collections::BTreeMap;
use std::time::Duration;

use exeunt_catalogue::{KeyringRule, KeyringStore};

/// What stands before an attribute's name where a locked keyring shows only the hash of its value,
/// as gnome-keyring does.
pub const HASHED: &str = "gkr:compat:hashed:";

/// One item of a keychain. Never its secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeychainItem {
    /// Which keyring withholds or shows it.
    pub store: KeyringStore,
    /// The collection's label.
    pub collection: String,
    /// Which item, as the store addresses it.
    pub address: String,
    /// The item's label.
    pub label: String,
    /// Its attributes: with the Secret Service `xdg:schema` among them, with KWallet `folder`, with
    /// the kernel `type`.
    pub attributes: BTreeMap<String, String>,
    /// The collection withholds it until it is unlocked.
    pub locked: bool,
}

impl KeychainItem {
    /// The attribute that stands for the label where only hashes are shown.
    pub const ENTRY: &str = "entry";

    /// The attribute that a rule's `schema` is compared with.
    #[must_use]
    pub fn schema_key(store: KeyringStore) -> &'static str {
        match store {
            KeyringStore::KWallet => "folder",
            KeyringStore::Kernel => "type",
            KeyringStore::SecretService
            | KeyringStore::Keychain
            | KeyringStore::CredentialManager => "xdg:schema",
        }
    }

    /// Whether its keyring is locked and hides even what the item is for: a keyring that was not
    /// unlocked since it was read shows neither labels nor attributes, at most their hashes.
    #[must_use]
    pub fn is_veiled(&self) -> bool {
        let tells = |key: &String| key != "xdg:schema" && !key.starts_with(HASHED);
        self.locked && self.label.is_empty() && !self.attributes.keys().any(tells)
    }

    /// Whether `rule` means this item: keyring, schema, label and every attribute match.
    #[must_use]
    pub fn matches(&self, rule: &KeyringRule) -> bool {
        if rule.store != self.store {
            return false;
        }
        let key = Self::schema_key(rule.store);
        let schema = rule
            .schema
            .as_ref()
            .is_none_or(|wanted| self.attributes.get(key).is_some_and(|schema| schema == wanted));
        let label = rule.label.as_ref().is_none_or(|glob| glob.matches(self.label.as_bytes()));
        let attributes = rule.attributes.iter().all(|(key, glob)| {
            self.attributes.get(key).is_some_and(|value| glob.matches(value.as_bytes()))
        });
        schema && label && attributes
    }
}

/// Why a keychain did not answer.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    /// The account has no keychain service running.
    #[error("no keychain is running")]
    Absent,
    /// The item's collection is locked; nobody was prompted.
    #[error("the keychain is locked")]
    Locked,
    /// The item is in a keyring's file, and nothing that runs shows it.
    #[error("nothing that runs shows what the keyring's file holds")]
    Unserved,
    /// It did not answer in time.
    #[error("the keychain did not answer within {0:?}")]
    Timeout(Duration),
    /// It answered with an error.
    #[error("the keychain answered: {0}")]
    Failed(String),
}

/// One keyring of the account.
pub trait Keychains: Sync {
    /// Which keyring it is; only rules for that one concern it.
    fn store(&self) -> KeyringStore;

    /// Every item of every collection; the probe of [`Keychains::clear`].
    ///
    /// # Errors
    /// [`KeychainError::Absent`] when there is nothing to ask.
    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError>;

    /// Deletes one item. Never prompts.
    ///
    /// # Errors
    /// [`KeychainError::Locked`] when its collection withholds it, [`KeychainError::Unserved`] when
    /// only its file shows it.
    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError>;

    /// Locks every collection, so that the service keeps no copy of a file that goes. Its probe is
    /// [`Keychains::items`]. A keyring without locks has nothing to do.
    ///
    /// # Errors
    /// [`KeychainError`].
    fn lock(&self) -> Result<(), KeychainError> {
        Ok(())
    }
}
