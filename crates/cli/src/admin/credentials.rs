//! Where an operator's hub and token are kept: the environment, the keyring, or one file that only
//! its owner reads.
//!
//! It refuses a file that others can read, and to wait for a keyring that does not answer.

use std::fs::Permissions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hub::{Hub, HubAddress};
use crate::fault::Fault;

const SERVICE: &str = "exeunt-admin";
/// A keyring that takes longer, perhaps because it prompts, counts as none.
const KEYRING_WITHIN: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    hub: String,
    /// None: it is in the keyring.
    token: Option<String>,
    /// A PEM file of the authorities that may vouch for the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

/// Where a token went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In the user's keyring.
    Keyring,
    /// In a file of mode 0600.
    File,
}

impl Kept {
    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kept::Keyring => "keyring",
            Kept::File => "file",
        }
    }
}

/// The hub and token to use: `EXEUNT_HUB`, `EXEUNT_HUB_CA` and `EXEUNT_ADMIN_TOKEN`, else what
/// `login` stored.
pub(crate) fn load() -> Result<Hub, Fault> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (hub, token) = (env("EXEUNT_HUB"), env("EXEUNT_ADMIN_TOKEN"));
    let ca = env("EXEUNT_HUB_CA").map(PathBuf::from);
    if let (Some(hub), Some(token)) = (&hub, &token) {
        return Hub::new(HubAddress::parse(hub, ca)?, token.trim().to_owned());
    }
    let stored = read(&file()?)?;
    let ca = ca.or_else(|| stored.as_ref().and_then(|stored| stored.ca.clone()));
    let address = match (&hub, &stored) {
        (Some(hub), _) => hub.clone(),
        (None, Some(stored)) => stored.hub.clone(),
        (None, None) => return Err(not_logged_in()),
    };
    let address = HubAddress::parse(&address, ca)?;
    let token = match (token, stored) {
        (Some(token), _) => Some(token),
        // A token is sent to the hub it was stored for, and to no other.
        (None, Some(stored)) if stored.hub == address.as_str() => match stored.token {
            Some(token) => Some(token),
            None => from_keyring(SERVICE, address.as_str()),
        },
        (None, _) => None,
    };
    Hub::new(address, token.ok_or_else(not_logged_in)?.trim().to_owned())
}

/// Stores both, the token in the keyring where there is one.
pub(crate) fn store(address: &HubAddress, token: &str) -> Result<Kept, Fault> {
    let hub = address.as_str().to_owned();
    let kept = if into_keyring(SERVICE, &hub, token) { Kept::Keyring } else { Kept::File };
    let in_file = (kept == Kept::File).then(|| token.to_owned());
    let ca = address.ca().map(Path::to_owned);
    write(&file()?, &Stored { hub, token: in_file, ca })?;
    Ok(kept)
}

fn not_logged_in() -> Fault {
    Fault::new("not_logged_in", "no hub and token are known")
        .hint("run `exeunt admin login --hub URL`, or set EXEUNT_HUB and EXEUNT_ADMIN_TOKEN")
}

fn file() -> Result<PathBuf, Fault> {
    place("admin.json")
}

/// Where a file of this operator's lies.
pub(super) fn place(name: &str) -> Result<PathBuf, Fault> {
    directories::ProjectDirs::from("", "", "exeunt")
        .map(|dirs| dirs.config_dir().join(name))
        .ok_or_else(|| Fault::new("no_home", "no configuration directory: HOME is not set"))
}

fn read(path: &Path) -> Result<Option<Stored>, Fault> {
    let text = read_private(path, "make a new token")?;
    Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
}

/// A file that only its owner reads; None when there is none.
pub(super) fn read_private(path: &Path, instead: &str) -> Result<Option<Vec<u8>>, Fault> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !meta.is_file() || meta.mode() & 0o077 != 0 {
        return Err(Fault::new("unsafe_file", format!("others can read {}", path.display()))
            .hint(format!("chmod 600 {}, and {instead}", path.display())));
    }
    Ok(Some(std::fs::read(path)?))
}

fn write(path: &Path, stored: &Stored) -> Result<(), Fault> {
    write_private(path, &serde_json::to_vec(stored)?)
}

/// Writes a file that only its owner reads.
pub(super) fn write_private(path: &Path, text: &[u8]) -> Result<(), Fault> {
    let path = std::path::absolute(path)?;
    let dir = path.parent().ok_or_else(|| Fault::new("no_home", "no configuration directory"))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(dir)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| Fault::from(error.error))?;
    Ok(())
}

/// Whether the keyring took a secret.
pub(super) fn into_keyring(service: &'static str, account: &str, secret: &str) -> bool {
    let (account, secret) = (account.to_owned(), secret.to_owned());
    in_time(move || {
        keyring::Entry::new(service, &account).and_then(|one| one.set_password(&secret)).is_ok()
    })
    .unwrap_or(false)
}

/// A secret that the keyring holds.
pub(super) fn from_keyring(service: &'static str, account: &str) -> Option<String> {
    let account = account.to_owned();
    in_time(move || keyring::Entry::new(service, &account).and_then(|one| one.get_password()).ok())
        .flatten()
}

/// Runs `work` aside; None when it takes too long.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let has_bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|dir| Path::new(&dir).join("bus").exists());
    if !has_bus {
        return None;
    }
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        // The receiver may have given up.
        let _ = done.send(work());
    });
    finished.recv_timeout(KEYRING_WITHIN).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored { hub: "http://127.0.0.1:1".into(), token: Some("s3cret".into()), ca: None }
    }

    #[test]
    fn keeps_a_token_where_only_its_owner_reads_and_reads_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exeunt/admin.json");
        assert!(read(&path).unwrap().is_none());
        write(&path, &stored()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().unwrap().token, stored().token);
    }

    #[test]
    fn refuses_a_file_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.json");
        write(&path, &stored()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(read(&path).is_err());
    }
}
