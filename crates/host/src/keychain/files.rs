//! The files that keyrings are kept in, for what they show without their password.
//!
//! It refuses to read a secret, to guess at a password, and to take a file that it cannot read for
//! an empty one.

mod gnome;
mod kwallet;

use std::collections::BTreeMap;
use std::sync::Arc;

use exeunt_catalogue::{Base, KeyringStore};
use exeunt_engine::ports::{Entry, FileKind, Files as _, FilesError, HASHED, KeychainItem, Name};

use crate::files::{Bases, Dir, LinuxFiles};
use crate::users::Account;

/// A keyring file longer than this is not read, and so may hold anything.
const LONGEST: usize = 8 * 1024 * 1024;
/// At most so many items of one file are told apart.
const MOST_ITEMS: usize = 4096;
/// At most so many files are looked at.
const MOST_FILES: usize = 256;
/// What begins the address of an item that is known from a file alone.
const ADDRESS: &str = "file:";

/// The keyring files of one home, read as its owner.
#[derive(Clone, Debug)]
pub struct KeyringFiles(Arc<LinuxFiles>);

/// What one keyring file shows.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    /// The keyring's name, where the file tells it.
    label: Option<String>,
    items: Vec<Shown>,
}

/// One item of a file: attributes, hashed ones under [`HASHED`], and a label where it is in clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    label: String,
    attributes: BTreeMap<String, String>,
}

impl KeyringFiles {
    /// The keyring files in `account`'s home.
    ///
    /// # Errors
    /// As [`LinuxFiles::open`].
    pub fn open(account: &Account) -> Result<Self, FilesError> {
        let files = LinuxFiles::open(&account.home, account, Bases::default(), &[])?;
        Ok(Self(Arc::new(files)))
    }

    /// What the files of gnome-keyring hold, and those of Flatpak apps: locked items.
    pub(super) fn secret_service(&self) -> Vec<KeychainItem> {
        let mut found = Vec::new();
        let below = |dir: &Dir, name: &[u8]| self.enter(dir, name);
        let data = self.0.base(Base::Data).ok().flatten();
        if let Some(dir) = data.and_then(|data| below(&data, b"keyrings")) {
            found.extend(self.of_dir(&dir, None, &GNOME));
            found.extend(
                below(&dir, b"v1").map(|v1| self.of_dir(&v1, None, &GNOME)).into_iter().flatten(),
            );
        }
        let apps = self.0.base(Base::Home).ok().flatten();
        let apps = apps.and_then(|home| below(&below(&home, b".var")?, b"app"));
        for (apps, app) in
            apps.iter().flat_map(|apps| self.list(apps).into_iter().map(move |app| (apps, app)))
        {
            let keyrings = below(apps, app.name.as_bytes())
                .and_then(|app| below(&below(&app, b"data")?, b"keyrings"));
            let name = app.name.to_shown();
            found.extend(keyrings.iter().flat_map(|dir| self.of_dir(dir, Some(&name), &GNOME)));
        }
        found
    }

    /// What the wallet files hold: locked items, by wallet.
    pub(super) fn kwallet(&self) -> Vec<KeychainItem> {
        let data = self.0.base(Base::Data).ok().flatten();
        let dir = data.and_then(|data| self.enter(&data, b"kwalletd"));
        dir.iter().flat_map(|dir| self.of_dir(dir, None, &KWALLET)).collect()
    }

    /// A settings file of the account's, at most `limit` bytes of it.
    pub(super) fn config(&self, name: &[u8], limit: usize) -> Option<Vec<u8>> {
        let dir = self.0.base(Base::Config).ok()??;
        self.0.read(&dir, &Name::new(name)?, limit).ok()
    }

    fn enter(&self, dir: &Dir, name: &[u8]) -> Option<Dir> {
        self.0.enter(dir, &Name::new(name)?).ok()
    }

    fn list(&self, dir: &Dir) -> Vec<Entry> {
        self.0.list(dir).unwrap_or_default()
    }

    /// The items of every file in `dir` that is of this format.
    fn of_dir(&self, dir: &Dir, label: Option<&str>, format: &Format) -> Vec<KeychainItem> {
        let mut entries = self.list(dir);
        entries.retain(|entry| {
            entry.name.as_bytes().ends_with(format.ending)
                && entry.size > 0
                && entry.kind != FileKind::Dir
        });
        entries.truncate(MOST_FILES);
        entries.iter().flat_map(|entry| self.of_file(dir, entry, label, format)).collect()
    }

    fn of_file(
        &self,
        dir: &Dir,
        entry: &Entry,
        label: Option<&str>,
        format: &Format,
    ) -> Vec<KeychainItem> {
        let read = usize::try_from(entry.size).ok().filter(|size| *size <= LONGEST);
        let bytes = read.and_then(|_| self.0.read(dir, &entry.name, LONGEST).ok());
        // What cannot be read may hold anything: one item that shows nothing.
        let unread = || Content { label: None, items: vec![Shown::default()] };
        let content = bytes.and_then(|bytes| (format.read)(&bytes)).unwrap_or_else(unread);
        let name = entry.name.to_shown();
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let collection = label.map(str::to_owned).or(content.label);
        let collection = collection.unwrap_or_else(|| stem.to_owned());
        let steps: Vec<String> = self.0.place(dir).iter().map(Name::to_shown).collect();
        let place = format!("{ADDRESS}{}/{name}", steps.join("/"));
        let item = |(number, shown): (usize, Shown)| KeychainItem {
            store: format.store,
            collection: collection.clone(),
            address: format!("{place}#{number}"),
            label: shown.label,
            attributes: shown.attributes,
            locked: true,
        };
        content.items.into_iter().enumerate().map(item).collect()
    }
}

/// Whether an item is known from a file alone.
pub(super) fn is_from_file(item: &KeychainItem) -> bool {
    item.address.starts_with(ADDRESS)
}

/// The items of those files whose keyring lists fewer than the file holds: it is still loading, or
/// locked, or nothing loads it.
pub(super) fn unserved(stored: Vec<KeychainItem>, listed: &[KeychainItem]) -> Vec<KeychainItem> {
    let count = |items: &[KeychainItem]| {
        items.iter().fold(BTreeMap::<String, usize>::new(), |mut counts, item| {
            *counts.entry(item.collection.clone()).or_default() += 1;
            counts
        })
    };
    let (held, shown) = (count(&stored), count(listed));
    let of = |counts: &BTreeMap<String, usize>, collection: &String| {
        counts.get(collection).copied().unwrap_or_default()
    };
    let fewer = |item: &KeychainItem| of(&shown, &item.collection) < of(&held, &item.collection);
    stored.into_iter().filter(fewer).collect()
}

/// How one kind of keyring file is found and read.
struct Format {
    store: KeyringStore,
    ending: &'static [u8],
    /// `None` for what is not of the format.
    read: fn(&[u8]) -> Option<Content>,
}

const GNOME: Format =
    Format { store: KeyringStore::SecretService, ending: b".keyring", read: gnome::read };
const KWALLET: Format =
    Format { store: KeyringStore::KWallet, ending: b".kwl", read: kwallet::read };

/// Bytes that are taken from the front, numbers with the most significant byte first.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// How many of something follow, each at least `size` bytes long.
    fn count(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= MOST_ITEMS && count.checked_mul(size)? <= self.0.len()).then_some(count)
    }
}

/// An attribute's name where only its hash is known.
fn hashed(name: &str) -> String {
    format!("{HASHED}{name}")
}
