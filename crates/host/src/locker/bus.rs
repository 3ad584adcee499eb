//! Questions over a message bus, each on a connection of its own and with a deadline.
//!
//! It refuses to start a service by asking for it, and to wait for one that does not answer.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::geteuid;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::blocking::fdo::DBusProxy;
use zbus::names::BusName;

use crate::bounded::{self, Hangup};
use crate::keychain::SessionBus;
use crate::users::{Account, as_account};

/// Where the system bus listens (D-Bus specification, "Well-known Message Bus Instances").
const SYSTEM: &str = "/run/dbus/system_bus_socket";
/// How long one question may take.
const LIMIT: Duration = Duration::from_millis(1500);

/// Why a bus did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    /// There is no such bus.
    #[error("there is no bus: {0}")]
    NoBus(#[from] io::Error),
    /// Nobody owns the service's name.
    #[error("{0} is not running")]
    NotRunning(&'static str),
    /// The service answered with an error, or the bus did.
    #[error("{0}")]
    Failed(#[from] zbus::Error),
    /// It did not answer in time.
    #[error("no answer within {LIMIT:?}")]
    Timeout,
}

/// A message bus.
#[derive(Clone, Debug)]
pub(crate) enum Bus {
    /// The machine's.
    System,
    /// An account's own, asked as that account: it serves nobody else.
    Session(SessionBus, Account),
}

impl Bus {
    /// Asks `service`, which must be running.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        service: &'static str,
        question: impl FnOnce(&Connection) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, BusError> {
        let bus = self.clone();
        let answer = bounded::run(LIMIT, move |hangup| {
            let connection = bus.connect(hangup)?;
            let name = BusName::try_from(service).map_err(zbus::Error::from)?;
            let owned = DBusProxy::new(&connection)?.name_has_owner(name);
            if !owned.map_err(zbus::Error::from)? {
                return Err(BusError::NotRunning(service));
            }
            question(&connection)
        });
        answer.unwrap_or(Err(BusError::Timeout))
    }

    /// The pid behind a name, as the bus learned it from the kernel.
    pub(crate) fn pid_of(connection: &Connection, service: &'static str) -> Result<u32, BusError> {
        let name = BusName::try_from(service).map_err(zbus::Error::from)?;
        let pid = DBusProxy::new(connection)?.get_connection_unix_process_id(name);
        Ok(pid.map_err(zbus::Error::from)?)
    }

    fn connect(&self, hangup: &Hangup) -> Result<Connection, BusError> {
        let (stream, uid) = match self {
            Self::System => (UnixStream::connect(SYSTEM)?, geteuid().as_raw()),
            Self::Session(bus, account) => {
                (as_account(account.uid, account.gid, || bus.connect())??, account.uid)
            }
        };
        hangup.watch(&stream)?;
        let builder = Builder::async_io_unix_stream(stream).user_id(uid).method_timeout(LIMIT);
        Ok(builder.build()?)
    }
}
