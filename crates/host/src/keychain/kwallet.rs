//! KWallet's own interface (`org.kde.KWallet`, as `kwalletd` 5.103 has it): wallets, folders,
//! entries.
//!
//! It refuses to open a closed wallet, since that asks a person for its password, and an open one
//! where the settings ask a person about every program.

use std::collections::BTreeMap;
use std::time::Duration;

use exeunt_catalogue::KeyringStore;
use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::zvariant::{DynamicType, Type};

use super::SessionBus;
use super::bus::{AccountBus, CallError, Service, failed};
use super::files::{KeyringFiles, is_from_file, unserved};
use crate::users::Account;

/// The daemons of three generations: the name on the bus, and the object.
const DAEMONS: [(&str, &str); 3] = [
    ("org.kde.kwalletd6", "/modules/kwalletd6"),
    ("org.kde.kwalletd5", "/modules/kwalletd5"),
    ("org.kde.kwalletd", "/modules/kwalletd"),
];
const INTERFACE: &str = "org.kde.KWallet";
/// The name by which a daemon knows us.
const OURS: &str = "exeunt";
/// The window that a prompt would belong to: none.
const NO_WINDOW: i64 = 0;
/// The attribute that names an entry's folder.
const FOLDER: &str = "folder";
/// At most so many entries are looked at.
const MOST: usize = 4096;
/// A settings file is read so far.
const SETTINGS: usize = 64 * 1024;

/// The wallets of one account. Every call makes a connection of its own.
#[derive(Clone, Debug)]
pub struct KWallet {
    bus: AccountBus,
    files: KeyringFiles,
}

impl KWallet {
    /// The wallets that daemons on `bus` serve, asked as `account`, each call within `limit`, and
    /// those that `files` holds.
    #[must_use]
    pub fn new(
        bus: Option<SessionBus>,
        account: Account,
        limit: Duration,
        files: KeyringFiles,
    ) -> Self {
        Self { bus: AccountBus { bus, account, limit }, files }
    }

    /// Puts a question to every daemon that runs; none at all is [`KeychainError::Absent`].
    fn each<T: Send + 'static>(
        &self,
        question: impl Fn(&Daemon<'_>) -> Result<T, KeychainError> + Clone + Send + 'static,
    ) -> Result<Vec<T>, KeychainError> {
        let mut answers = Vec::new();
        for (name, path) in DAEMONS {
            let question = question.clone();
            let ask = move |service: &Service| question(&Daemon { service, name, path });
            match self.bus.ask(name, ask) {
                Ok(answer) => answers.push(answer),
                Err(KeychainError::Absent) => {}
                Err(error) => return Err(error),
            }
        }
        if answers.is_empty() { Err(KeychainError::Absent) } else { Ok(answers) }
    }

    /// Whether the settings let a program look into an open wallet without asking a person.
    fn lets_us_look(&self) -> bool {
        let settings = self.files.config(b"kwalletrc", SETTINGS).unwrap_or_default();
        !asks_for_every_program(&String::from_utf8_lossy(&settings))
    }
}

impl Keychains for KWallet {
    fn store(&self) -> KeyringStore {
        KeyringStore::KWallet
    }

    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        let stored = self.files.kwallet();
        let looks = self.lets_us_look();
        let listed = self.each(move |daemon| if looks { daemon.entries() } else { Ok(Vec::new()) });
        let mut items: Vec<KeychainItem> = match listed {
            Err(KeychainError::Absent) if !stored.is_empty() => Vec::new(),
            listed => listed?.into_iter().flatten().collect(),
        };
        let unserved = unserved(stored, &items);
        items.extend(unserved);
        items.sort();
        Ok(items)
    }

    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        if is_from_file(item) {
            let runs = !matches!(self.each(|_| Ok(())), Err(KeychainError::Absent));
            return Err(if runs { KeychainError::Locked } else { KeychainError::Unserved });
        }
        if !self.lets_us_look() {
            return Err(KeychainError::Locked);
        }
        let wanted = item.clone();
        let cleared = self.each(move |daemon| {
            if wanted.address.starts_with(daemon.name) { daemon.remove(&wanted) } else { Ok(()) }
        });
        cleared.map(drop)
    }

    fn lock(&self) -> Result<(), KeychainError> {
        self.each(|daemon| Ok(daemon.call::<_, ()>("closeAllWallets", &())?)).map(drop)
    }
}

