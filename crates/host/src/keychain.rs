//! The account's keychains, reached over its own session bus.
//!
//! It refuses to unlock, to prompt, to read a secret, and to start a keychain that is not running.

mod bus;
mod files;
mod kernel;
mod kwallet;
mod secret_service;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;

pub use files::KeyringFiles;
pub use kernel::KernelKeyrings;
pub use kwallet::KWallet;
pub use secret_service::SecretService;

/// Where a session bus listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionBus {
    /// A socket in the file system.
    Path(PathBuf),
    /// A socket in the abstract namespace.
    Abstract(Vec<u8>),
}

/// Why a bus address is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus address names no unix socket")]
pub struct BusAddressError;

impl SessionBus {
    /// Takes the first unix socket of a D-Bus address list (D-Bus specification, "Server
    /// Addresses").
    ///
    /// # Errors
    /// [`BusAddressError`] when there is none.
    pub fn parse(addresses: &str) -> Result<Self, BusAddressError> {
        addresses.split(';').find_map(Self::parse_one).ok_or(BusAddressError)
    }

    fn parse_one(address: &str) -> Option<Self> {
        address.strip_prefix("unix:")?.split(',').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = unescape(value)?;
            match key {
                "path" if value.first() == Some(&b'/') => {
                    use std::os::unix::ffi::OsStringExt;
                    Some(Self::Path(PathBuf::from(std::ffi::OsString::from_vec(value))))
                }
                "abstract" if !value.is_empty() => Some(Self::Abstract(value)),
                _ => None,
            }
        })
    }

    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(path) => UnixStream::connect(path),
            Self::Abstract(name) => {
                UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)
            }
        }
    }
}

/// Undoes the `%` escapes of a D-Bus address value.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut bytes = value.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        plain.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_unix_socket_of_an_address_list() {
        let bus = SessionBus::parse("tcp:host=x,port=1;unix:guid=0,path=/run/a%20b").unwrap();
        assert_eq!(bus, SessionBus::Path("/run/a b".into()));
        let bus = SessionBus::parse("unix:abstract=/tmp/dbus-x,guid=1").unwrap();
        assert_eq!(bus, SessionBus::Abstract(b"/tmp/dbus-x".to_vec()));
    }

    #[test]
    fn refuses_addresses_without_a_unix_socket() {
        for bad in ["", "autolaunch:", "unix:path=relative", "unix:path=/a%2", "unixexec:path=/x"] {
            assert_eq!(SessionBus::parse(bad), Err(BusAddressError), "{bad}");
        }
    }
}
