//! TLS towards a hub and other parties: whose certificates are believed.
//!
//! It refuses to leave a certificate unchecked: there is no switch for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this system knows.
    #[default]
    Platform,
    /// The authorities in this PEM file, and no others.
    Only(PathBuf),
    /// The authorities that this system knows, and those in this PEM file.
    Also(PathBuf),
}

impl Trust {
    /// The authorities in `ca` and no others, if one is named; otherwise the system's.
    #[must_use]
    pub fn of(ca: Option<PathBuf>) -> Self {
        ca.map_or(Self::Platform, Self::Only)
    }
}

/// The file of authorities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read, or is no PEM file.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It holds nothing that can be trusted.
    #[error("{0} holds no certificate of an authority in PEM form")]
    NoAuthority(PathBuf),
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// The cryptography of every TLS connection of this project.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A client's side of TLS 1.3 and 1.2.
///
/// # Errors
/// [`TrustError`]. A system without authorities is none: then no certificate is believed.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let failed = |error: rustls::Error| TrustError::Tls(error.to_string());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let extra = match trust {
        Trust::Only(path) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(certificates(path)?);
            if added == 0 {
                return Err(TrustError::NoAuthority(path.clone()));
            }
            return Ok(config.with_root_certificates(roots).with_no_client_auth());
        }
        Trust::Also(path) => certificates(path)?,
        Trust::Platform => Vec::new(),
    };
    let verifier = match Verifier::new_with_extra_roots(extra, provider()) {
        Ok(verifier) => verifier,
        Err(error) => {
            tracing::warn!(%error, "this system names no authorities: no certificate is believed");
            let none = RootCertStore::empty();
            return Ok(config.with_root_certificates(none).with_no_client_auth());
        }
    };
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(config.with_no_client_auth())
}

/// The certificates of a PEM file, in order.
///
/// # Errors
/// [`TrustError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unreadable = |error: rustls::pki_types::pem::Error| TrustError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(TrustError::NoAuthority(path.to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "hello\n").unwrap();
        let trust = Trust::Only(path.clone());
        assert_eq!(client_config(&trust).unwrap_err(), TrustError::NoAuthority(path));
        let missing = Trust::Also(dir.path().join("missing.pem"));
        assert!(client_config(&missing).unwrap_err().to_string().contains("missing.pem"));
    }
}
