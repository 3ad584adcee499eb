//! A disk under SQLite that notes what reached it, and that fails or forgets when it is told to.
//!
//! It refuses to be kind: what was not synced is there after a power cut only if the test says so.

mod vfs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The files of one directory, as a disk saw them.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    journal: Vec<(String, Op)>,
    fault: Option<Fault>,
    forgetful: bool,
}

/// What was done to a file.
#[derive(Clone, Debug)]
enum Op {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate(u64),
    Sync,
    /// A sync that failed: what waited for it is never written by a later one.
    FailedSync,
    Delete,
}

/// What fails until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every write: the medium.
    Write,
    /// Every write: no space.
    Space,
    /// Every sync.
    Sync,
}

/// What becomes of a write that no sync followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never was.
    Lost,
    /// It was written all the same.
    Kept,
    /// Only its first sectors were.
    Torn,
}

const SECTOR: usize = 512;

impl Disk {
    /// What lies in `dir` is taken as safely there. Notes from now on what SQLite does in `dir`, in this process.
    pub(crate) fn watch(dir: &Path) -> Arc<Self> {
        let dir = dir.canonicalize().unwrap();
        let mut journal = Vec::new();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            journal.push((name.clone(), Op::Write { at: 0, bytes }));
            journal.push((name, Op::Sync));
        }
        let state = Mutex::new(State { journal, ..State::default() });
        let disk = Arc::new(Self { dir, state });
        vfs::watch(&disk);
        disk
    }

    /// What a process that is killed leaves: everything that it wrote can be read, whether it is safe
    /// or not. `dir` is to hold it, and is noted from there on.
    pub(crate) fn after_kill(&self, dir: &Path) -> Arc<Self> {
        let state = self.state();
        let files: BTreeSet<&String> = state.journal.iter().map(|(name, _)| name).collect();
        for name in files {
            // One that was deleted is not there.
            let _ = std::fs::copy(self.dir.join(name), dir.join(name));
        }
        let state = State { journal: state.journal.clone(), ..State::default() };
        let dir = dir.canonicalize().unwrap();
        let disk = Arc::new(Self { dir, state: Mutex::new(state) });
        vfs::watch(&disk);
        disk
    }

    /// Syncs succeed from now on, and do nothing.
    pub(crate) fn forget_syncs(&self) {
        self.state().forgetful = true;
    }

    /// From now on `fault` happens; None mends the disk.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// How many things were done so far.
    pub(crate) fn len(&self) -> usize {
        self.state().journal.len()
    }

    /// Places in the journal just before and just after each sync.
    pub(crate) fn sync_boundaries(&self) -> Vec<usize> {
        let state = self.state();
        let syncs = state.journal.iter().enumerate().filter(|(_, (_, op))| matches!(op, Op::Sync));
        let mut places: Vec<_> = syncs.flat_map(|(at, _)| [at, at + 1]).collect();
        places.dedup();
        places
    }

    /// Writes into `dir` what is left when the power goes at `place` of the journal.
    pub(crate) fn after_power_cut(&self, place: usize, mut fate: impl FnMut() -> Fate, dir: &Path) {
        let mut files: BTreeMap<String, Image> = BTreeMap::new();
        for (name, op) in &self.state().journal[..place] {
            match op {
                Op::Delete => drop(files.remove(name)),
                Op::Sync => files.entry(name.clone()).or_default().sync(),
                Op::FailedSync => files.entry(name.clone()).or_default().waiting.clear(),
                Op::Write { .. } | Op::Truncate(_) => {
                    files.entry(name.clone()).or_default().waiting.push(op.clone());
                }
            }
        }
        for (name, image) in files {
            std::fs::write(dir.join(name), image.settle(&mut fate)).unwrap();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which a file of this directory is noted.
    fn name_of(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.dir).ok()?;
        Some(name.to_str()?.to_owned())
    }

    fn note(&self, name: &str, op: Op) {
        self.state().journal.push((name.to_owned(), op));
    }

    /// Whether a write fails now, and how.
    fn fault_of_write(&self) -> Option<Fault> {
        self.state().fault.filter(|fault| *fault != Fault::Sync)
    }

    /// Whether a sync fails now; if so, what waits for it is lost for good.
    fn fault_of_sync(&self, name: &str) -> bool {
        let failing = self.state().fault == Some(Fault::Sync);
        if failing {
            self.note(name, Op::FailedSync);
        } else if !self.state().forgetful {
            self.note(name, Op::Sync);
        }
        failing
    }
}

/// One file: what is on the medium, and what waits for a sync.
#[derive(Default)]
struct Image {
    medium: Vec<u8>,
    waiting: Vec<Op>,
}

impl Image {
    fn sync(&mut self) {
        for op in std::mem::take(&mut self.waiting) {
            self.put(&op, Fate::Kept);
        }
    }

    fn settle(mut self, fate: &mut impl FnMut() -> Fate) -> Vec<u8> {
        for op in std::mem::take(&mut self.waiting) {
            self.put(&op, fate());
        }
        self.medium
    }

    fn put(&mut self, op: &Op, fate: Fate) {
        match op {
            Op::Write { at, bytes } => {
                let whole = bytes.len();
                let kept = match fate {
                    Fate::Lost => return,
                    Fate::Kept => whole,
                    Fate::Torn => whole.div_ceil(2 * SECTOR) * SECTOR,
                };
                let (at, kept) = (usize::try_from(*at).unwrap(), kept.min(whole));
                if self.medium.len() < at + kept {
                    self.medium.resize(at + kept, 0);
                }
                self.medium[at..at + kept].copy_from_slice(&bytes[..kept]);
            }
            Op::Truncate(size) if fate == Fate::Kept => {
                self.medium.resize(usize::try_from(*size).unwrap(), 0);
            }
            Op::Truncate(_) | Op::Sync | Op::FailedSync | Op::Delete => {}
        }
    }
}
