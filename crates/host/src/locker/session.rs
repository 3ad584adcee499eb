//! Which desktop session an account has, as its processes tell.
//!
//! It refuses to trust one process: the value that most of them share is taken.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use exeunt_engine::ports::Processes;

use super::display;
use crate::process::{KeepList, LinuxProcesses, Pinned};
use crate::users::Account;

const DISPLAY: &str = "DISPLAY";
const XAUTHORITY: &str = "XAUTHORITY";
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
const WAYLAND: &str = "WAYLAND_DISPLAY";
const SESSION_ID: &str = "XDG_SESSION_ID";
/// Every variable that is asked for.
const WANTED: [&str; 6] = [DISPLAY, XAUTHORITY, BUS, RUNTIME_DIR, WAYLAND, SESSION_ID];

/// The desktop session of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesktopSession {
    /// Whose session.
    pub account: Account,
    /// `DISPLAY`, when it has an X server.
    pub display: Option<String>,
    /// `XAUTHORITY`; absent: `.Xauthority` in the home.
    pub xauthority: Option<PathBuf>,
    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub bus: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `WAYLAND_DISPLAY`, when a Wayland compositor draws its screen; an X server that it may have
    /// beside is then only a part of it.
    pub wayland_display: Option<String>,
    /// `XDG_SESSION_ID`, as its processes say.
    pub login: Option<String>,
}

impl DesktopSession {
    /// A session of `account` of which nothing is known yet.
    #[must_use]
    pub fn of(account: Account) -> Self {
        Self {
            account,
            display: None,
            xauthority: None,
            bus: None,
            runtime_dir: None,
            wayland_display: None,
            login: None,
        }
    }

    /// Whether there is a screen to lock.
    #[must_use]
    pub fn has_screen(&self) -> bool {
        self.display.is_some() || self.wayland_display.is_some()
    }

    /// Whether `screen` (`:1`, `wayland-1`) is a screen of it.
    #[must_use]
    pub fn is_on(&self, screen: &str) -> bool {
        [&self.display, &self.wayland_display].into_iter().any(|d| d.as_deref() == Some(screen))
    }

    /// Finds the session of `account` from the environments of its processes.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn discover(account: &Account) -> io::Result<Self> {
        let processes = LinuxProcesses::of_account(account, KeepList::default());
        let listed = processes.list().map_err(io::Error::other)?;
        let mut environments = Vec::new();
        for process in listed.iter().filter(|process| !process.zombie) {
            if let Some(pinned) = Pinned::open(process.id.pid)? {
                environments.push(pinned.env(&WANTED));
            }
        }
        let text = |key| most_common(&environments, key).and_then(|v| String::from_utf8(v).ok());
        let path = |key| most_common(&environments, key).map(|v| OsString::from_vec(v).into());
        Ok(Self {
            account: account.clone(),
            // Another machine's screen, as over ssh, is not this one's to lock.
            display: text(DISPLAY).filter(|display| display::is_local(display)),
            xauthority: path(XAUTHORITY),
            bus: text(BUS),
            runtime_dir: path(RUNTIME_DIR),
            wayland_display: text(WAYLAND).filter(|_| is_wayland(&environments)),
            login: text(SESSION_ID),
        })
    }

    /// The environment that a program of the session is started with, and nothing else.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<&'static str, OsString> {
        let mut env = BTreeMap::from([
            ("HOME", self.account.home.clone().into_os_string()),
            ("LANG", OsString::from("C.UTF-8")),
            ("LOGNAME", OsString::from(&self.account.name)),
            ("PATH", OsString::from("/usr/local/bin:/usr/bin:/bin")),
            ("USER", OsString::from(&self.account.name)),
        ]);
        let texts = [(DISPLAY, &self.display), (BUS, &self.bus), (WAYLAND, &self.wayland_display)];
        let paths = [(XAUTHORITY, &self.xauthority), (RUNTIME_DIR, &self.runtime_dir)];
        env.extend(texts.into_iter().filter_map(|(key, v)| Some((key, v.clone()?.into()))));
        env.extend(paths.into_iter().filter_map(|(key, v)| Some((key, v.clone()?.into()))));
        env
    }
}

/// Whether most of the processes that have a screen have a Wayland one: a compositor in a window of
/// an X session does not make it a Wayland session.
fn is_wayland(environments: &[BTreeMap<String, Vec<u8>>]) -> bool {
    let has = |env: &&BTreeMap<String, Vec<u8>>, key| env.get(key).is_some_and(|v| !v.is_empty());
    let wayland = environments.iter().filter(|env| has(env, WAYLAND)).count();
    let screens = environments.iter().filter(|env| has(env, WAYLAND) || has(env, DISPLAY)).count();
    wayland * 2 > screens
}

/// The value that most environments have for `key`; of two as common, the greater.
fn most_common(environments: &[BTreeMap<String, Vec<u8>>], key: &str) -> Option<Vec<u8>> {
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    for value in environments.iter().filter_map(|env| env.get(key)).filter(|v| !v.is_empty()) {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(_, count)| count).map(|(value, _)| value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_value_that_most_processes_share() {
        let env = |value: &str| BTreeMap::from([(DISPLAY.to_owned(), value.as_bytes().to_vec())]);
        let environments = [env(":1"), env(":0"), env(":1"), env(""), BTreeMap::new()];
        assert_eq!(most_common(&environments, DISPLAY), Some(b":1".to_vec()));
        assert_eq!(most_common(&environments, BUS), None);
    }

    #[test]
    fn a_compositor_in_a_window_makes_no_wayland_session() {
        let env = |keys: &[&str]| {
            keys.iter().map(|key| ((*key).to_owned(), b"x".to_vec())).collect::<BTreeMap<_, _>>()
        };
        let nested = [env(&[DISPLAY]), env(&[DISPLAY]), env(&[DISPLAY, WAYLAND])];
        assert!(!is_wayland(&nested));
        assert!(is_wayland(&[env(&[WAYLAND]), env(&[DISPLAY, WAYLAND]), env(&[DISPLAY])]));
        assert!(!is_wayland(&[]));
    }
}
