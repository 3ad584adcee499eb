//! A keychain in memory.
//!
//! It refuses to unlock anything, as the real one must.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exeunt_catalogue::KeyringStore;
use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};

/// Keychain items in memory.
#[derive(Debug, Default)]
pub struct FakeKeychains {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<KeychainItem>,
    made: usize,
    absent: bool,
    stalled: Option<Duration>,
}

/// Building and breaking, for tests.
impl FakeKeychains {
    /// An empty keychain.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No keychain service at all.
    #[must_use]
    pub fn absent() -> Self {
        let keychains = Self::default();
        keychains.state().absent = true;
        keychains
    }

    /// Adds an item of the collection `login`.
    #[must_use]
    pub fn item(self, label: &str, attributes: &[(&str, &str)]) -> Self {
        self.add(label, attributes, false);
        self
    }

    /// Adds an item that its collection withholds.
    #[must_use]
    pub fn locked_item(self, label: &str, attributes: &[(&str, &str)]) -> Self {
        self.add(label, attributes, true);
        self
    }

    /// Makes every call end with a timeout after (nominally) `limit`.
    #[must_use]
    pub fn stalled(self, limit: Duration) -> Self {
        self.state().stalled = Some(limit);
        self
    }

    /// Adds an item while the engine is at work.
    pub fn add(&self, label: &str, attributes: &[(&str, &str)], locked: bool) {
        let mut state = self.state();
        state.made += 1;
        let address = format!("/collection/login/{}", state.made);
        let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        state.items.push(KeychainItem {
            store: KeyringStore::SecretService,
            collection: "login".to_owned(),
            address,
            label: label.to_owned(),
            attributes: attributes.iter().map(pair).collect::<BTreeMap<_, _>>(),
            locked,
        });
    }

    /// Makes the collection withhold every item.
    pub fn lock_all(&self) {
        self.state().items.iter_mut().for_each(|item| item.locked = true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reach(&self) -> Result<(), KeychainError> {
        if self.absent {
            return Err(KeychainError::Absent);
        }
        self.stalled.map_or(Ok(()), |limit| Err(KeychainError::Timeout(limit)))
    }
}

impl Keychains for FakeKeychains {
    fn store(&self) -> KeyringStore {
        KeyringStore::SecretService
    }

    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        let state = self.state();
        state.reach()?;
        Ok(state.items.clone())
    }

    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        let mut state = self.state();
        state.reach()?;
        if state.items.iter().any(|kept| kept.address == item.address && kept.locked) {
            return Err(KeychainError::Locked);
        }
        state.items.retain(|kept| kept.address != item.address);
        Ok(())
    }

    fn lock(&self) -> Result<(), KeychainError> {
        self.state().reach()?;
        self.lock_all();
        Ok(())
    }
}
