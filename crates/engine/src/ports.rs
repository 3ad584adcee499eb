//! What the engine asks of an operating system: files, processes, keychains, a locker, a clock.
//!
//! It refuses a verb without its probe, and a path: places are handles and single names.

use std::time::Duration;

use exeunt_catalogue::{Base, Edit};
use exeunt_domain::{Instant, Timestamp};

mod agents;
mod disks;
mod hand_over;
mod keychains;
mod processes;
mod watch;

pub use agents::{AgentError, Agents, Listener, LiveAgent};
pub use disks::{Disks, DisksError, Keeper, Snapshot, Trim};
pub use hand_over::{HandOver, HandOverError, Left};
pub use keychains::{HASHED, KeychainError, KeychainItem, Keychains};
pub use processes::{Group, Groups, Holder, Process, ProcessError, ProcessId, Processes, Service};
pub use watch::{Bell, Coverage, Heard, Spot, Watcher};

/// One name in a directory: bytes, never empty, never `.` or `..`, never holding `/` or NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Takes one directory entry's name; `None` for a name that no entry can have.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bad = bytes.is_empty()
            || bytes == b"."
            || bytes == b".."
            || bytes.iter().any(|b| matches!(b, b'/' | 0));
        (!bad).then(|| Self(bytes.into()))
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For people: UTF-8 as it is, every other byte escaped.
    #[must_use]
    pub fn to_shown(&self) -> String {
        self.0.utf8_chunks().fold(String::new(), |mut out, chunk| {
            out.extend(chunk.valid().chars().flat_map(|c| {
                let control = c.is_control();
                control
                    .then(|| c.escape_default())
                    .into_iter()
                    .flatten()
                    .chain((!control).then_some(c))
            }));
            for byte in chunk.invalid() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
            out
        })
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_shown())
    }
}

/// Which file an entry is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The device number of its file system.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
}

/// What kind of file an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link; never followed.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

/// What `statx` says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its directory.
    pub name: Name,
    /// Which file it is.
    pub identity: Identity,
    /// What kind of file.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// How many names the file has.
    pub links: u64,
    /// Its owner.
    pub owner: u32,
    /// The immutable or append-only flag is set.
    pub immutable: bool,
    /// Another file system, or a bind mount, begins here.
    pub mount_point: bool,
}

/// Why a file operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The entry is not there.
    #[error("not there")]
    NotFound,
    /// The entry is another file than the one that was surveyed.
    #[error("another file took its place")]
    IdentityChanged,
    /// A symbolic link, or a step out of the home, stood in the way.
    #[error("leads out of the home")]
    OutOfBounds,
    /// The destination lies on another mount (`EXDEV`).
    #[error("on another mount")]
    OtherMount,
    /// Files were unlinked whose other names keep what they hold: nobody but their owner, who is
    /// not the home's, may empty them.
    #[error("{} files keep other names", files.len())]
    LinkedElsewhere {
        /// Which files.
        files: Vec<Identity>,
        /// Whether everything else went.
        complete: bool,
    },
    /// The operating system refused, for example an immutable file.
    #[error("{op}: {source}")]
    Os {
        /// The operation, as a system-call name.
        op: &'static str,
        /// Its error.
        #[source]
        source: std::io::Error,
    },
}

/// The home that is being contained, by handles. Every operation stays beneath it.
pub trait Files: Sync {
    /// An open directory.
    type Dir: Clone + Send + Sync;
    /// A fresh private directory that quarantined entries are moved into.
    type Quarantine: Send + Sync;

    /// Opens a base directory of the home; `None` when it does not exist.
    ///
    /// # Errors
    /// [`FilesError::OutOfBounds`] when a component is a symbolic link.
    fn base(&self, base: Base) -> Result<Option<Self::Dir>, FilesError>;

    /// Opens a directory by an absolute path that a live process named; `Ok(None)` when it lies
    /// outside the home or does not exist there.
    ///
    /// # Errors
    /// As [`Files::base`].
    fn beneath_home(&self, absolute: &[u8]) -> Result<Option<Self::Dir>, FilesError>;

