//! From a copy to a data directory that a hub can serve.
//!
//! It refuses a directory that holds anything, and to let a hub forget silently that it was restored.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use exeunt_ssf::Jwks;

use super::Sealed;
use crate::audit::head::{HeadError, HeadFile};
use crate::config::{DataDir, DataError};
use crate::sequencer::now;
use crate::store::sqlite::{self, SqliteStore, SqliteView};
use crate::store::{Anew, Restored, Store as _, StoreError};

/// Nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory holds something.
    #[error("{0} is not empty: restore into a directory that is empty or absent")]
    NotEmpty(PathBuf),
    /// An earlier restore did not come to its end.
    #[error("{0} is left of an interrupted restore: remove it and restore again")]
    Interrupted(PathBuf),
    /// The copy is not to be believed.
    #[error("{path}: {reason}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file or directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The new data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The new record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its end could not be signed.
    #[error(transparent)]
    Head(#[from] HeadError),
}

impl From<rusqlite::Error> for RestoreError {
    fn from(error: rusqlite::Error) -> Self {
        RestoreError::Store(error.into())
    }
}

/// Makes the data directory `data` of the copy `from`, notes in its audit that this happened, and
/// moves its numbers beyond all that the lost hub can have given out. With `keep_sessions` sessions
/// at relying services stay alive; otherwise all of them end, for which of them were revoked after
/// the copy was taken is not known.
///
/// # Errors
/// [`RestoreError`]; then `data` is as it was.
pub fn restore(from: &Path, data: &Path, keep_sessions: bool) -> Result<Anew, RestoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Io { path, source }
    };
    if std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) || data.is_file() {
        return Err(RestoreError::NotEmpty(data.to_owned()));
    }
    let unusable = |reason: String| RestoreError::Unusable { path: from.to_owned(), reason };
    let copy = Sealed::open(from).map_err(|error| unusable(error.to_string()))?;
    let name = data.file_name().ok_or_else(|| RestoreError::NotEmpty(data.to_owned()))?;
    let mut beside = name.to_owned();
    beside.push(".restoring");
    let made = data.with_file_name(beside);
    if made.exists() {
        return Err(RestoreError::Interrupted(made));
    }
    let held = DataDir::hold(&made)?;
    let anew = fill(&held, &copy, from, keep_sessions).inspect_err(|_| discard(&made))?;
    drop(held);
    put(&made, data).inspect_err(|_| discard(&made)).map_err(failed(data))?;
    Ok(anew)
}

fn fill(
    held: &DataDir,
    copy: &Sealed,
    from: &Path,
    keep_sessions: bool,
) -> Result<Anew, RestoreError> {
    let db = held.write_file(sqlite::FILE, &[])?;
    SqliteView::open(from)?.copy_to(&db)?;
    let opened = rusqlite::Connection::open(&db)?;
    opened.execute_batch("DROP TABLE backup; DROP TABLE backup_files;")?;
    drop(opened);
    let mut store = SqliteStore::open(&db)?;
    let restored = Restored { taken: copy.taken, now: now(), keep_sessions };
    let anew = store.begin_anew(&restored)?;
    for (name, bytes) in copy.files()? {
        held.write_file(&name, &bytes)?;
    }
    HeadFile::open(held.path(), &Jwks::of(copy.key.jwk()))?.write(
        &copy.key,
        &store.head(),
        restored.now,
    )?;
    Ok(anew)
}

/// Gives the finished directory its name, durably.
#[expect(clippy::disallowed_methods, reason = "a directory that this very call made")]
fn put(made: &Path, data: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(made)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(made)?.sync_all()?;
    std::fs::rename(made, data)?;
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes away what was begun.
#[expect(clippy::disallowed_methods, reason = "a directory that this very call made")]
fn discard(made: &Path) {
    // The error that led here is what is told.
    let _ = std::fs::remove_dir_all(made);
}
