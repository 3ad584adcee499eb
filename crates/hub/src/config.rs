//! Settings, and the data directory: its lock, its keys, its issuer name.
//!
//! It refuses an address that other machines reach without TLS, a directory that another hub
//! serves, and a key that others may read.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeunt_signal::{HubUrl, InvalidHubUrl};
use exeunt_ssf::{KeyError, SigningKey};

use crate::store::Keep;
use crate::store::command::DeviceLimit;
use crate::tls::Files;

/// How long another holder of the data directory is waited for.
const LOCKED_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait between two looks at the lock.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A day in milliseconds.
pub const DAY_MS: u64 = 86_400_000;
/// How long things are remembered unless it is set: browsers keep no cookie for longer.
pub const KEEP_DAYS: u64 = 400;

/// What a hub is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything durable lives.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate to show; obligatory for every address but loopback.
    pub tls: Option<Files>,
    /// A PEM file of authorities that are believed of other parties beside the system's.
    pub ca: Option<PathBuf>,
    /// The base URL that devices are told; the listening address when absent.
    pub public_url: Option<String>,
    /// The issuer name of this hub's SETs. Fixed at first start; the base URL when absent.
    pub issuer: Option<String>,
    /// Hosts in private networks that this hub may call.
    pub stream_hosts: std::collections::BTreeSet<String>,
    /// The identity provider of the operators: a TOML file.
    pub sign_in: Option<PathBuf>,
    /// What events of other parties end: a policy file.
    pub policy: Option<PathBuf>,
    /// Whether providers' commands are taken (a draft).
    pub provider_commands: bool,
    /// Which names are one subject's: a TOML file of rules.
    pub aliases: Option<PathBuf>,
    /// The key that the connectors' file is sealed with; without it no provider is registered.
    pub connectors_key: Option<PathBuf>,
    /// Coverage hashes that receipts may carry; any, when there is none.
    pub expect_coverage: std::collections::BTreeSet<String>,
    /// Figures.
    pub limits: Limits,
}

impl Config {
    /// The usual settings over `data`.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            tls: None,
            ca: None,
            public_url: None,
            issuer: None,
            stream_hosts: std::collections::BTreeSet::new(),
            sign_in: None,
            policy: None,
            provider_commands: false,
            aliases: None,
            connectors_key: None,
            expect_coverage: std::collections::BTreeSet::new(),
            limits: Limits::default(),
        }
    }
}

