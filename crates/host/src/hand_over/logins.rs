//! An account's login sessions as systemd-logind counts them (org.freedesktop.login1(5)).
//!
//! It refuses to take the end of a session for the end of its processes.

use std::time::{Duration, Instant};

use zbus::blocking::Connection;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use crate::locker::bus::{Bus, BusError};

const SERVICE: &str = "org.freedesktop.login1";
const MANAGER: &str = "/org/freedesktop/login1";
const MANAGER_INTERFACE: &str = "org.freedesktop.login1.Manager";
const SESSION_INTERFACE: &str = "org.freedesktop.login1.Session";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A row of `ListSessions`: id, user id, user name, seat, object.
type Row = (String, u32, String, String, OwnedObjectPath);
/// A row of `ListUsers`: user id, user name, object.
type User = (u32, String, OwnedObjectPath);

/// The ids of the account's login sessions; None where there is no logind.
pub(super) fn of(uid: u32) -> Result<Option<Vec<String>>, BusError> {
    let rows = ask(rows)?;
    Ok(rows.map(|rows| rows.into_iter().filter(|row| row.1 == uid).map(|row| row.0).collect()))
}

/// Whether the account has a login session at a seat.
pub(super) fn is_seated(uid: u32) -> bool {
    let seated = |row: &Row| row.1 == uid && !row.3.is_empty();
    ask(rows).ok().flatten().is_some_and(|rows| rows.iter().any(seated))
}

/// Ends every login session of the account, and the services of its own manager. False where there is
/// no logind, and where it knows nobody of that user id.
pub(super) fn terminate(uid: u32) -> Result<bool, BusError> {
    let ended = ask(move |connection| {
        let manager = Some(MANAGER_INTERFACE);
        let call = |method: &str, arguments: &(u32,)| {
            connection.call_method(Some(SERVICE), MANAGER, manager, method, arguments)
        };
        let users: Vec<User> = connection
            .call_method(Some(SERVICE), MANAGER, manager, "ListUsers", &())?
            .body()
            .deserialize()?;
        if !users.iter().any(|user| user.0 == uid) {
            return Ok(false);
        }
        call("TerminateUser", &(uid,))?;
        Ok(true)
    });
    Ok(ended?.unwrap_or(false))
}

/// Where a greeter stands in front, in words.
pub(super) fn greeter() -> Option<String> {
    let found = ask(|connection| {
        for (_, _, _, seat, path) in rows(connection)? {
            if is(connection, &path, "Class", "greeter") && is(connection, &path, "State", "active")
            {
                return Ok(Some(format!("a greeter stands in front of {seat}")));
            }
        }
        Ok(None)
    });
    found.ok().flatten().flatten()
}

/// Waits for a greeter, where a display manager brings one; it may bring none.
pub(super) fn await_greeter(limit: Duration, look_again: Duration) {
    let until = Instant::now() + limit;
    let has_manager = std::path::Path::new("/etc/systemd/system/display-manager.service").exists();
    while has_manager && greeter().is_none() && Instant::now() < until {
        std::thread::sleep(look_again);
    }
}

fn rows(connection: &Connection) -> Result<Vec<Row>, BusError> {
    let manager = Some(MANAGER_INTERFACE);
    let reply = connection.call_method(Some(SERVICE), MANAGER, manager, "ListSessions", &())?;
    Ok(reply.body().deserialize()?)
}

fn is(connection: &Connection, path: &OwnedObjectPath, key: &str, wanted: &str) -> bool {
    let arguments = (SESSION_INTERFACE, key);
    let reply = connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "Get", &arguments);
    let value = reply.ok().and_then(|reply| reply.body().deserialize::<OwnedValue>().ok());
    value.and_then(|value| String::try_from(value).ok()).as_deref() == Some(wanted)
}

/// Asks logind; None where it does not run.
fn ask<T: Send + 'static>(
    question: impl FnOnce(&Connection) -> Result<T, BusError> + Send + 'static,
) -> Result<Option<T>, BusError> {
    match Bus::System.ask(SERVICE, question) {
        Ok(answer) => Ok(Some(answer)),
        Err(BusError::NoBus(_) | BusError::NotRunning(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
