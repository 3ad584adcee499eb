//! The Secret Service (freedesktop Secret Service API 0.2): gnome-keyring, KWallet, KeePassXC.
//!
//! It refuses to wait past its deadline, to run a prompt that the service offers, and to take a
//! service that lists nothing at its word while a keyring's file says otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use exeunt_catalogue::KeyringStore;
use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};
use serde::de::DeserializeOwned;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Type};

use super::SessionBus;
use super::bus::{AccountBus, CallError, Service, failed};
use super::files::{KeyringFiles, is_from_file, unserved};
use crate::users::Account;

const NAME: &str = "org.freedesktop.secrets";
const PATH: &str = "/org/freedesktop/secrets";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const ITEM: &str = "org.freedesktop.Secret.Item";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// At most so many items are looked at.
const MOST: usize = 4096;
/// How long a keyring that is still loading is waited for, once.
const LOADED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// The Secret Service of one account. Every call makes a connection of its own.
#[derive(Clone, Debug)]
pub struct SecretService {
    bus: AccountBus,
    files: Option<KeyringFiles>,
    /// Whether a keyring that is still loading was waited for already.
    waited: Arc<AtomicBool>,
}

impl SecretService {
    /// The Secret Service on `bus`, asked as `account`, each call within `limit`.
    #[must_use]
    pub fn new(bus: Option<SessionBus>, account: Account, limit: Duration) -> Self {
        let bus = AccountBus { bus, account, limit };
        Self { bus, files: None, waited: Arc::default() }
    }

    /// The same, held against the files that the account's keyrings are kept in.
    #[must_use]
    pub fn with_files(self, files: KeyringFiles) -> Self {
        Self { files: Some(files), ..self }
    }

    /// What the service itself lists.
    fn listed(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        self.bus.ask(NAME, |service| {
            let mut items = Vec::new();
            for collection in paths(service, PATH, SERVICE, "Collections")? {
                let Some(label) = label(service, &collection)? else { continue };
                let of = paths(service, &collection, COLLECTION, "Items")?;
                if items.len() + of.len() > MOST {
                    return Err(failed(format!("it lists more than {MOST} items")));
                }
                for item in of {
                    items.extend(describe(service, &label, &item)?);
                }
            }
            items.sort();
            Ok(items)
        })
    }

    /// Waits a while for the service to show what a file holds.
    fn await_served(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        let runs = !matches!(self.listed(), Err(KeychainError::Absent));
        let patient = runs && !self.waited.swap(true, Ordering::Relaxed);
        let until = Instant::now() + if patient { LOADED_WITHIN } else { Duration::ZERO };
        loop {
            match self.items() {
                Ok(now) if now.iter().any(|now| now.address == item.address) => {}
                Ok(_) | Err(KeychainError::Absent) => return Ok(()),
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                return Err(KeychainError::Unserved);
            }
            thread::sleep(ASKED_EVERY);
        }
    }
}

impl Keychains for SecretService {
    fn store(&self) -> KeyringStore {
        KeyringStore::SecretService
    }

    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        // First the files: what a service loads in between is then listed twice, and never not at all.
        let stored = self.files.as_ref().map(KeyringFiles::secret_service).unwrap_or_default();
        let mut listed = match self.listed() {
            Err(KeychainError::Absent) if !stored.is_empty() => Vec::new(),
            listed => listed?,
        };
        let unserved = unserved(stored, &listed);
        listed.extend(unserved);
        Ok(listed)
    }

    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        if is_from_file(item) {
            return self.await_served(item);
        }
        let wanted = item.clone();
        self.bus.ask(NAME, move |service| {
            let now = describe(service, &wanted.collection, &wanted.address)?;
            let Some(now) = now else { return Ok(()) };
            if !is_same(&now, &wanted) {
                return Err(KeychainError::Failed("another item took its place".to_owned()));
            }
            if now.locked {
                return Err(KeychainError::Locked);
            }
            let deleted = service.call(&wanted.address, ITEM, "Delete", &());
            let prompt: OwnedObjectPath = deleted?;
            // A prompt other than "/" means that a person would have to agree first.
            if prompt.as_str() == "/" { Ok(()) } else { Err(KeychainError::Locked) }
        })
    }

    fn lock(&self) -> Result<(), KeychainError> {
        self.bus.ask(NAME, |service| {
            let collections: Vec<OwnedObjectPath> = get(service, PATH, SERVICE, "Collections")?;
            let _locked_and_prompt: (Vec<OwnedObjectPath>, OwnedObjectPath) =
                service.call(PATH, SERVICE, "Lock", &(collections,))?;
            Ok(())
        })
    }
}

/// Whether a look at one place saw the same item again. A keychain that has just been written reads
/// itself anew, and only then tells the default schema.
fn is_same(now: &KeychainItem, then: &KeychainItem) -> bool {
    let own = |item: &KeychainItem| {
        let mut attributes = item.attributes.clone();
        attributes.remove("xdg:schema");
        attributes
    };
    now.label == then.label && own(now) == own(then)
}

/// One property of an object.
fn get<T>(service: &Service, path: &str, interface: &str, name: &str) -> Result<T, CallError>
where
    T: DeserializeOwned + Type + TryFrom<OwnedValue>,
    T::Error: std::fmt::Display,
{
    let value: OwnedValue = service.call(path, PROPERTIES, "Get", &(interface, name))?;
    T::try_from(value).map_err(|error| CallError::Failed(failed(error)))
}

/// The objects that a property lists; none when the object is gone.
fn paths(
    service: &Service,
    path: &str,
    interface: &str,
    name: &str,
) -> Result<Vec<String>, KeychainError> {
    match get::<Vec<OwnedObjectPath>>(service, path, interface, name) {
        Ok(paths) => Ok(paths.iter().map(|path| path.as_str().to_owned()).collect()),
        Err(CallError::Gone) => Ok(Vec::new()),
        Err(CallError::Failed(error)) => Err(error),
    }
}

/// A collection's label; `None` when it is gone.
fn label(service: &Service, collection: &str) -> Result<Option<String>, KeychainError> {
    match get(service, collection, COLLECTION, "Label") {
        Ok(label) => Ok(Some(label)),
        Err(CallError::Gone) => Ok(None),
        Err(CallError::Failed(error)) => Err(error),
    }
}

/// What an item shows without its secret; `None` when it is gone.
fn describe(
    service: &Service,
    collection: &str,
    path: &str,
) -> Result<Option<KeychainItem>, KeychainError> {
    let mut all: HashMap<String, OwnedValue> =
        match service.call(path, PROPERTIES, "GetAll", &(ITEM,)) {
            Ok(all) => all,
            Err(CallError::Gone) => return Ok(None),
            Err(CallError::Failed(error)) => return Err(error),
        };
    let untold = || failed("an item does not tell what it is");
    let mut of = |name: &str| all.remove(name).ok_or_else(untold);
    let attributes: HashMap<String, String> = of("Attributes")?.try_into().map_err(failed)?;
    Ok(Some(KeychainItem {
        store: KeyringStore::SecretService,
        collection: collection.to_owned(),
        address: path.to_owned(),
        label: of("Label")?.try_into().map_err(failed)?,
        attributes: attributes.into_iter().collect(),
        locked: of("Locked")?.try_into().map_err(failed)?,
    }))
}
