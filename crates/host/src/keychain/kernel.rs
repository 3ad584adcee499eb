//! The kernel's keyrings (keyrings(7)): the user keyring, the persistent one, and the session
//! keyrings that the account's processes have.
//!
//! It refuses to read what a key holds, and to make a keyring that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use exeunt_catalogue::KeyringStore;
use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};

use crate::users::{Account, as_account};

/// How deep keyrings are looked for in keyrings.
const DEPTH: usize = 4;
/// At most so many keys are looked at.
const MOST: usize = 4096;

/// The kernel's keyrings of one account.
#[derive(Clone, Debug)]
pub struct KernelKeyrings {
    account: Account,
}

/// A key's number.
type Serial = i32;

impl KernelKeyrings {
    /// The keyrings of `account`; None for a throwaway home of an account that has another one,
    /// since they are the other's.
    #[must_use]
    pub fn of(account: &Account) -> Option<Self> {
        let whole = crate::agents::owns_home(account);
        whole.then(|| Self { account: account.clone() })
    }

    /// Runs `work` as the account on a thread of its own, which has the persistent keyring, when
    /// there is one, linked to its thread keyring: possessed, as its rights ask for, and let go of
    /// with the thread.
    fn within<T: Send>(
        &self,
        work: impl FnOnce(Vec<Root>) -> io::Result<T> + Send,
    ) -> Result<T, KeychainError> {
        let account = &self.account;
        let looking = || {
            let listed = as_account(account.uid, account.gid, || Root::listed(account.uid))??;
            if listed.iter().any(|root| root.name == format!("_persistent.{}", account.uid)) {
                keyctl::possess_persistent(account.uid)?;
            }
            as_account(account.uid, account.gid, || work(listed))?
        };
        let done = std::thread::scope(|scope| scope.spawn(looking).join());
        let panicked = || Err(io::Error::other("looking at the kernel's keyrings panicked"));
        done.unwrap_or_else(|_| panicked()).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSYS) => KeychainError::Absent,
            _ => KeychainError::Failed(error.to_string()),
        })
    }
}

impl Keychains for KernelKeyrings {
    fn store(&self) -> KeyringStore {
        KeyringStore::Kernel
    }

    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        self.within(|roots| {
            let mut items = Vec::new();
            let mut seen = BTreeSet::new();
            for root in &roots {
                gather(&root.name, root.serial, DEPTH, &mut seen, &mut items);
            }
            // One of these that is linked in another is no key of an app's.
            let is_root = |item: &KeychainItem| {
                let key = item.address.rsplit('/').next().and_then(|key| key.parse().ok());
                roots.iter().any(|root| Some(root.serial) == key)
            };
            items.retain(|item| !is_root(item));
            items.sort();
            Ok(items)
        })
    }

    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        let numbers = item.address.split_once('/').and_then(|(keyring, key)| {
            Some((keyring.parse::<Serial>().ok()?, key.parse::<Serial>().ok()?))
        });
        let Some((keyring, key)) = numbers else {
            return Err(KeychainError::Failed("no key has that address".to_owned()));
        };
        self.within(|_| {
            // Numbers are used again: another key in its place is not meant.
            let Some(now) = described(key)? else { return Ok(()) };
            if now.description != item.label {
                return Err(io::Error::other("another key took its place"));
            }
            match keyctl::unlink(key, keyring) {
                Err(error) if is_gone(&error) => Ok(()),
                done => done,
            }
        })
    }
}

/// A keyring that the account's keys are found from.
struct Root {
    serial: Serial,
    name: String,
}

impl Root {
    /// Those that `/proc/keys` shows to the account: its user keyring, its persistent keyring, and
    /// session keyrings.
    fn listed(uid: u32) -> io::Result<Vec<Self>> {
        let text = match std::fs::read("/proc/keys") {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut roots: Vec<Self> = text.lines().filter_map(|line| Self::parse(line, uid)).collect();
        // A key in several keyrings is shown below the one that it can be taken from.
        roots.sort_by_key(|root| (root.name.starts_with("_ses"), root.serial));
        Ok(roots)
    }

    /// One line of `/proc/keys`: number, flags, usage, expiry, rights, uid, gid, type, description.
    fn parse(line: &str, uid: u32) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let serial = u32::from_str_radix(fields.next()?, 16).ok()?.cast_signed();
        let owner: u32 = fields.nth(4)?.parse().ok()?;
        let kind = fields.nth(1)?;
        let name = fields.next()?.trim_end_matches(':').to_owned();
        let own = [format!("_uid.{uid}"), format!("_persistent.{uid}")].contains(&name);
        let session = name == "_ses" || name.starts_with("_ses.");
        (kind == "keyring" && owner == uid && (own || session)).then_some(Self { serial, name })
    }
}

/// What a key shows without its payload.
struct Described {
    kind: String,
    description: String,
}

