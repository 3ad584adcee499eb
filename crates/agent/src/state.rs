//! The agent's few files: its transport key, which hub it speaks to, and the public key that the
//! warden reads.
//!
//! It refuses to replace a key that it cannot read: the hub knows this device by it.

use std::fs::{DirBuilder, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use exeunt_domain::DeviceId;
use exeunt_ssf::SigningKey;
use serde::{Deserialize, Serialize};

/// Where the public half of the transport key is, in the runtime directory, mode 0644. The warden
/// puts it into the enrolment that it signs. The key proves who carries SETs and nothing else: no
/// order and no receipt is believed because of it.
pub const PUBLIC_KEY_FILE: &str = "agent-key.pub.json";

const KEY_FILE: &str = "agent-key";
const LINK_FILE: &str = "hub.json";

/// Which hub knows this device, and by which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The hub's base URL.
    pub hub: String,
    /// What the hub calls this device.
    pub device: DeviceId,
}

/// The directory that only the agent reads.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// Opens `dir`, and makes it with mode 0700 if it is not there.
    ///
    /// # Errors
    /// When it can be neither made nor used.
    pub fn open(dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .context("making the agent's state directory")?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The transport key; a fresh one when there is none yet.
    ///
    /// # Errors
    /// When it is there and cannot be read, or a fresh one cannot be stored.
    pub fn transport_key(&self) -> Result<SigningKey> {
        let path = self.dir.join(KEY_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => SigningKey::from_seed_b64(&text).with_context(|| {
                format!(
                    "the agent's key {KEY_FILE} is damaged; remove it and enrol this device again"
                )
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = SigningKey::generate()?;
                replace(&path, key.to_seed_b64().as_bytes(), 0o600)
                    .context("storing the agent's key")?;
                tracing::info!(kid = %key.kid(), "made a transport key");
                Ok(key)
            }
            Err(error) => Err(error).context("reading the agent's key"),
        }
    }

    /// The enrolment that was in force when the agent last ran.
    ///
    /// # Errors
    /// When it is there and cannot be read: this device would wait for orders in vain.
    pub fn enrolment(&self) -> Result<Option<Enrolment>> {
        let damaged = || format!("{LINK_FILE} is damaged; remove it and enrol this device again");
        match std::fs::read(self.dir.join(LINK_FILE)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(damaged),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("reading the hub's address"),
        }
    }

    /// Keeps `enrolment` for the next start.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn keep_enrolment(&self, enrolment: &Enrolment) -> Result<()> {
        let text = serde_json::to_vec(enrolment)?;
        replace(&self.dir.join(LINK_FILE), &text, 0o600).context("storing the hub's address")
    }
}

/// Writes the public half of `key` where the warden looks for it.
///
/// # Errors
/// When the runtime directory cannot be written.
pub fn publish_key(runtime_dir: &Path, key: &SigningKey) -> Result<()> {
    let text = serde_json::to_vec(key.jwk())?;
    replace(&runtime_dir.join(PUBLIC_KEY_FILE), &text, 0o644)
        .context("writing the agent's public key into the runtime directory")
}

/// Puts `bytes` at `path` in one step, so that a crash leaves the old file or the new one.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().context("a file has a directory")?;
    let mut file =
        tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // The umask may have taken bits away.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path)?;
    std::fs::File::open(dir)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn keeps_one_key_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let key = state.transport_key().unwrap();
        assert_eq!(state.transport_key().unwrap().kid(), key.kid());
        assert_eq!(mode(&dir.path().join("state")), 0o700);
        assert_eq!(mode(&dir.path().join("state").join(KEY_FILE)), 0o600);
    }

    #[test]
    fn refuses_to_replace_a_damaged_key() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEY_FILE), "torn").unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert!(state.transport_key().is_err());
        assert_eq!(std::fs::read(dir.path().join(KEY_FILE)).unwrap(), b"torn");
    }

    #[test]
    fn publishes_the_public_half_alone_for_everyone_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::generate().unwrap();
        publish_key(dir.path(), &key).unwrap();
        let path = dir.path().join(PUBLIC_KEY_FILE);
        assert_eq!(mode(&path), 0o644);
        let text = std::fs::read_to_string(&path).unwrap();
        let read: exeunt_ssf::PublicJwk = serde_json::from_str(&text).unwrap();
        assert_eq!(read.kid(), key.kid());
        assert!(!text.contains(&key.to_seed_b64()));
    }

    #[test]
    fn remembers_the_hub_and_refuses_a_damaged_address() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.enrolment().unwrap(), None);
        let enrolment = Enrolment {
            hub: "http://127.0.0.1:7443".into(),
            device: DeviceId::parse("occ-07").unwrap(),
        };
        state.keep_enrolment(&enrolment).unwrap();
        assert_eq!(state.enrolment().unwrap(), Some(enrolment));
        std::fs::write(dir.path().join(LINK_FILE), "{").unwrap();
        assert!(state.enrolment().is_err());
    }
}