/// Figures that bound what anyone can ask.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an order is good for; afterwards it is signed again.
    pub order_good_for: Duration,
    /// How long a poll is held open.
    pub poll_hold: Duration,
    /// How many orders an hour a device takes on the hub's word alone; told at enrolment.
    pub orders_per_hour: u32,
    /// How many sign-outs an hour a device may ask for.
    pub requests_per_hour: u64,
    /// How many distinct devices operators' sign-outs may reach within an hour.
    pub devices: DeviceLimit,
    /// How many calls a minute an operator may make.
    pub calls_per_minute: u32,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Longest a client may take over its request head, or over its body.
    pub read_timeout: Duration,
    /// Most connections at a time.
    pub connections: usize,
    /// Most commands in one transaction.
    pub batch: usize,
    /// Most commands that wait for one.
    pub queue: usize,
    /// How often overdue orders are looked for.
    pub housekeeping: Duration,
    /// How often a moved audit head is signed.
    pub head_every: Duration,
    /// Longest that an identity provider is tried for one sign-out.
    pub provider_deadline: Duration,
    /// Longest that an identity provider may take until what it revoked is refused.
    pub provider_settle: Duration,
    /// How long is remembered what guards against a second time.
    pub keep: Keep,
    /// How often everything is looked at for what is of no further use.
    pub prune_every: Duration,
    /// Longest that an identity provider may take to list a person's sessions for a preview.
    pub provider_listing: Duration,
    /// Least time between two verification events of one stream.
    pub verification_every: Duration,
    /// How long after a failed push the next attempt comes; it doubles each time.
    pub push_retry: Duration,
    /// How long another transmitter may hold this hub's poll.
    pub poll_patience: Duration,
    /// How often this hub asks transmitters that it polls for a verification event.
    pub verify_streams_every: Duration,
    /// How long such an event may take until its absence is an alarm.
    pub verified_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            order_good_for: Duration::from_secs(600),
            poll_hold: Duration::from_secs(55),
            orders_per_hour: 6,
            requests_per_hour: 10,
            devices: DeviceLimit { each: 25, in_all: 100 },
            calls_per_minute: 3000,
            body_bytes: 1 << 20,
            read_timeout: Duration::from_secs(10),
            connections: 16_384,
            batch: 512,
            queue: 4096,
            housekeeping: Duration::from_secs(1),
            head_every: Duration::from_secs(1),
            provider_deadline: Duration::from_secs(60),
            provider_settle: Duration::from_secs(10),
            keep: Keep { seen_ms: KEEP_DAYS * DAY_MS, session_ms: KEEP_DAYS * DAY_MS },
            prune_every: Duration::from_secs(3600),
            provider_listing: Duration::from_secs(2),
            verification_every: Duration::from_secs(10),
            push_retry: Duration::from_secs(1),
            poll_patience: Duration::from_secs(75),
            verify_streams_every: Duration::from_secs(6 * 3600),
            verified_within: Duration::from_secs(120),
        }
    }
}

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The address is reachable from other machines.
    #[error(
        "{0} is reached from other machines, and tokens must not cross a network in the clear: \
         give --tls-cert and --tls-key (PEM files), or listen on 127.0.0.1 or [::1]"
    )]
    NoTls(SocketAddr),
    /// Nobody can be told where the hub is.
    #[error(
        "{0} stands for every address of this machine: say with --public-url which name the \
         certificate vouches for, such as https://hub.example:7443"
    )]
    NoName(SocketAddr),
    /// Devices would refuse the base URL that they are told.
    #[error("--public-url: {0}")]
    PublicUrl(#[from] InvalidHubUrl),
    /// Another process holds the directory.
    #[error("another exeunt-hub serves {0}: one process per data directory")]
    Locked(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A secret is readable by others.
    #[error("{path} has mode {mode:o}: others can read it; make it 600 and replace the key")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A stored key cannot be read.
    #[error("{path}: {source}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The issuer is not the one that this directory was started with.
    #[error("this hub's issuer is {stored}, which its devices hold; it cannot become {asked}")]
    OtherIssuer {
        /// What devices hold.
        stored: String,
        /// What was asked for.
        asked: String,
    },
}

/// The data directory, held by this process alone.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is absent, and locks it.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn hold(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Io { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(failed)?;
        match wait_for(&lock) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(DataError::Locked(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// A file within.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hub's signing key, made at first use.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn signing_key(&self) -> Result<SigningKey, DataError> {
        let path = self.file(KEY_FILE);
        match read_secret(&path)? {
            Some(text) => SigningKey::from_seed_b64(&text)
                .map_err(|source| DataError::Key { path: path.clone(), source }),
            None => {
                let key = SigningKey::generate()
                    .map_err(|source| DataError::Key { path: path.clone(), source })?;
                self.write_secret(KEY_FILE, &key.to_seed_b64())?;
                Ok(key)
            }
        }
    }

    /// The issuer name: the stored one, or at first start `asked`, or else `default`.
    ///
    /// # Errors
    /// [`DataError::OtherIssuer`] when `asked` is not the stored one.
    pub fn issuer(&self, asked: Option<&str>, default: &str) -> Result<String, DataError> {
        match read_secret(&self.file("issuer"))? {
            Some(stored) => match asked {
                Some(asked) if asked != stored.trim() => Err(DataError::OtherIssuer {
                    stored: stored.trim().to_owned(),
                    asked: asked.to_owned(),
                }),
                Some(_) | None => Ok(stored.trim().to_owned()),
            },
            None => {
                let issuer = asked.unwrap_or(default);
                self.write_secret("issuer", issuer)?;
                Ok(issuer.to_owned())
            }
        }
    }

    /// Names of files that begin so, in order.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn names_beginning_with(&self, start: &str) -> Result<Vec<String>, DataError> {
        let failed = |source| DataError::Io { path: self.path.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().filter(|name| name.starts_with(start)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A file that only its owner reads; None when it is absent or empty.
    ///
    /// # Errors
    /// [`DataError`]; [`DataError::Exposed`] when others can read it.
    pub fn secret(&self, name: &str) -> Result<Option<String>, DataError> {
        read_secret(&self.file(name))
    }

    /// Replaces a file that only its owner reads, durably: the old text is there until the new one
    /// is.
    ///
    /// # Errors
    /// [`DataError::Io`].
    #[expect(clippy::disallowed_methods, reason = "the hub's own file in its own directory")]
    pub fn replace_secret(&self, name: &str, text: &str) -> Result<PathBuf, DataError> {
        let new = self.write_secret(&format!("{name}.new"), text)?;
        let path = self.file(name);
        let failed = |source| DataError::Io { path: path.clone(), source };
        std::fs::rename(new, &path).map_err(failed)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(path)
    }

    /// Writes a file that only its owner reads, durably.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn write_secret(&self, name: &str, text: &str) -> Result<PathBuf, DataError> {
        self.write_file(name, text.as_bytes())
    }

    /// Writes a file that only its owner reads, durably.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, DataError> {
        let path = self.file(name);
        let failed = |source| DataError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(path)
    }
}

/// The signing key's file name.
pub const KEY_FILE: &str = "hub-key";
/// The lock's file name.
pub const LOCK_FILE: &str = "lock";
/// The bootstrap token's file name.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// Refuses an address that other machines reach without TLS, or under no name.
///
/// # Errors
/// [`DataError::NoTls`], [`DataError::NoName`], [`DataError::PublicUrl`].
pub fn judge_address(config: &Config) -> Result<(), DataError> {
    let listen = config.listen;
    if config.tls.is_none() && !listen.ip().is_loopback() {
        return Err(DataError::NoTls(listen));
    }
    match &config.public_url {
        Some(url) => HubUrl::parse(url).map(drop).map_err(DataError::PublicUrl),
        None if listen.ip().is_unspecified() => Err(DataError::NoName(listen)),
        None => Ok(()),
    }
}

/// A file that only its owner reads; None when it is absent or empty.
///
/// # Errors
/// [`DataError`].
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DataError::Exposed { path: path.to_owned(), mode });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok((!text.is_empty()).then_some(text))
}

