//! The Secret Service (freedesktop Secret Service API 0.2): gnome-keyring, KWallet, KeePassXC.
//!
//! It refuses to wait past its deadline, and to run a prompt that the service offers.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use exeunt_catalogue::KeyringStore;
use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};
use secret_service::EncryptionType;
use secret_service::blocking::{Item, SecretService as Service};
use zbus::blocking::connection::Builder;
use zbus::blocking::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::zvariant::OwnedObjectPath;

use super::SessionBus;
use crate::bounded::{self, Hangup};
use crate::users::{Account, as_account};

const NAME: &str = "org.freedesktop.secrets";
const ITEM: &str = "org.freedesktop.Secret.Item";

/// The Secret Service of one account. Every call makes a connection of its own.
#[derive(Clone, Debug)]
pub struct SecretService {
    bus: SessionBus,
    account: Account,
    limit: Duration,
}

impl SecretService {
    /// The Secret Service on `bus`, asked as `account`, each call within `limit`.
    #[must_use]
    pub fn new(bus: SessionBus, account: Account, limit: Duration) -> Self {
        Self { bus, account, limit }
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&zbus::blocking::Connection) -> Result<T, KeychainError> + Send + 'static,
    ) -> Result<T, KeychainError> {
        let asked = self.clone();
        let answer = bounded::run(self.limit, move |hangup| {
            let connection = asked.connect(hangup)?;
            question(&connection)
        });
        answer.unwrap_or(Err(KeychainError::Timeout(self.limit)))
    }

    /// Connects as the account: the bus serves nobody else, not even root. Only the connecting
    /// itself is done with the account's ids; afterwards the socket remembers them.
    fn connect(&self, hangup: &Hangup) -> Result<zbus::blocking::Connection, KeychainError> {
        let stream = as_account(self.account.uid, self.account.gid, || self.bus.connect())
            .map_err(failed)?
            .map_err(|error| {
                let nobody = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
                if nobody.contains(&error.kind()) { KeychainError::Absent } else { failed(error) }
            })?;
        hangup.watch(&stream).map_err(failed)?;
        let connection = Builder::async_io_unix_stream(stream)
            .user_id(self.account.uid)
            .method_timeout(self.limit)
            .build()
            .map_err(failed)?;
        // Calling a name that nobody owns would start a keychain.
        let name = BusName::try_from(NAME).map_err(failed)?;
        let owned = DBusProxy::new(&connection).map_err(failed)?.name_has_owner(name);
        if owned.map_err(failed)? { Ok(connection) } else { Err(KeychainError::Absent) }
    }
}

impl Keychains for SecretService {
    fn store(&self) -> KeyringStore {
        KeyringStore::SecretService
    }

    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        self.ask(|connection| {
            let service = Service::connect_with_existing(EncryptionType::Plain, connection.clone())
                .map_err(failed)?;
            let mut items = Vec::new();
            for collection in service.get_all_collections().map_err(failed)? {
                let label = collection.get_label().map_err(failed)?;
                for item in collection.get_all_items().map_err(failed)? {
                    items.extend(describe(&label, &item)?);
                }
            }
            items.sort();
            Ok(items)
        })
    }

    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        let wanted = item.clone();
        self.ask(move |connection| {
            let service = Service::connect_with_existing(EncryptionType::Plain, connection.clone())
                .map_err(failed)?;
            let path = OwnedObjectPath::try_from(wanted.address.as_str()).map_err(failed)?;
            let found = service.get_item_by_path(path.clone()).map_err(failed)?;
            let Some(now) = describe(&wanted.collection, &found)? else { return Ok(()) };
            if !is_same(&now, &wanted) {
                return Err(KeychainError::Failed("another item took its place".to_owned()));
            }
            if now.locked {
                return Err(KeychainError::Locked);
            }
            let reply = connection.call_method(Some(NAME), &path, Some(ITEM), "Delete", &());
            let prompt: OwnedObjectPath =
                reply.and_then(|reply| reply.body().deserialize()).map_err(failed)?;
            // A prompt other than "/" means that a person would have to agree first.
            if prompt.as_str() == "/" { Ok(()) } else { Err(KeychainError::Locked) }
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

/// What an item shows without its secret; `None` when it is gone.
fn describe(collection: &str, item: &Item<'_>) -> Result<Option<KeychainItem>, KeychainError> {
    let seen = item.get_label().and_then(|label| {
        let attributes = item.get_attributes()?;
        Ok((label, attributes, item.is_locked()?))
    });
    match seen {
        Ok((label, attributes, locked)) => Ok(Some(KeychainItem {
            store: KeyringStore::SecretService,
            collection: collection.to_owned(),
            address: item.item_path.to_string(),
            label,
            attributes: attributes.into_iter().collect::<BTreeMap<_, _>>(),
            locked,
        })),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Whether the service says that there is no such object. Its words differ by service.
fn is_gone(error: &secret_service::Error) -> bool {
    let words = error.to_string();
    ["UnknownObject", "NoSuchObject", "UnknownMethod", "No such object", "Object does not exist"]
        .iter()
        .any(|gone| words.contains(gone))
}

fn failed(error: impl std::fmt::Display) -> KeychainError {
    KeychainError::Failed(error.to_string())
}
