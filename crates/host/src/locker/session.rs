//! Which desktop session an account has, as its processes tell.
//!
//! It refuses to trust one process: the value that most of them share is taken.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use exeunt_engine::ports::Processes;

use crate::process::{KeepList, LinuxProcesses, Pinned};
use crate::users::Account;

const DISPLAY: &str = "DISPLAY";
const XAUTHORITY: &str = "XAUTHORITY";
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

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
}

impl DesktopSession {
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
                environments.push(pinned.env(&[DISPLAY, XAUTHORITY, BUS, RUNTIME_DIR]));
            }
        }
        let text = |key| most_common(&environments, key).and_then(|v| String::from_utf8(v).ok());
        let path = |key| most_common(&environments, key).map(|v| OsString::from_vec(v).into());
        Ok(Self {
            account: account.clone(),
            display: text(DISPLAY),
            xauthority: path(XAUTHORITY),
            bus: text(BUS),
            runtime_dir: path(RUNTIME_DIR),
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
        let texts = [(DISPLAY, &self.display), (BUS, &self.bus)];
        let paths = [(XAUTHORITY, &self.xauthority), (RUNTIME_DIR, &self.runtime_dir)];
        env.extend(texts.into_iter().filter_map(|(key, v)| Some((key, v.clone()?.into()))));
        env.extend(paths.into_iter().filter_map(|(key, v)| Some((key, v.clone()?.into()))));
        env
    }
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
}
