//! The port to changes on disk: which directories are watched, and a bell that rings when one changes.
//!
//! It refuses to tell what changed: whoever hears the bell looks again, and believes only that.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Name;

/// One directory, and what a survey asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot<D> {
    /// The directory.
    pub dir: D,
    /// It was listed: any entry that comes or goes matters.
    pub listed: bool,
    /// Entries that were looked at by name: their coming and going matters.
    pub names: BTreeSet<Name>,
    /// Files that were read: what is written into them matters too.
    pub contents: BTreeSet<Name>,
}

impl<D> Spot<D> {
    /// A directory of which nothing was asked yet.
    #[must_use]
    pub fn new(dir: D) -> Self {
        Self { dir, listed: false, names: BTreeSet::new(), contents: BTreeSet::new() }
    }

    /// Whether an entry of that name that came or went could change a survey.
    #[must_use]
    pub fn minds_entry(&self, name: &[u8]) -> bool {
        let named = |names: &BTreeSet<Name>| Name::new(name).is_some_and(|n| names.contains(&n));
        self.listed || named(&self.names) || named(&self.contents)
    }

    /// Whether what is written into a file of that name could change a survey.
    #[must_use]
    pub fn minds_content(&self, name: &[u8]) -> bool {
        Name::new(name).is_some_and(|name| self.contents.contains(&name))
    }
}

/// How much of what was asked for is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Directories that are watched.
    pub watched: usize,
    /// Directories that are not.
    pub left_out: usize,
    /// Why not.
    pub why: Option<String>,
}

/// Rings a [`Bell`] when something changes in a directory.
pub trait Watcher {
    /// An open directory of the home.
    type Dir;

    /// Watches each spot, in place of everything watched before, and says how many it could.
    /// Its probe is [`Watcher::covers`].
    fn watch(&mut self, spots: &[Spot<Self::Dir>]) -> Coverage;

    /// Whether the last [`Watcher::watch`] was told of these very directories and these questions.
    fn covers(&self, spots: &[Spot<Self::Dir>]) -> bool;
}

/// What woke whoever waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// So many changes since the last time; they are counted, never kept.
    Changed(u64),
    /// Nothing is to be waited for any more.
    Called,
    /// The time passed.
    Quiet,
}

/// Tells a waiting thread of changes. Its memory does not grow with their number.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<(Mutex<Rung>, Condvar)>);

#[derive(Debug, Default)]
struct Rung {
    changes: u64,
    called: bool,
}

impl Bell {
    /// Whether it is this very bell.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Something changed.
    pub fn change(&self) {
        let mut rung = self.lock();
        rung.changes = rung.changes.saturating_add(1);
        drop(rung);
        self.0.1.notify_all();
    }

    /// Whoever waits, now or later, is to stop.
    pub fn call(&self) {
        self.lock().called = true;
        self.0.1.notify_all();
    }

    /// Waits for a change since the last call, for [`Bell::call`], or until `within` has passed.
    #[must_use]
    pub fn wait(&self, within: Duration) -> Heard {
        self.until(within, |rung| rung.changes > 0)
    }

    /// Lets `within` pass whatever changes meanwhile; only [`Bell::call`] ends it early.
    #[must_use]
    pub fn pause(&self, within: Duration) -> Heard {
        self.until(within, |_| false)
    }

    fn until(&self, within: Duration, enough: impl Fn(&Rung) -> bool) -> Heard {
        let end = Instant::now().checked_add(within);
        let mut rung = self.lock();
        loop {
            if rung.called {
                return Heard::Called;
            }
            if enough(&rung) {
                return Heard::Changed(std::mem::take(&mut rung.changes));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or(within);
            if left.is_zero() {
                return Heard::Quiet;
            }
            rung = self.0.1.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn counts_changes_and_forgets_them_once_heard() {
        let bell = Bell::default();
        (0..100_000).for_each(|_| bell.change());
        assert_eq!(bell.wait(NOW), Heard::Changed(100_000));
        assert_eq!(bell.wait(NOW), Heard::Quiet);
    }

    #[test]
    fn a_call_is_heard_now_and_by_whoever_comes_later() {
        let bell = Bell::default();
        bell.change();
        bell.call();
        assert_eq!(bell.pause(Duration::from_secs(60)), Heard::Called);
        assert_eq!(bell.wait(Duration::from_secs(60)), Heard::Called);
    }

    #[test]
    fn a_pause_outlasts_changes_and_keeps_them() {
        let bell = Bell::default();
        bell.change();
        assert_eq!(bell.pause(Duration::from_millis(1)), Heard::Quiet);
        assert_eq!(bell.wait(NOW), Heard::Changed(1));
    }

    #[test]
    fn minds_only_what_was_asked_for() {
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let mut spot = Spot::new(());
        spot.names.insert(name("Cookies"));
        spot.contents.insert(name("Preferences"));
        assert!(spot.minds_entry(b"Cookies") && spot.minds_entry(b"Preferences"));
        assert!(spot.minds_content(b"Preferences") && !spot.minds_content(b"Cookies"));
        assert!(!spot.minds_entry(b"other"));
        spot.listed = true;
        assert!(spot.minds_entry(b"other") && !spot.minds_content(b"other"));
    }
}