/// The account's view of a key; None when there is none, or none that it may see.
fn described(key: Serial) -> io::Result<Option<Described>> {
    match keyctl::describe(key) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            // Type, uid, gid, rights; the description may hold semicolons itself.
            let mut fields = text.trim_end_matches('\0').splitn(5, ';');
            let kind = fields.next().unwrap_or_default().to_owned();
            let description = fields.nth(3).unwrap_or_default().to_owned();
            Ok(Some(Described { kind, description }))
        }
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds every key of `keyring`, and of the keyrings in it. One that may not be read adds nothing.
fn gather(
    collection: &str,
    keyring: Serial,
    depth: usize,
    seen: &mut BTreeSet<Serial>,
    items: &mut Vec<KeychainItem>,
) {
    if !seen.insert(keyring) || seen.len() > MOST {
        return;
    }
    for key in keyctl::read(keyring).unwrap_or_default() {
        let Ok(Some(Described { kind, description })) = described(key) else { continue };
        if items.len() >= MOST {
            return;
        }
        if kind == "keyring" && depth > 0 {
            let below = format!("{collection}/{description}");
            gather(&below, key, depth - 1, seen, items);
        }
        items.push(KeychainItem {
            store: KeyringStore::Kernel,
            collection: collection.to_owned(),
            address: format!("{keyring}/{key}"),
            label: description,
            attributes: BTreeMap::from([("type".to_owned(), kind)]),
            locked: false,
        });
    }
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [libc::ENOKEY, libc::ENOENT, libc::EKEYREVOKED, libc::EKEYEXPIRED];
    error.raw_os_error().is_some_and(|code| gone.contains(&code))
}

/// keyctl(2). No safe crate asks for the persistent keyring of another user id.
mod keyctl {
    use std::io;

    use super::Serial;

    /// The calls that are made, by their numbers in `linux/keyctl.h`.
    const DESCRIBE: libc::c_int = 6;
    const UNLINK: libc::c_int = 9;
    const READ: libc::c_int = 11;
    const GET_PERSISTENT: libc::c_int = 22;
    /// `KEY_SPEC_THREAD_KEYRING`.
    const THREAD_KEYRING: Serial = -1;
    /// A keyring or description longer than this is read in part.
    const LONGEST: usize = 64 * 1024;

    /// Links the persistent keyring of `uid` to this thread's keyring.
    pub(super) fn possess_persistent(uid: u32) -> io::Result<()> {
        call(GET_PERSISTENT, libc::c_ulong::from(uid), of(THREAD_KEYRING), &mut []).map(drop)
    }

    /// Type, owner, rights and description.
    pub(super) fn describe(key: Serial) -> io::Result<Vec<u8>> {
        let mut text = vec![0; LONGEST];
        let length = fill(DESCRIBE, key, &mut text)?;
        text.truncate(length);
        Ok(text)
    }

    /// The keys that a keyring holds.
    pub(super) fn read(keyring: Serial) -> io::Result<Vec<Serial>> {
        let mut bytes = vec![0; LONGEST];
        let length = fill(READ, keyring, &mut bytes)?;
        bytes.truncate(length);
        Ok(bytes.as_chunks().0.iter().map(|key| Serial::from_ne_bytes(*key)).collect())
    }

    /// Takes a key out of a keyring.
    pub(super) fn unlink(key: Serial, keyring: Serial) -> io::Result<()> {
        call(UNLINK, of(key), of(keyring), &mut []).map(drop)
    }

    fn fill(operation: libc::c_int, key: Serial, buffer: &mut [u8]) -> io::Result<usize> {
        let length = call(operation, of(key), 0, buffer)?;
        Ok(usize::try_from(length).unwrap_or_default().min(buffer.len()))
    }

    /// A key's number as an argument: sign-extended, as the kernel takes it.
    fn of(key: Serial) -> libc::c_ulong {
        libc::c_long::from(key).cast_unsigned()
    }

    /// Makes the call. A buffer that is given stands in place of the second argument, its length in
    /// place of the third.
    fn call(
        operation: libc::c_int,
        first: libc::c_ulong,
        second: libc::c_ulong,
        buffer: &mut [u8],
    ) -> io::Result<libc::c_long> {
        let zero: libc::c_ulong = 0;
        #[expect(unsafe_code, reason = "the C library has no function for keyctl(2)")]
        let answer = if buffer.is_empty() {
            // SAFETY: the operations called so take numbers only; nothing of ours is written to.
            unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second, zero, zero) }
        } else {
            let (start, length) = (buffer.as_mut_ptr(), buffer.len());
            // SAFETY: the kernel writes at most `length` bytes from `start`, which is the exclusively
            // borrowed buffer, and keeps no pointer to it.
            unsafe { libc::syscall(libc::SYS_keyctl, operation, first, start, length, zero) }
        };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_accounts_keyrings_in_proc_keys_and_no_others() {
        let text = "\
2c084d3f I--Q---     2 perm 1f3f0000  1000 65534 keyring   _uid.1000: empty
ac084d3f I--Q---     2 2d   1f3f0000  1000 65534 keyring   _persistent.1000: 1
0c084d3f I--Q---     2 perm 1f3f0000  1000 65534 keyring   _uid.100: 1
1c084d3f I--Q---     2 perm 1f3f0000  1001 65534 keyring   _uid.1001: 1
38370f60 I--Q---     1 perm 3f030000  1000  1000 keyring   _ses: 1
38370f61 I--Q---     1 perm 3f030000  1000  1000 user      _uid.1000: 6
broken";
        let names: Vec<_> =
            text.lines().filter_map(|line| Root::parse(line, 1000)).map(|root| root.name).collect();
        assert_eq!(names, ["_uid.1000", "_persistent.1000", "_ses"]);
    }
}
