//! The hub's own certificate: read at start, and again when its files change.
//!
//! It refuses a key that everyone can read, and to replace a good certificate with a broken one.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exeunt_signal::tls::{TrustError, certificates, provider};
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ProducesTickets;
use tokio::sync::{Notify, watch};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where a certificate and its key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate cannot be read.
    #[error("the certificate: {0}")]
    Certificate(#[from] TrustError),
    /// The key cannot be read.
    #[error("the certificate's key {path}: {why}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Everyone on this machine can read the key.
    #[error("everyone can read {0}: take that right away (chmod o= FILE) and replace the key")]
    Exposed(PathBuf),
    /// They do not fit together, or TLS cannot be set up.
    #[error("{cert} and {key} cannot be used together: {why}", cert = .files.cert.display(),
        key = .files.key.display())]
    Mismatch {
        /// Which.
        files: Files,
        /// Why.
        why: rustls::Error,
    },
}

/// The certificate that the hub shows, whichever it is now.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    tickets: Arc<dyn ProducesTickets>,
    shown: watch::Sender<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: Files) -> Result<Self, TlsError> {
        let mismatch = |why| TlsError::Mismatch { files: files.clone(), why };
        // One for as long as the process lives: clients resume across a renewal.
        let tickets = Ticketer::new().map_err(mismatch)?;
        let shown = watch::Sender::new(read(&files, &tickets)?);
        Ok(Self { files, tickets, shown })
    }

    /// Follows what new connections are to be shown.
    #[must_use]
    pub fn shown(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.shown.subscribe()
    }

    /// Reads the files again. When they cannot be used, the certificate that was shown stays.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn renew(&self) -> Result<(), TlsError> {
        self.shown.send_replace(read(&self.files, &self.tickets)?);
        Ok(())
    }

    /// Reads the files again when they changed, or when `reload` is rung, until `stopping`.
    pub async fn keep(self, reload: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
        let mut seen = self.standing();
        loop {
            let asked = tokio::select! {
                () = reload.notified() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let standing = self.standing();
            if !asked && standing == seen {
                continue;
            }
            seen = standing;
            match self.renew() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::error!(%error, "the old certificate stays"),
            }
        }
    }

    /// What a replacement of either file changes.
    fn standing(&self) -> [Option<(u64, u64, i64, i64)>; 2] {
        [&self.files.cert, &self.files.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        })
    }
}

fn read(files: &Files, tickets: &Arc<dyn ProducesTickets>) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.cert)?;
    let key = private_key(&files.key)?;
    let mismatch = |why| TlsError::Mismatch { files: files.clone(), why };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(tickets);
    Ok(Arc::new(config))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |why: String| TlsError::Key { path: path.to_owned(), why };
    let mode = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.mode();
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed(path.to_owned()));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| failed(error.to_string()))
}
