//! The HTTP clients of the rigs.
//!
//! It refuses to wait for ever.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use exeunt_signal::Trust;
use exeunt_signal::tls::client_config;
use reqwest::blocking::Client;

/// A client that gives up after `within`.
///
/// # Errors
/// The system gives none.
pub fn client(within: Duration) -> Result<Client> {
    let tls = client_config(&Trust::Platform)?;
    Ok(Client::builder().timeout(within).tls_backend_preconfigured(tls).build()?)
}

/// The same, which believes the authority in `ca` and no other.
///
/// # Errors
/// The authority cannot be read.
pub fn trusting(within: Duration, ca: &Path) -> Result<Client> {
    let tls = client_config(&Trust::Only(ca.to_owned()))?;
    Ok(Client::builder().timeout(within).tls_backend_preconfigured(tls).build()?)
}

/// The same for many questions at a time.
///
/// # Errors
/// The system gives none.
pub fn parallel(within: Duration) -> Result<reqwest::Client> {
    let tls = client_config(&Trust::Platform)?;
    Ok(reqwest::Client::builder().timeout(within).tls_backend_preconfigured(tls).build()?)
}
