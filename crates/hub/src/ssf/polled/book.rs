//! How each polled transmitter is reached, in one file that only the hub's user reads.
//!
//! It refuses the record: no credential of ours at another party is ever written there.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use exeunt_api::PollSettings;
use serde::{Deserialize, Serialize};

use crate::config::{DataDir, DataError};

/// The file's name within the data directory.
const FILE: &str = "polled";

/// A polled transmitter's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamAt {
    /// Its name there.
    pub id: String,
    /// Where it is polled.
    pub endpoint: String,
    /// This hub created it, and deletes it with the registration.
    pub ours: bool,
}

/// How one is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// As an operator gave it.
    pub settings: PollSettings,
    /// Its stream when it was last looked at.
    pub stream: StreamAt,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolledError {
    /// It cannot be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It is no longer what was written.
    #[error("the file of polled transmitters is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// The file, and what it says.
#[derive(Debug)]
pub struct Book {
    entries: RwLock<BTreeMap<String, Entry>>,
}

impl Book {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`PolledError`].
    pub fn open(data: &DataDir) -> Result<Self, PolledError> {
        let text = data.secret(FILE)?;
        let entries = text.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
        Ok(Self { entries: RwLock::new(entries) })
    }

    /// Every polled transmitter's name here.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// How one is reached.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.read().get(name).cloned()
    }

    /// Writes how one is reached, or with None that it is polled no more. Durable when it returns.
    ///
    /// # Errors
    /// [`PolledError`]; then nothing changed.
    pub fn put(&self, data: &DataDir, name: &str, entry: Option<Entry>) -> Result<(), PolledError> {
        // Held while the file is written, so that two changes cannot pass each other.
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = entries.clone();
        match entry {
            Some(entry) => next.insert(name.to_owned(), entry),
            None => next.remove(name),
        };
        data.replace_secret(FILE, &serde_json::to_string(&next)?)?;
        *entries = next;
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn survives_a_restart_in_a_file_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let settings = PollSettings {
            url: "https://tr.example".into(),
            client_secret: Some("s3cret".into()),
            ..PollSettings::default()
        };
        let stream = StreamAt { id: "s".into(), endpoint: "https://x".into(), ours: true };
        let book = Book::open(&data).unwrap();
        book.put(&data, "t", Some(Entry { settings, stream: stream.clone() })).unwrap();
        let again = Book::open(&data).unwrap();
        assert_eq!(again.get("t").unwrap().stream, stream);
        assert_eq!(again.get("t").unwrap().settings.client_secret.as_deref(), Some("s3cret"));
        let mode = std::fs::metadata(data.file(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{again:?}").contains("s3cret"));
        again.put(&data, "t", None).unwrap();
        assert!(Book::open(&data).unwrap().names().is_empty());
    }
}
