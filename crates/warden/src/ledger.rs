//! The warden's memory: the sum of its events, each durable before it counts.
//!
//! It refuses to answer from anything that the journal does not hold, except when the journal
//! itself fails: then containment goes on, and every receipt says so.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use exeunt_domain::Jti;
use exeunt_host::journal::{FileJournal, ReplayEnd};
use exeunt_ipc::message::UplinkSet;
use exeunt_ssf::SigningKey;

use crate::event::{Event, State, read_key};

/// Room taken for the journal when it is made, in bytes: orders fit even when the disk is full.
const RESERVED: u64 = 4 << 20;
/// The journal is rewritten at start once it holds so many events.
const REWRITE_OVER: usize = 512;

/// Memory, its journal, and a bell that rings at every change.
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// The key that never leaves this process.
    pub(crate) key: SigningKey,
}

struct Inner {
    state: State,
    journal: FileJournal<Event>,
    failed: Option<String>,
}

impl Ledger {
    /// Opens or makes the memory in `dir`.
    ///
    /// # Errors
    /// A directory that cannot be used, or a damaged journal: it is named, and left as it is.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        make_private_dir(dir)?;
        let key = device_key(&dir.join("device.key"))?;
        let path = dir.join("journal");
        let (mut journal, replay) = FileJournal::<Event>::open(&path, RESERVED)
            .with_context(|| format!("opening the journal {}", path.display()))?;
        if let ReplayEnd::Corrupt { at } = replay.end {
            anyhow::bail!(
                "the journal {} is damaged at byte {at}; nothing was changed. Keep a copy, move it \
                 away, and enroll this device again",
                path.display()
            );
        }
        let mut state = State::default();
        replay.records.iter().for_each(|event| state.apply(event));
        if replay.records.len() > REWRITE_OVER {
            let snapshot = Event::Snapshot { state: Box::new(state.clone()) };
            journal = FileJournal::rewrite(&path, RESERVED, &[snapshot])?;
        }
        let inner = Inner { state, journal, failed: None };
        Ok(Self { inner: Mutex::new(inner), changed: Condvar::new(), key })
    }

    /// Makes events durable together, then counts them. When the journal fails they count all the
    /// same, and the failure is kept for every later receipt.
    pub(crate) fn record(&self, events: &[Event]) {
        let mut inner = self.lock();
        if let Err(error) = inner.journal.record_all(events) {
            tracing::error!(%error, "the journal failed");
            inner.failed = Some(error.to_string());
        }
        for event in events {
            inner.state.apply(event);
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Decides and records in one step: `decide` sees the state and returns the events and its
    /// answer, and no other change comes between.
    ///
    /// # Errors
    /// The journal's failure; nothing has changed then.
    pub(crate) fn decide<T>(
        &self,
        decide: impl FnOnce(&State) -> (Vec<Event>, T),
    ) -> anyhow::Result<T> {
        let mut inner = self.lock();
        let (events, answer) = decide(&inner.state);
        if !events.is_empty() {
            inner.journal.record_all(&events)?;
        }
        for event in &events {
            inner.state.apply(event);
        }
        drop(inner);
        self.changed.notify_all();
        Ok(answer)
    }

    /// Adds a SET for the hub that need not survive a restart.
    pub(crate) fn queue_unjournalled(&self, uplink: UplinkSet) {
        self.lock().state.apply(&Event::Queued { uplink });
        self.changed.notify_all();
    }

    /// Notes what became of SETs: journalled only for those that were, without waiting for the disk
    /// otherwise.
    pub(crate) fn settle(&self, events: Vec<Event>) {
        self.record(&events);
    }

    /// Takes such a SET back.
    pub(crate) fn settle_unjournalled(&self, jti: &Jti) {
        let settled = Event::Settled { jti: jti.clone(), refused: None };
        self.lock().state.apply(&settled);
        self.changed.notify_all();
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Waits until `look` finds something, or `limit` has passed.
    pub(crate) fn wait_for<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + limit;
        let mut inner = self.lock();
        loop {
            if let Some(found) = look(&inner.state) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            inner =
                self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Corrects what was read at the start by what is kept elsewhere.
    pub(crate) fn correct(&self, correct: impl FnOnce(&mut State)) {
        correct(&mut self.lock().state);
    }

    /// Waits for the next change, at most so long.
    pub(crate) fn wait_for_change(&self, limit: Duration) {
        let inner = self.lock();
        drop(self.changed.wait_timeout(inner, limit));
    }

    /// What to say in receipts of the journal, if it failed.
    pub(crate) fn failure(&self) -> Option<String> {
        let failed = self.lock().failed.clone();
        failed.map(|why| format!("the journal failed, so a crash would not have resumed: {why}"))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_private_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("making {}", dir.display()))?;
    let meta = std::fs::symlink_metadata(dir)?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() || meta.uid() != own || meta.mode() & 0o022 != 0 {
        anyhow::bail!("{} must be a directory of this user that no other can write", dir.display());
    }
    Ok(())
}

/// Reads the device key, or makes one, readable by its owner only.
fn device_key(path: &PathBuf) -> anyhow::Result<SigningKey> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    match std::fs::read_to_string(path) {
        Ok(text) => read_key(&text).with_context(|| format!("reading {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKey::generate()?;
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("making {}", path.display()))?;
            file.write_all(key.to_seed_b64().as_bytes())?;
            file.sync_all()?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::{Jti, Timestamp, Txn};
    use std::os::unix::fs::FileExt as _;

    fn seen(jti: &str) -> Event {
        Event::Seen { jti: Jti::parse(jti).unwrap(), hub_time: Timestamp(1) }
    }

    #[test]
    fn remembers_across_a_restart_with_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Ledger::open(&state).unwrap();
        first.record(&[seen("j1"), Event::Committed { txn: Txn::parse("t").unwrap() }]);
        let kid = first.key.kid().clone();
        drop(first);
        let again = Ledger::open(&state).unwrap();
        assert_eq!(*again.key.kid(), kid);
        assert!(again.read(|state| state.is_committed(&Txn::parse("t").unwrap())));
    }

    #[test]
    fn a_rewritten_journal_holds_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let ledger = Ledger::open(&state).unwrap();
        for n in 0..=REWRITE_OVER {
            ledger.record(&[seen(&format!("j{n}"))]);
        }
        drop(ledger);
        for _ in 0..2 {
            let again = Ledger::open(&state).unwrap();
            assert_eq!(again.read(|state| state.seen.len()), REWRITE_OVER + 1);
        }
    }

    #[test]
    fn names_a_damaged_journal_and_leaves_it_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let ledger = Ledger::open(&state).unwrap();
        ledger.record(&[seen("j1")]);
        ledger.record(&[seen("j2")]);
        drop(ledger);
        let path = state.join("journal");
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"X", 12).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Ledger::open(&state).err().unwrap().to_string();
        assert!(error.contains("damaged at byte"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn refuses_a_state_directory_that_others_can_write() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Ledger::open(dir.path()).is_err());
    }
}
