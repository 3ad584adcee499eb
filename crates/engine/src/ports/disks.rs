//! What disks keep of files that were unlinked: snapshots, and blocks that they were not told of.
//!
//! It refuses to promise that anything is overwritten: there is no such verb.

/// What keeps old states of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// A btrfs snapshot that nobody below made.
    Btrfs,
    /// Snapper, on whatever it keeps its snapshots.
    Snapper,
    /// Timeshift, as btrfs snapshots or as copies.
    Timeshift,
    /// A snapshot of the logical volume that the home is on.
    Lvm,
    /// A ZFS snapshot.
    Zfs,
    /// The lower layers of an overlay, which unlinking only covers.
    Overlay,
    /// Core dumps that the system keeps of the account's programs.
    CoreDumps,
}

impl Keeper {
    /// Its name, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs snapshot",
            Self::Snapper => "Snapper snapshot",
            Self::Timeshift => "Timeshift snapshot",
            Self::Lvm => "LVM snapshot",
            Self::Zfs => "ZFS snapshot",
            Self::Overlay => "overlay",
            Self::CoreDumps => "core dump",
        }
    }
}

/// One old state in which something of the home may still be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// What keeps it.
    pub keeper: Keeper,
    /// Where, as that names it.
    pub place: String,
}

/// How far the trimming of free space is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Nobody asked for it.
    NotBegun,
    /// The file system tells its disk by itself (mount option `discard`), or cannot at all.
    NotNeeded,
    /// Only root may.
    NotAllowed,
    /// Not at its end.
    Running,
    /// The disk was told of so many bytes that are free.
    Done {
        /// How many, as the kernel counts.
        bytes: u64,
    },
    /// It began and ended with an error.
    Failed {
        /// The system's words.
        why: String,
    },
}

/// Why the old states of a home could not all be found.
#[derive(Debug, thiserror::Error)]
#[error("{keeper}: {why}")]
pub struct DisksError {
    /// Of what sort.
    pub keeper: &'static str,
    /// Why.
    pub why: String,
}

/// The disks that a home is on.
pub trait Disks: Sync {
    /// Every old state of the home's files that is known, sorted and without repeats.
    ///
    /// # Errors
    /// Each sort that could not be looked for, beside what the others gave.
    fn snapshots(&self) -> (Vec<Snapshot>, Vec<DisksError>);

    /// Begins to tell the disk which blocks are free (`FITRIM`), and returns at once. Its probe is
    /// [`Disks::trim`].
    fn begin_trim(&self);

    /// How far that is.
    fn trim(&self) -> Trim;
}
