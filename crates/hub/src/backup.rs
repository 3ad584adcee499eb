//! A copy of everything durable, in one file, taken while the hub serves; and the way back from it.
//!
//! It refuses to write over anything, and to call a copy good before it was read again.

mod restore;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use exeunt_domain::Timestamp;
use exeunt_ssf::{Jwks, SigningKey};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::audit::{head, judge};
use crate::config::{ADMIN_TOKEN_FILE, DataError, KEY_FILE, LOCK_FILE, read_secret};
use crate::sequencer::now;
use crate::store::sqlite::{self, SqliteView};
use crate::store::{Head, StoreError, View as _};

pub use restore::{RestoreError, restore};

/// The form of the copy.
const VERSION: u32 = 1;
/// Most that one file beside the database may hold.
const MOST: u64 = 64 << 20;

/// A copy could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no hub in that directory.
    #[error("{0} holds no hub: there is no key in it")]
    NoHub(PathBuf),
    /// The target is there already.
    #[error("{0} is there already: name a file that is not")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The record, or the copy, cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hub's key.
    #[error("the hub's key cannot be used: {0}")]
    Key(#[from] exeunt_ssf::KeyError),
    /// The end of the copy could not be signed.
    #[error(transparent)]
    Head(#[from] head::HeadError),
    /// What was written does not verify.
    #[error("the copy does not verify, and was removed: {0}")]
    Unverified(String),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        BackupError::Store(error.into())
    }
}

/// A copy that was taken and read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// When.
    pub taken: Timestamp,
    /// The last row of the audit in it.
    pub head: Head,
    /// How many rows were looked at again.
    pub rows: u64,
}

/// Copies the record of the hub in `data` as it is at one moment, its keys and its other files into
/// the new file `to`, mode 600, and reads the copy again. The hub may be serving.
///
/// # Errors
/// [`BackupError`]; then nothing is left at `to` that was not there before.
pub fn backup(data: &Path, to: &Path) -> Result<Copied, BackupError> {
    let failed = |source| BackupError::Io { path: to.to_owned(), source };
    let seed = read_secret(&data.join(KEY_FILE))?;
    let seed = seed.ok_or_else(|| BackupError::NoHub(data.to_owned()))?;
    let key = SigningKey::from_seed_b64(&seed)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(to) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists(to.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    }
    let copied = copy(data, to, &key).inspect_err(|_| discard(to))?;
    sync(to).map_err(failed)?;
    Ok(copied)
}

fn copy(data: &Path, to: &Path, key: &SigningKey) -> Result<Copied, BackupError> {
    let keys = crate::keys::beside(data)?;
    // The head first: the log may grow after it, never end before it.
    let signed = head::read(data, &keys);
    let taken = now();
    SqliteView::open(&data.join(sqlite::FILE))?.copy_to(to)?;
    let db = Connection::open(to)?;
    db.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;
         CREATE TABLE backup (version INTEGER NOT NULL, taken INTEGER NOT NULL,
           head TEXT NOT NULL) STRICT;
         CREATE TABLE backup_files (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;",
    )?;
    for (name, bytes) in files_beside(data)? {
        db.execute("INSERT INTO backup_files (name, bytes) VALUES (?1, ?2)", (name, bytes))?;
    }
    let at = signed.as_ref().ok().copied().flatten().map_or(0, |head| head.seq);
    let chain = SqliteView::open(to)?.audit_chain(at)?;
    let verdict = judge(&chain, signed);
    if let Some(reason) = verdict.reason {
        return Err(BackupError::Unverified(reason));
    }
    let compact = head::sign(key, &chain.head, taken)?;
    db.execute(
        "INSERT INTO backup (version, taken, head) VALUES (?1, ?2, ?3)",
        params![VERSION, taken.0, compact],
    )?;
    db.close().map_err(|(_, error)| error)?;
    // As a restore would read it.
    let copy = Sealed::open(to).map_err(|error| BackupError::Unverified(error.to_string()))?;
    Ok(Copied { taken, head: copy.head, rows: copy.rows })
}

/// Every file of the data directory beside the database, but for the lock and the first token.
fn files_beside(data: &Path) -> Result<Vec<(String, Vec<u8>)>, BackupError> {
    let failed = |source| BackupError::Io { path: data.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let left_out = name.starts_with(sqlite::FILE)
            || [LOCK_FILE, ADMIN_TOKEN_FILE, head::FILE].contains(&name.as_str())
            || Path::new(&name).extension().is_some_and(|new| new == "new");
        let metadata = entry.metadata().map_err(failed)?;
        if left_out {
            continue;
        }
        if !metadata.is_file() {
            tracing::warn!(name, "this is no file of the hub's, and is not copied");
            continue;
        }
        if metadata.len() > MOST {
            let path = entry.path();
            let source = io::Error::other("larger than any file of a hub");
            return Err(BackupError::Io { path, source });
        }
        found.push((name, std::fs::read(entry.path()).map_err(failed)?));
    }
    Ok(found)
}

/// A copy whose chain and signed end were looked at.
#[derive(Debug)]
struct Sealed {
    db: Connection,
    key: SigningKey,
    taken: Timestamp,
    head: Head,
    rows: u64,
}

/// A file is no copy that can be believed.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("it is no copy of a hub, or its taking was interrupted")]
    Foreign,
    #[error("its form is {0}, and this program knows {VERSION}")]
    Version(u32),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for SealError {
    fn from(error: rusqlite::Error) -> Self {
        SealError::Store(error.into())
    }
}

impl Sealed {
    /// Reads every page and every row of the audit.
    fn open(path: &Path) -> Result<Self, SealError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(path, flags)?;
        let found: Option<(u32, u64, String)> = db
            .query_row("SELECT version, taken, head FROM backup", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(|_| SealError::Foreign)?;
        let (version, taken, compact) = found.ok_or(SealError::Foreign)?;
        if version != VERSION {
            return Err(SealError::Version(version));
        }
        let sound: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(SealError::Damaged(sound));
        }
        let seed: Option<Vec<u8>> = db
            .query_row("SELECT bytes FROM backup_files WHERE name = ?1", [KEY_FILE], |row| {
                row.get(0)
            })
            .optional()?;
        let damaged = |what: &str| SealError::Damaged(what.to_owned());
        let seed = seed.and_then(|bytes| String::from_utf8(bytes).ok());
        let key = seed.and_then(|seed| SigningKey::from_seed_b64(&seed).ok());
        let key = key.ok_or_else(|| damaged("the hub's key is not in it"))?;
        let signed = head::believe(&compact, &Jwks::of(key.jwk()));
        let signed = signed.ok_or_else(|| damaged("its end is not signed by the key in it"))?;
        let chain = SqliteView::open(path)?.audit_chain(signed.seq)?;
        let verdict = judge(&chain, Ok(Some(signed)));
        if let Some(reason) = verdict.reason {
            return Err(SealError::Damaged(reason));
        }
        if chain.head != signed {
            return Err(damaged("it goes on after its signed end"));
        }
        Ok(Self { db, key, taken: Timestamp(taken), head: signed, rows: chain.rows })
    }

    fn files(&self) -> Result<Vec<(String, Vec<u8>)>, rusqlite::Error> {
        let mut find = self.db.prepare("SELECT name, bytes FROM backup_files")?;
        let files = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        files.collect()
    }
}

/// Makes a file and its name durable.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes away what was begun.
#[expect(clippy::disallowed_methods, reason = "a file that this very call made")]
fn discard(path: &Path) {
    // The error that led here is what is told.
    let _ = std::fs::remove_file(path);
}
