//! One account's session bus, asked as the account: each question on a connection of its own, within
//! a deadline, with an end to how much is read.
//!
//! It refuses to start a service that is not running.

use std::cell::Cell;
use std::io::ErrorKind;
use std::time::Duration;

use exeunt_engine::ports::KeychainError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::blocking::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::zvariant::{DynamicType, Type};

use super::SessionBus;
use crate::bounded::{self, Hangup};
use crate::users::{Account, as_account};

/// One answer longer than this is not looked into: some thousand items' paths are shorter.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// So much is read for one question.
const LONGEST_IN_ALL: usize = 16 * 1024 * 1024;

/// The bus of an account, if it has one.
#[derive(Clone, Debug)]
pub(super) struct AccountBus {
    pub(super) bus: Option<SessionBus>,
    pub(super) account: Account,
    pub(super) limit: Duration,
}

impl AccountBus {
    /// Puts `question` to the service that owns `name`.
    ///
    /// # Errors
    /// [`KeychainError::Absent`] when there is no bus or nobody owns the name,
    /// [`KeychainError::Timeout`], and whatever the question ends with.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        question: impl FnOnce(&Service) -> Result<T, KeychainError> + Send + 'static,
    ) -> Result<T, KeychainError> {
        let asked = self.clone();
        let answer = bounded::run(self.limit, move |hangup| {
            let connection = asked.connect(hangup)?;
            // Calling a name that nobody owns would start a keychain.
            let owner = BusName::try_from(name).map_err(failed)?;
            let owned = DBusProxy::new(&connection).map_err(failed)?.name_has_owner(owner);
            if !owned.map_err(failed)? {
                return Err(KeychainError::Absent);
            }
            question(&Service { connection, name, left: Cell::new(LONGEST_IN_ALL) })
        });
        answer.unwrap_or(Err(KeychainError::Timeout(self.limit)))
    }

    /// Connects as the account: the bus serves nobody else, not even root. Only the connecting
    /// itself is done with the account's ids; afterwards the socket remembers them.
    fn connect(&self, hangup: &Hangup) -> Result<Connection, KeychainError> {
        let Some(bus) = &self.bus else { return Err(KeychainError::Absent) };
        let stream = as_account(self.account.uid, self.account.gid, || bus.connect())
            .map_err(failed)?
            .map_err(|error| {
                let nobody = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
                if nobody.contains(&error.kind()) { KeychainError::Absent } else { failed(error) }
            })?;
        hangup.watch(&stream).map_err(failed)?;
        Builder::async_io_unix_stream(stream)
            .user_id(self.account.uid)
            .method_timeout(self.limit)
            .build()
            .map_err(failed)
    }
}

/// A running service of the bus.
pub(super) struct Service {
    connection: Connection,
    name: &'static str,
    /// How much more is read, in bytes.
    left: Cell<usize>,
}

/// Why a call had no answer that could be read.
pub(super) enum CallError {
    /// The service says that there is no such object. Its words differ by service.
    Gone,
    /// Anything else.
    Failed(KeychainError),
}

impl From<CallError> for KeychainError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Gone => failed("there is no such object"),
            CallError::Failed(error) => error,
        }
    }
}

impl Service {
    /// Calls a method and reads its answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn call<B, T>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &B,
    ) -> Result<T, CallError>
    where
        B: Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        let answer = self
            .connection
            .call_method(Some(self.name), path, Some(interface), method, arguments)
            .map_err(|error| if is_gone(&error) { CallError::Gone } else { unread(error) })?;
        let body = answer.body();
        let left = self.left.get().checked_sub(body.len());
        let (true, Some(left)) = (body.len() <= LONGEST_ANSWER, left) else {
            return Err(unread("it answers with more than is read"));
        };
        self.left.set(left);
        body.deserialize().map_err(unread)
    }
}

impl Service {
    /// Calls a method that has no answer.
    ///
    /// # Errors
    /// [`KeychainError::Failed`] when it could not be sent.
    pub(super) fn tell<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &B,
    ) -> Result<(), KeychainError>
    where
        B: Serialize + DynamicType,
    {
        let mut message = zbus::message::Message::method_call(path, method).map_err(failed)?;
        message = message.with_flags(zbus::message::Flags::NoReplyExpected).map_err(failed)?;
        message = message.destination(self.name).map_err(failed)?;
        let message = message.interface(interface).map_err(failed)?.build(arguments);
        self.connection.send(&message.map_err(failed)?).map_err(failed)
    }
}

fn unread(error: impl std::fmt::Display) -> CallError {
    CallError::Failed(failed(error))
}

fn is_gone(error: &zbus::Error) -> bool {
    let words = error.to_string();
    ["UnknownObject", "NoSuchObject", "UnknownMethod", "No such object", "Object does not exist"]
        .iter()
        .any(|gone| words.contains(gone))
}

pub(super) fn failed(error: impl std::fmt::Display) -> KeychainError {
    KeychainError::Failed(error.to_string())
}