/// One running daemon.
struct Daemon<'s> {
    service: &'s Service,
    name: &'static str,
    path: &'static str,
}

impl Daemon<'_> {
    fn call<B, T>(&self, method: &str, arguments: &B) -> Result<T, CallError>
    where
        B: Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        self.service.call(self.path, INTERFACE, method, arguments)
    }

    /// Every entry of every wallet that is open.
    fn entries(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        let mut items = Vec::new();
        for wallet in self.call::<_, Vec<String>>("wallets", &())? {
            let Some(handle) = self.look_into(&wallet)? else { continue };
            for folder in self.call::<_, Vec<String>>("folderList", &(handle, OURS))? {
                let of = (handle, folder.as_str(), OURS);
                for entry in self.call::<_, Vec<String>>("entryList", &of)? {
                    if items.len() == MOST {
                        return Err(failed(format!("it lists more than {MOST} entries")));
                    }
                    items.push(self.item(&wallet, &folder, entry));
                }
            }
            self.leave(handle)?;
        }
        Ok(items)
    }

    fn item(&self, wallet: &str, folder: &str, entry: String) -> KeychainItem {
        KeychainItem {
            store: KeyringStore::KWallet,
            collection: wallet.to_owned(),
            address: format!("{}/{wallet}/{folder}/{entry}", self.name),
            label: entry,
            attributes: BTreeMap::from([(FOLDER.to_owned(), folder.to_owned())]),
            locked: false,
        }
    }

    /// A handle on a wallet that is open already; `None` for one that is not.
    fn look_into(&self, wallet: &str) -> Result<Option<i32>, KeychainError> {
        if !self.call::<_, bool>("isOpen", &(wallet,))? {
            return Ok(None);
        }
        let handle: i32 = self.call("open", &(wallet, NO_WINDOW, OURS))?;
        if handle < 0 { Err(KeychainError::Locked) } else { Ok(Some(handle)) }
    }

    /// Lets go of a wallet, which stays open for whom it was open before.
    fn leave(&self, handle: i32) -> Result<(), KeychainError> {
        let _answer: i32 = self.call("close", &(handle, false, OURS))?;
        Ok(())
    }

    /// Removes one entry, and has the wallet's file written before anything else is done.
    fn remove(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        let folder = item.attributes.get(FOLDER).map(String::as_str).unwrap_or_default();
        let Some(handle) = self.look_into(&item.collection)? else {
            return Err(KeychainError::Locked);
        };
        let of = (handle, folder, item.label.as_str(), OURS);
        if self.call("hasEntry", &of)? {
            let removed: i32 = self.call("removeEntry", &of)?;
            if removed != 0 {
                return Err(failed(format!("it removed nothing ({removed})")));
            }
        }
        self.service.tell(self.path, INTERFACE, "sync", &(handle, OURS))?;
        self.leave(handle)
    }
}

/// Whether `kwalletrc` asks a person about each program that wants to look into an open wallet.
fn asks_for_every_program(settings: &str) -> bool {
    let mut section = "";
    settings.lines().map(str::trim).any(|line| {
        if let Some(inner) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = inner;
        }
        let pair = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        section == "Wallet" && pair == Some(("Prompt on Open", "true"))
    })
}

#[cfg(test)]
mod tests {
    use super::asks_for_every_program;

    #[test]
    fn knows_the_setting_that_asks_about_every_program() {
        assert!(asks_for_every_program("[Wallet]\nEnabled=true\nPrompt on Open=true\n"));
        assert!(!asks_for_every_program("[Wallet]\nPrompt on Open=false\n"));
        assert!(!asks_for_every_program("[Else]\nPrompt on Open=true\n"));
        assert!(!asks_for_every_program(""));
    }
}
