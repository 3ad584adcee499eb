//! Login sessions as systemd-logind knows them (org.freedesktop.login1(5)): asking one to lock, and
//! ending one.
//!
//! It refuses to take `LockedHint` for a lock, and a session that is not on the screen it was given.

use std::collections::HashMap;

use zbus::blocking::Connection;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::DesktopSession;
use super::bus::{Bus, BusError};

const SERVICE: &str = "org.freedesktop.login1";
const MANAGER: &str = "/org/freedesktop/login1";
const MANAGER_INTERFACE: &str = "org.freedesktop.login1.Manager";
const SESSION_INTERFACE: &str = "org.freedesktop.login1.Session";
const SEAT_INTERFACE: &str = "org.freedesktop.login1.Seat";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A row of `ListSessions`: id, user id, user name, seat, object.
type Row = (String, u32, String, String, OwnedObjectPath);
type Properties = HashMap<String, OwnedValue>;

/// A graphical login session.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Its id, such as `1`.
    pub(crate) id: String,
    /// The unit whose control group holds its processes.
    pub(crate) scope: String,
    /// Its seat has another session in front.
    in_background: bool,
    path: OwnedObjectPath,
    seat: Option<OwnedObjectPath>,
}

/// The login session behind a desktop session; `None` when logind knows of none, or does not run.
pub(crate) fn find(session: &DesktopSession) -> Result<Option<Login>, BusError> {
    let wanted = session.clone();
    let found = Bus::System.ask(SERVICE, move |connection| {
        for row in rows(connection)? {
            let Some(login) = describe(connection, &wanted, row)? else { continue };
            return Ok(Some(login));
        }
        Ok(None)
    });
    match found {
        Err(BusError::NoBus(_) | BusError::NotRunning(_)) => Ok(None),
        other => other,
    }
}

/// Whether logind still has the session.
pub(crate) fn is_there(login: &Login) -> Result<bool, BusError> {
    let id = login.id.clone();
    Bus::System.ask(SERVICE, move |connection| Ok(rows(connection)?.iter().any(|row| row.0 == id)))
}

/// Asks whoever listens in the session to lock it. Nobody may: this is no lock.
pub(crate) fn lock(login: &Login) -> Result<(), BusError> {
    let path = login.path.clone();
    Bus::System.ask(SERVICE, move |connection| {
        connection.call_method(Some(SERVICE), path, Some(SESSION_INTERFACE), "Lock", &())?;
        Ok(())
    })
}

/// Ends the session and everything in it.
pub(crate) fn terminate(login: &Login) -> Result<(), BusError> {
    let id = login.id.clone();
    Bus::System.ask(SERVICE, move |connection| {
        let manager = Some(MANAGER_INTERFACE);
        connection.call_method(Some(SERVICE), MANAGER, manager, "TerminateSession", &(id,))?;
        Ok(())
    })
}

/// Whether a greeter stands in front of the session on its seat: light-locker locks like that.
pub(crate) fn is_behind_greeter(login: &Login) -> Result<bool, BusError> {
    let Some(seat) = login.seat.clone().filter(|_| login.in_background) else { return Ok(false) };
    Bus::System.ask(SERVICE, move |connection| {
        let seat = all(connection, &seat, SEAT_INTERFACE)?;
        let front = seat.get("ActiveSession").and_then(|value| {
            let (_, path): (String, OwnedObjectPath) = value.try_clone().ok()?.try_into().ok()?;
            Some(path)
        });
        let Some(front) = front.filter(|path| path.as_str() != "/") else { return Ok(false) };
        let front = all(connection, &front, SESSION_INTERFACE)?;
        Ok(text(&front, "Class").as_deref() == Some("greeter"))
    })
}

fn rows(connection: &Connection) -> Result<Vec<Row>, BusError> {
    let manager = Some(MANAGER_INTERFACE);
    let reply = connection.call_method(Some(SERVICE), MANAGER, manager, "ListSessions", &())?;
    Ok(reply.body().deserialize()?)
}

/// A row in full when it is the session on the wanted screen; one that vanished meanwhile is not.
fn describe(
    connection: &Connection,
    wanted: &DesktopSession,
    (id, uid, _, _, path): Row,
) -> Result<Option<Login>, BusError> {
    if uid != wanted.account.uid {
        return Ok(None);
    }
    let Ok(facts) = all(connection, &path, SESSION_INTERFACE) else { return Ok(None) };
    if !is_on_screen(wanted, &id, &|key| text(&facts, key)) {
        return Ok(None);
    }
    let active = facts.get("Active").and_then(|value| bool::try_from(value).ok());
    let seat = facts.get("Seat").and_then(|value| {
        let (_, path): (String, OwnedObjectPath) = value.try_clone().ok()?.try_into().ok()?;
        (path.as_str() != "/").then_some(path)
    });
    let scope = text(&facts, "Scope").unwrap_or_else(|| format!("session-{id}.scope"));
    Ok(Some(Login { id, scope, in_background: active == Some(false), path, seat }))
}

/// Whether a session is a person's, alive, and shows the wanted screen. Its display tells; where a
/// compositor has none, the id that its processes carry.
fn is_on_screen(wanted: &DesktopSession, id: &str, fact: &dyn Fn(&str) -> Option<String>) -> bool {
    let is = |key, value: &str| fact(key).as_deref() == Some(value);
    if !is("Class", "user") || is("State", "closing") {
        return false;
    }
    if wanted.wayland_display.is_some() {
        return is("Type", "wayland") && wanted.login.as_deref() == Some(id);
    }
    let display = fact("Display").filter(|display| !display.is_empty());
    is("Type", "x11") && display.is_some() && display == wanted.display
}

fn all(
    connection: &Connection,
    path: &OwnedObjectPath,
    interface: &str,
) -> Result<Properties, BusError> {
    let reply =
        connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "GetAll", &(interface,))?;
    Ok(reply.body().deserialize()?)
}

fn text(properties: &Properties, key: &str) -> Option<String> {
    properties.get(key).and_then(|value| String::try_from(value.try_clone().ok()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Account;

    fn session(display: Option<&str>, wayland: Option<&str>) -> DesktopSession {
        let account =
            Account { uid: 1000, gid: 1000, name: "alice".into(), home: "/home/alice".into() };
        DesktopSession {
            display: display.map(str::to_owned),
            wayland_display: wayland.map(str::to_owned),
            login: Some("3".into()),
            ..DesktopSession::of(account)
        }
    }

    fn facts(kind: &str, class: &str, state: &str, display: &str) -> HashMap<String, String> {
        [("Type", kind), ("Class", class), ("State", state), ("Display", display)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn takes_the_session_of_the_screen_and_no_other_of_the_account() {
        let on = |session: &DesktopSession, id: &str, facts: &HashMap<String, String>| {
            is_on_screen(session, id, &|key| facts.get(key).cloned())
        };
        let mine = facts("x11", "user", "active", ":0");
        assert!(on(&session(Some(":0"), None), "3", &mine));
        // A throwaway display under the account of whoever runs a test.
        assert!(!on(&session(Some(":77"), None), "3", &mine));
        assert!(!on(&session(None, None), "3", &mine));
        assert!(!on(&session(Some(":0"), None), "3", &facts("x11", "greeter", "active", ":0")));
        assert!(!on(&session(Some(":0"), None), "3", &facts("x11", "user", "closing", ":0")));
        let wayland = facts("wayland", "user", "active", "");
        assert!(on(&session(Some(":0"), Some("wayland-0")), "3", &wayland));
        assert!(!on(&session(Some(":0"), Some("wayland-0")), "4", &wayland));
    }
}
