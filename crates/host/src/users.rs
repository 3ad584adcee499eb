//! Accounts: who owns a home, and acting as that owner on one thread.
//!
//! It refuses to change the credentials of the whole process, and to give up its own for good.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

/// User ids below are the system's (login.defs(5), `UID_MIN` as distributions set it).
const FIRST_PERSON: u32 = 1000;
/// Whom a file belongs to that belongs to nobody.
const NOBODY: u32 = 65_534;

/// An account of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its user id.
    pub uid: u32,
    /// Its primary group id.
    pub gid: u32,
    /// Its login name.
    pub name: String,
    /// Its home directory.
    pub home: PathBuf,
}

/// Why an account could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Neither `/etc/passwd` nor the name service knows it.
    #[error("no such account")]
    Unknown,
    /// The account database could not be read.
    #[error("account database: {0}")]
    Database(#[from] io::Error),
}

impl Account {
    /// Looks an account up by its user id: `/etc/passwd` first, then the name service (`getent`).
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn of_uid(uid: u32) -> Result<Self, AccountError> {
        lookup(&uid.to_string(), |account| account.uid == uid)
    }

    /// Looks an account up by its login name.
    ///
    /// # Errors
    /// [`AccountError`]; a name of digits only is [`AccountError::Unknown`].
    pub fn of_name(name: &str) -> Result<Self, AccountError> {
        if name.is_empty() || name.starts_with('-') || name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AccountError::Unknown);
        }
        lookup(name, |account| account.name == name)
    }

    /// Every person's account whose home is on this machine: those of `/etc/passwd` from user id 1000
    /// on, and whoever owns a directory in `/home`. Each owns its home. By user id.
    ///
    /// # Errors
    /// [`AccountError::Database`].
    pub fn with_homes() -> Result<Vec<Self>, AccountError> {
        let local = std::fs::read("/etc/passwd")?;
        let mut accounts: Vec<Self> = parse_passwd(&local).collect();
        // A directory service is not asked for everybody that it knows.
        for entry in std::fs::read_dir("/home").into_iter().flatten() {
            let owner = entry?.metadata()?.uid();
            if !accounts.iter().any(|account| account.uid == owner) {
                accounts.extend(Self::of_uid(owner).ok());
            }
        }
        accounts.retain(Self::is_persons);
        accounts.sort_by_key(|account| account.uid);
        accounts.dedup_by_key(|account| account.uid);
        Ok(accounts)
    }

    fn is_persons(&self) -> bool {
        let owns = |meta: std::fs::Metadata| meta.is_dir() && meta.uid() == self.uid;
        let is_own = std::fs::symlink_metadata(&self.home).is_ok_and(owns);
        self.uid >= FIRST_PERSON && self.uid != NOBODY && is_own
    }

    /// Whether this process may act as the account: it is root, or the account itself.
    #[must_use]
    pub fn is_within_reach(&self) -> bool {
        let own = geteuid();
        own.is_root() || own.as_raw() == self.uid
    }
}

/// Runs `work` with the thread's effective user and group ids set to the account's, so that file
/// access and socket credentials are the account's. The real and saved ids stay root's, so the
/// account can neither signal nor trace this process. A no-op when they are the account's already.
///
/// # Errors
/// The system call's error, before `work` has run.
pub fn as_account<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> io::Result<T> {
    let _back = Switched::to(uid, gid)?;
    Ok(work())
}

/// Puts the thread's ids back when dropped, also when the work panicked.
struct Switched {
    back: Option<(Uid, Gid)>,
}

impl Switched {
    fn to(uid: u32, gid: u32) -> io::Result<Self> {
        let own = geteuid();
        if own.as_raw() == uid {
            return Ok(Self { back: None });
        }
        let own_gid = getegid();
        set_thread_res_gid(None, Some(Gid::from_raw(gid)), None)?;
        let switched = Self { back: Some((own, own_gid)) };
        // On failure the drop puts the group back.
        set_thread_res_uid(None, Some(Uid::from_raw(uid)), None)?;
        Ok(switched)
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        let Some((uid, gid)) = self.back else { return };
        let restored = set_thread_res_uid(None, Some(uid), None)
            .and_then(|()| set_thread_res_gid(None, Some(gid), None));
        if let Err(error) = restored {
            // The thread keeps too few rights, never too many: later calls fail and say so.
            tracing::error!(%error, "could not take the thread's own ids back");
        }
    }
}

fn lookup(key: &str, wanted: impl Fn(&Account) -> bool) -> Result<Account, AccountError> {
    let local = std::fs::read("/etc/passwd")?;
    if let Some(account) = parse_passwd(&local).find(&wanted) {
        return Ok(account);
    }
    parse_passwd(&listed(&[key])?).find(&wanted).ok_or(AccountError::Unknown)
}

/// What the name service says of `keys`, or of every account.
fn listed(keys: &[&str]) -> io::Result<Vec<u8>> {
    let mut getent = Command::new("/usr/bin/getent");
    getent.arg("passwd").args(keys).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    Ok(getent.output()?.stdout)
}

/// The accounts of a `passwd(5)` text; lines that are none are left out.
fn parse_passwd(text: &[u8]) -> impl Iterator<Item = Account> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let name = std::str::from_utf8(fields.next()?).ok()?;
        let mut number = |skip: usize| std::str::from_utf8(fields.nth(skip)?).ok()?.parse().ok();
        let (uid, gid) = (number(1)?, number(0)?);
        let home = fields.nth(1)?;
        let known = !name.is_empty() && home.first() == Some(&b'/');
        known.then(|| Account {
            uid,
            gid,
            name: name.to_owned(),
            home: PathBuf::from(OsStr::from_bytes(home)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_passwd_and_leaves_broken_lines_out() {
        let text =
            b"root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1000:1001:A:/home/alice:/bin/sh\n\
            nohome:x:5:5::relative:/bin/sh\nbig:x:99999999999:1::/h:\n";
        let accounts: Vec<_> = parse_passwd(text).collect();
        assert_eq!(accounts.len(), 2);
        assert_eq!((accounts[1].uid, accounts[1].gid), (1000, 1001));
        assert_eq!(accounts[1].home, PathBuf::from("/home/alice"));
    }

    #[test]
    fn finds_root_and_refuses_names_that_are_numbers_or_options() {
        assert_eq!(Account::of_uid(0).unwrap().name, "root");
        assert!(matches!(Account::of_name("0"), Err(AccountError::Unknown)));
        assert!(matches!(Account::of_name("-h"), Err(AccountError::Unknown)));
    }

    #[test]
    fn acts_as_the_account_and_takes_its_own_ids_back_even_after_a_panic() {
        let own = geteuid();
        if !own.is_root() {
            eprintln!("skipped: switching accounts needs root");
            return;
        }
        let inside = as_account(65_534, 65_534, geteuid).unwrap();
        assert_eq!(inside.as_raw(), 65_534);
        assert_eq!(geteuid(), own);
        let panicked = std::panic::catch_unwind(|| as_account(65_534, 65_534, || panic!("inside")));
        assert!(panicked.is_err());
        assert_eq!((geteuid(), getegid().as_raw()), (own, 0));
    }
}