    /// Where `dir` is, relative to the home, as components.
    fn place(&self, dir: &Self::Dir) -> Vec<Name>;

    /// Opens the subdirectory `name`, never through a symbolic link.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] when it is missing or no directory.
    fn enter(&self, dir: &Self::Dir, name: &Name) -> Result<Self::Dir, FilesError>;

    /// Lists a directory. Entries that vanish while listing are left out.
    ///
    /// # Errors
    /// [`FilesError::Os`].
    fn list(&self, dir: &Self::Dir) -> Result<Vec<Entry>, FilesError>;

    /// Looks at one entry without following it; `None` when it is not there.
    ///
    /// # Errors
    /// [`FilesError::Os`].
    fn look(&self, dir: &Self::Dir, name: &Name) -> Result<Option<Entry>, FilesError>;

    /// Reads at most `limit` bytes of a regular file.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] when it is no regular file.
    fn read(&self, dir: &Self::Dir, name: &Name, limit: usize) -> Result<Vec<u8>, FilesError>;

    /// Every regular file and directory at or under an entry, for finding who holds it open.
    /// Stops at other mounts and after `limit` files.
    ///
    /// # Errors
    /// [`FilesError::Os`].
    fn identities(
        &self,
        dir: &Self::Dir,
        entry: &Entry,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError>;

    /// Makes a fresh 0700 directory on the mount of `near`, for one order.
    ///
    /// # Errors
    /// [`FilesError::Os`] when there is no room or no permission; the engine then unlinks in place.
    fn open_quarantine(
        &self,
        near: &Self::Dir,
        order: &str,
    ) -> Result<Self::Quarantine, FilesError>;

    /// Moves `entry` into the quarantine as `as_name`. Its probe is [`Files::look`].
    ///
    /// # Errors
    /// [`FilesError::IdentityChanged`] when another file stands there (it is put back),
    /// [`FilesError::OtherMount`] when a rename cannot reach.
    fn quarantine(
        &self,
        dir: &Self::Dir,
        entry: &Entry,
        into: &Self::Quarantine,
        as_name: &Name,
    ) -> Result<(), FilesError>;

    /// Whether the quarantine still holds an entry of that name.
    ///
    /// # Errors
    /// [`FilesError::Os`].
    fn in_quarantine(&self, quarantine: &Self::Quarantine, name: &Name)
    -> Result<bool, FilesError>;

    /// As [`Files::identities`], of what the quarantine holds under a name.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] when nothing is there by that name.
    fn quarantined(
        &self,
        quarantine: &Self::Quarantine,
        name: &Name,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError>;

    /// Unlinks everything in the quarantine, and then the quarantine. Returns how many files went.
    ///
    /// # Errors
    /// The first [`FilesError`]; the rest was tried all the same.
    fn empty_quarantine(&self, quarantine: &Self::Quarantine) -> Result<u64, FilesError>;

    /// Unlinks `entry` in place, with everything beneath it when it is a directory, never crossing
    /// a mount. A file with other names whose owner owns the home is truncated first.
    /// Its probe is [`Files::look`].
    ///
    /// # Errors
    /// The first [`FilesError`]; the rest was tried all the same.
    fn erase(&self, dir: &Self::Dir, entry: &Entry) -> Result<u64, FilesError>;

    /// Cuts what `edit` names out of a file and keeps the rest, replacing the file atomically.
    /// Its probe is [`Files::count_matches`].
    ///
    /// # Errors
    /// [`FilesError::Os`], with the file as it was.
    fn edit(&self, dir: &Self::Dir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError>;

    /// How many rows, keys or lines of the file `edit` would cut out, with what an interrupted edit
    /// left beside it.
    ///
    /// # Errors
    /// [`FilesError::Os`] when the file cannot be read or is not of its format.
    fn count_matches(&self, dir: &Self::Dir, entry: &Entry, edit: &Edit)
    -> Result<u64, FilesError>;

    /// How many files and directories had an immutable or append-only flag taken from them so far,
    /// because it stood in the way. An adapter that cannot take one answers 0.
    fn freed(&self) -> u64 {
        0
    }
}

/// What the lock's probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// A living locker holds the screen and the keyboard.
    Locked {
        /// What was looked at.
        how: String,
    },
    /// It is not, or it could not be proved.
    NotProved {
        /// What was missing.
        why: String,
    },
    /// No session was named: there is no screen to lock.
    NoSession,
}

/// The screen lock of the contained session.
pub trait Locker: Sync {
    /// Asks for the lock and returns at once. Its probe is [`Locker::is_locked`].
    ///
    /// # Errors
    /// [`LockError`] when no locker could be started.
    fn lock(&self) -> Result<(), LockError>;

    /// Looks whether the screen is locked, touching nothing.
    fn is_locked(&self) -> LockState;

    /// Waits until the screen is locked or `deadline` has passed, and says what it last saw.
    fn wait_locked(&self, deadline: Duration) -> LockState;

    /// Whether policy ends a session whose lock cannot be proved.
    fn ends_sessions(&self) -> bool {
        false
    }

    /// Ends the session and waits until that is proved or `deadline` has passed. "Locked" means here
    /// that nothing of the session is left.
    fn end_session(&self, _deadline: Duration) -> LockState {
        LockState::NoSession
    }
}

/// Why no lock could be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// No locker that is installed fits the session.
    #[error("no locker fits this session; install {0}")]
    NoLocker(&'static str),
    /// Starting it failed.
    #[error("starting {locker}: {source}")]
    Start {
        /// Which locker.
        locker: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Time, handed in.
pub trait Clock: Sync {
    /// The wall clock, for display.
    fn now(&self) -> Timestamp;
    /// `CLOCK_BOOTTIME`, for measuring and deadlines.
    fn instant(&self) -> Instant;
}

/// The write-ahead journal of one order.
pub trait Journal: Sync {
    /// Makes `record` durable (fsync) before it returns.
    ///
    /// # Errors
    /// [`JournalError`]: containment goes on, and the receipt says so.
    fn record(&self, record: &JournalRecord) -> Result<(), JournalError>;
}

/// What the journal remembers, so that a crash resumes and nothing is done twice.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum JournalRecord {
    /// A demand was accepted.
    Accepted {
        /// What is demanded.
        demand: exeunt_domain::order::Demand,
        /// When, by the wall clock.
        at: Timestamp,
    },
    /// Every surveyed store is out of reach.
    Fenced {
        /// Milliseconds after the demand was accepted.
        at_ms: f64,
    },
    /// The receipt exists; its compact form.
    Closed {
        /// The compact SET.
        receipt: String,
    },
}

/// The journal could not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(#[from] pub std::io::Error);

/// Everything the engine asks of a machine, in one value.
pub struct Host<'a, F: Files> {
    /// The home's files.
    pub files: &'a F,
    /// The account's processes.
    pub processes: &'a dyn Processes,
    /// The account's keyrings, each asked and failing on its own; none when no session was named.
    pub keychains: Vec<&'a dyn Keychains>,
    /// The account's agents; `None` when they are nobody's business here.
    pub agents: Option<&'a dyn Agents>,
    /// The disks that the home is on; `None` when nobody asks what they keep.
    pub disks: Option<&'a dyn Disks>,
    /// Opt-in keyring rules that were asked for, as `app/rule`.
    pub include: &'a [String],
    /// The session's lock.
    pub locker: &'a dyn Locker,
    /// Leaving the machine to the next person; `None` where that cannot be done from here.
    pub hand_over: Option<&'a dyn HandOver>,
    /// Whether the account cannot reach into a quarantine: true for root's, false in user mode.
    pub isolated: bool,
    /// Time.
    pub clock: &'a dyn Clock,
    /// The order's journal.
    pub journal: &'a dyn Journal,
    /// Told of every step as it begins and ends: screens tick by it, and fault tests stop at it.
    pub observe: &'a (dyn Fn(&Moment) + Sync),
}

/// One moment of a containment, as it happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// A step begins.
    Begins(&'static str),
    /// A step ended.
    Ended(exeunt_domain::StepReport),
    /// The order came so far.
    Reached(exeunt_domain::Outcome),
}
