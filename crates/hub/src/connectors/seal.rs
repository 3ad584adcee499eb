//! Seals the connectors' file: ChaCha20-Poly1305 (RFC 8439) under a key that lies elsewhere.
//!
//! It refuses a key within the data directory, one that others can read, and a new key in the place
//! of a lost one.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::config::{DataError, read_secret};

/// Bytes of a key.
const KEY_LEN: usize = 32;
/// What is sealed, so that no other file of this key is taken for it.
const WHAT: &[u8] = b"exeunt connectors 1";

/// The file cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Whoever has the directory would have the key.
    #[error(
        "{0} lies within the data directory: keep the connectors' key where a copy of that \
         directory does not take it along, such as /etc/exeunt/connectors-key"
    )]
    Within(PathBuf),
    /// The file is there and its key is not.
    #[error(
        "the connectors' file is sealed, and its key is not at {0}: put the key back; or take the \
         file `connectors` out of the data directory and register each provider anew"
    )]
    Lost(PathBuf),
    /// The file is sealed and no key was named.
    #[error(
        "the connectors' file is sealed: name its key with --connectors-key FILE, or as the systemd \
         credential `exeunt-connectors-key`"
    )]
    NoKey,
    /// The file of an earlier version is in clear and no key was named.
    #[error(
        "the connectors' file holds credentials in clear: name a key with --connectors-key FILE \
         (it is made when it is not there), and the file is sealed at this start"
    )]
    InClear,
    /// The text is no key.
    #[error("{0} is no key: it holds 32 bytes in base64, as `openssl rand -base64 32` prints them")]
    NotAKey(PathBuf),
    /// Another key sealed it, or it was changed.
    #[error("this key does not open the connectors' file, or the file was changed")]
    WrongKey,
    /// A file cannot be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
}

/// How the sealed file looks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    v: u16,
    nonce: String,
    sealed: String,
}

/// A key.
pub struct Sealing(LessSafeKey);

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealing").finish_non_exhaustive()
    }
}

impl Sealing {
    /// Reads the key at `path`; makes one when nothing is there and `sealed` says that nothing was
    /// sealed yet.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn at(path: &Path, data_dir: &Path, sealed: bool) -> Result<Self, SealError> {
        if is_within(path, data_dir) {
            return Err(SealError::Within(path.to_owned()));
        }
        let text = match read_secret(path)? {
            Some(text) => text,
            None if sealed => return Err(SealError::Lost(path.to_owned())),
            None => make(path)?,
        };
        let key = STANDARD.decode(text.trim()).ok().filter(|key| key.len() == KEY_LEN);
        let key = key.and_then(|key| UnboundKey::new(&CHACHA20_POLY1305, &key).ok());
        key.map(|key| Self(LessSafeKey::new(key)))
            .ok_or_else(|| SealError::NotAKey(path.to_owned()))
    }

    /// Seals a text.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn seal(&self, text: &str) -> Result<String, SealError> {
        // 96 random bits for each time that the file is written: RFC 8439 §4 wants them never twice.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let mut bytes = text.as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(unique, Aad::from(WHAT), &mut bytes)
            .map_err(|_| SealError::NoRandomness)?;
        let (nonce, sealed) = (STANDARD.encode(nonce), STANDARD.encode(bytes));
        Ok(serde_json::json!(Sealed { v: 1, nonce, sealed }).to_string())
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    /// [`SealError::WrongKey`].
    pub fn open(&self, text: &str) -> Result<String, SealError> {
        let read = || {
            let Sealed { v: 1, nonce, sealed } = serde_json::from_str(text).ok()? else {
                return None;
            };
            let nonce = Nonce::try_assume_unique_for_key(&STANDARD.decode(nonce).ok()?).ok()?;
            let mut bytes = STANDARD.decode(sealed).ok()?;
            let clear = self.0.open_in_place(nonce, Aad::from(WHAT), &mut bytes).ok()?;
            String::from_utf8(clear.to_vec()).ok()
        };
        read().ok_or(SealError::WrongKey)
    }
}

/// Whether a file's text is sealed; else it is one that an earlier version wrote.
pub(super) fn is_sealed(text: &str) -> bool {
    serde_json::from_str::<Sealed>(text).is_ok()
}

/// Makes a key that only its owner reads, durably.
fn make(path: &Path) -> Result<String, SealError> {
    let mut key = [0; KEY_LEN];
    SystemRandom::new().fill(&mut key).map_err(|_| SealError::NoRandomness)?;
    let text = format!("{}\n", STANDARD.encode(key));
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    // An empty file is no key, and may be one that a crash left.
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    tracing::info!(key = %path.display(), "made the key of the connectors' file: keep a copy of it");
    Ok(text)
}

fn is_within(path: &Path, dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else { return false };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    let itself = path.canonicalize();
    [parent, itself].into_iter().flatten().any(|real| real.starts_with(&dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_that_was_changed() {
        let (dir, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("key");
        let key = Sealing::at(&path, data.path(), false).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (one, two) = (key.seal("s3cret").unwrap(), key.seal("s3cret").unwrap());
        assert!(one != two && !one.contains("s3cret") && is_sealed(&one));
        let again = Sealing::at(&path, data.path(), true).unwrap();
        assert_eq!(again.open(&one).unwrap(), "s3cret");
        let mut changed: Sealed = serde_json::from_str(&one).unwrap();
        changed.nonce = serde_json::from_str::<Sealed>(&two).unwrap().nonce;
        let changed = serde_json::to_string(&changed).unwrap();
        for wrong in [changed.as_str(), "{}", "", &one[1..]] {
            assert!(matches!(again.open(wrong), Err(SealError::WrongKey)), "{wrong}");
        }
        let other = Sealing::at(&dir.path().join("other"), data.path(), false).unwrap();
        assert!(matches!(other.open(&one), Err(SealError::WrongKey)));
    }

    #[test]
    fn refuses_a_key_that_lies_with_the_data_or_that_others_read_or_that_is_lost() {
        let (dir, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let within = Sealing::at(&data.path().join("key"), data.path(), false).unwrap_err();
        assert!(matches!(within, SealError::Within(_)), "{within}");
        let aside = dir.path().join("aside");
        symlink(data.path(), &aside).unwrap();
        let within = Sealing::at(&aside.join("key"), data.path(), false).unwrap_err();
        assert!(matches!(within, SealError::Within(_)), "{within}");
        let lost = Sealing::at(&dir.path().join("key"), data.path(), true).unwrap_err();
        assert!(lost.to_string().contains("put the key back"), "{lost}");
        assert!(!dir.path().join("key").exists(), "none is made in its place");
        let path = dir.path().join("short");
        std::fs::write(&path, "AAAA").unwrap();
        let open = Sealing::at(&path, data.path(), false).unwrap_err();
        assert!(open.to_string().contains("others can read it"), "{open}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let short = Sealing::at(&path, data.path(), false).unwrap_err();
        assert!(short.to_string().contains("openssl rand -base64 32"), "{short}");
    }
}