/// Takes the lock within two seconds: a hub that is just ending, or a program that it is just
/// starting, holds it for a moment longer, and no event tells when it lets go.
fn wait_for(lock: &File) -> Result<(), std::fs::TryLockError> {
    let until = std::time::Instant::now() + LOCKED_WITHIN;
    loop {
        match lock.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) if std::time::Instant::now() < until => {
                std::thread::sleep(LOOK_AGAIN);
            }
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_other_machines_reach_unless_there_is_tls_and_a_name() {
        let at = |address: &str| Config { listen: address.parse().unwrap(), ..Config::new("x") };
        let files = Files { cert: "cert.pem".into(), key: "key.pem".into() };
        let url = Some("https://hub.example".to_owned());
        for address in ["0.0.0.0:7443", "10.0.0.1:7443", "[::]:7443"] {
            let refused = judge_address(&at(address)).unwrap_err();
            assert!(refused.to_string().contains("--tls-cert"), "{refused}");
            let named = Config { public_url: url.clone(), ..at(address) };
            assert!(judge_address(&Config { tls: Some(files.clone()), ..named }).is_ok());
        }
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7443"] {
            assert!(judge_address(&at(address)).is_ok());
        }
        let nameless = Config { tls: Some(files), ..at("0.0.0.0:7443") };
        assert!(matches!(judge_address(&nameless), Err(DataError::NoName(_))));
        let clear = Config { public_url: Some("http://hub.example".into()), ..at("127.0.0.1:1") };
        assert!(matches!(judge_address(&clear), Err(DataError::PublicUrl(_))));
    }

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::hold(dir.path()).unwrap();
        assert!(matches!(DataDir::hold(dir.path()), Err(DataError::Locked(_))));
        drop(held);
        assert!(DataDir::hold(dir.path()).is_ok());
    }

    #[test]
    fn keeps_its_key_and_refuses_one_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let key = data.signing_key().unwrap();
        assert_eq!(data.signing_key().unwrap().kid(), key.kid());
        std::fs::set_permissions(data.file(KEY_FILE), Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(data.signing_key(), Err(DataError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn the_issuer_is_fixed_at_first_start() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        assert_eq!(data.issuer(None, "http://a").unwrap(), "http://a");
        assert_eq!(data.issuer(None, "http://b").unwrap(), "http://a");
        assert!(matches!(data.issuer(Some("http://b"), ""), Err(DataError::OtherIssuer { .. })));
    }
}
