//! An approver's own key: made here, kept in the keyring or in one file, and never shown.
//!
//! It refuses to replace a key, and a file that others can read.

use std::path::{Path, PathBuf};

use exeunt_ssf::SigningKey;

use super::credentials::{Kept, from_keyring, into_keyring, place, read_private, write_private};
use crate::fault::Fault;

const SERVICE: &str = "exeunt-approver";
/// One key a person.
const ACCOUNT: &str = "key";
const FILE: &str = "approver-key";

/// Makes a key.
pub(crate) fn make(file: Option<&Path>) -> Result<(SigningKey, Kept, Option<PathBuf>), Fault> {
    if find(file)?.is_some() {
        let hint = match file {
            Some(_) => "name another file with --key",
            None => "use it, or name a file for another one with --key",
        };
        return Err(Fault::new("key_exists", "there is an approver's key already").hint(hint));
    }
    let key = SigningKey::generate().map_err(|error| Fault::new("key", error.to_string()))?;
    let seed = key.to_seed_b64();
    if file.is_none() && into_keyring(SERVICE, ACCOUNT, &seed) {
        return Ok((key, Kept::Keyring, None));
    }
    let path = file.map_or_else(|| place(FILE), |file| Ok(file.to_owned()))?;
    write_private(&path, seed.as_bytes())?;
    Ok((key, Kept::File, Some(path)))
}

/// The key to sign with.
pub(crate) fn load(file: Option<&Path>) -> Result<SigningKey, Fault> {
    find(file)?.ok_or_else(|| {
        Fault::new("no_approver_key", "there is no approver's key here").hint(
            "make one with `exeunt admin approver init`, and have an administrator add it; or name \
             its file with --key",
        )
    })
}

fn find(file: Option<&Path>) -> Result<Option<SigningKey>, Fault> {
    let path = file.map_or_else(|| place(FILE), |file| Ok(file.to_owned()))?;
    let seed = match read_private(&path, "make a new key")? {
        Some(seed) => Some(String::from_utf8_lossy(&seed).into_owned()),
        None if file.is_none() => from_keyring(SERVICE, ACCOUNT),
        None => None,
    };
    let read = |seed: String| {
        SigningKey::from_seed_b64(&seed).map_err(|error| Fault::new("key", error.to_string()))
    };
    seed.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/key");
        let (key, kept, at) = make(Some(&path)).unwrap();
        assert_eq!((kept, at.as_deref()), (Kept::File, Some(path.as_path())));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(Some(&path)).unwrap().kid(), key.kid());
        assert_eq!(make(Some(&path)).unwrap_err().code(), "key_exists");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load(Some(&path)).unwrap_err().code(), "unsafe_file");
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private(&path, b"hello").unwrap();
        assert!(load(Some(&path)).is_err() && make(Some(&path)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }
}
