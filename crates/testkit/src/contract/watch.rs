//! The contract of [`Watcher`].
//!
//! It refuses to wait for nothing to happen: that a change is not heard shows when the next one is.

use std::time::Duration;

use exeunt_catalogue::Base;
use exeunt_engine::ports::{Bell, Files, Heard, Name, Spot, Watcher};

use super::files::FilesRig;

/// A home with a watch over it.
pub trait WatchRig: FilesRig {
    /// The implementation.
    type Watcher<'w>: Watcher<Dir = <Self::Files as Files>::Dir>
    where
        Self: 'w;

    /// One that rings `bell` and watches at most `most` directories.
    fn watcher(&self, bell: Bell, most: usize) -> Self::Watcher<'_>;
}

type SpotOf<R> = Spot<<<R as FilesRig>::Files as Files>::Dir>;

/// How long an event may take to arrive before the contract is broken.
const ARRIVES: Duration = Duration::from_secs(20);

/// Runs the whole contract, each part in a home of its own.
pub fn all<R: WatchRig>(make: impl Fn() -> R) {
    rings_for_a_name_that_was_asked_for(&make());
    rings_for_any_name_of_a_listed_directory(&make());
    does_not_ring_for_other_names_or_places(&make());
    keeps_a_change_for_whoever_comes_later(&make());
    watches_in_place_of_what_was_watched(&make());
    says_what_it_leaves_out(&make());
    covers_what_it_was_told_and_nothing_else(&make());
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a plain name")
}

fn spot<R: WatchRig>(rig: &R, path: &str, names: &[&str]) -> SpotOf<R> {
    let files = rig.files();
    let home = files.base(Base::Home).expect("the home opens").expect("the home is there");
    let steps = path.split('/').filter(|step| !step.is_empty());
    let dir = steps.fold(home, |dir, step| files.enter(&dir, &name(step)).expect("is there"));
    Spot { names: names.iter().map(|text| name(text)).collect(), ..Spot::new(dir) }
}

fn rings(bell: &Bell) -> bool {
    matches!(bell.wait(ARRIVES), Heard::Changed(_))
}

fn rings_for_a_name_that_was_asked_for<R: WatchRig>(rig: &R) {
    rig.put("profile/Preferences", b"{}");
    let bell = Bell::default();
    let mut watcher = rig.watcher(bell.clone(), 8);
    let coverage = watcher.watch(&[spot(rig, "profile", &["Cookies"])]);
    assert_eq!((coverage.watched, coverage.left_out, coverage.why), (1, 0, None));
    rig.put("profile/Cookies", b"sid");
    assert!(rings(&bell), "a store came back unheard");
}

fn rings_for_any_name_of_a_listed_directory<R: WatchRig>(rig: &R) {
    rig.put("profiles/a/x", b"");
    let bell = Bell::default();
    let mut watcher = rig.watcher(bell.clone(), 8);
    watcher.watch(&[Spot { listed: true, ..spot(rig, "profiles", &[]) }]);
    rig.put("profiles/b/x", b"");
    assert!(rings(&bell), "a new profile came unheard");
}

fn does_not_ring_for_other_names_or_places<R: WatchRig>(rig: &R) {
    rig.put("profile/deep/x", b"");
    let (bell, other) = (Bell::default(), Bell::default());
    let mut watcher = rig.watcher(bell.clone(), 8);
    let mut others = rig.watcher(other.clone(), 8);
    watcher.watch(&[spot(rig, "profile", &["Cookies"])]);
    others.watch(&[spot(rig, "profile", &["log"]), spot(rig, "profile/deep", &["Cookies"])]);
    rig.put("profile/log", b"");
    assert!(rings(&other));
    rig.put("profile/deep/Cookies", b"");
    assert!(rings(&other));
    assert_eq!(bell.wait(Duration::ZERO), Heard::Quiet);
}

fn keeps_a_change_for_whoever_comes_later<R: WatchRig>(rig: &R) {
    rig.put("profile/x", b"");
    let (bell, other) = (Bell::default(), Bell::default());
    let mut watcher = rig.watcher(bell.clone(), 8);
    watcher.watch(&[spot(rig, "profile", &["Cookies"])]);
    rig.put("profile/Cookies", b"");
    let mut later = rig.watcher(other.clone(), 8);
    later.watch(&[spot(rig, "profile", &["Cookies"])]);
    rig.put("profile/Cookies", b"again");
    assert!(rings(&other));
    assert!(rings(&bell));
}

fn watches_in_place_of_what_was_watched<R: WatchRig>(rig: &R) {
    rig.put("one/x", b"");
    rig.put("two/x", b"");
    let bell = Bell::default();
    let mut watcher = rig.watcher(bell.clone(), 8);
    watcher.watch(&[spot(rig, "one", &["Cookies"])]);
    watcher.watch(&[spot(rig, "two", &["Cookies"])]);
    rig.put("one/Cookies", b"");
    rig.put("two/Cookies", b"");
    assert!(rings(&bell));
    let second = watcher.covers(&[spot(rig, "two", &["Cookies"])]);
    assert!(second && !watcher.covers(&[spot(rig, "one", &["Cookies"])]));
}

fn says_what_it_leaves_out<R: WatchRig>(rig: &R) {
    rig.put("one/x", b"");
    rig.put("two/x", b"");
    let mut watcher = rig.watcher(Bell::default(), 1);
    let coverage = watcher.watch(&[spot(rig, "one", &["a"]), spot(rig, "two", &["a"])]);
    assert_eq!((coverage.watched, coverage.left_out), (1, 1));
    assert!(coverage.why.is_some_and(|why| why.contains("limit")), "the limit is not said");
}

fn covers_what_it_was_told_and_nothing_else<R: WatchRig>(rig: &R) {
    rig.put("one/x", b"");
    let mut watcher = rig.watcher(Bell::default(), 8);
    assert!(!watcher.covers(&[]));
    watcher.watch(&[spot(rig, "one", &["a"])]);
    assert!(watcher.covers(&[spot(rig, "one", &["a"])]));
    assert!(!watcher.covers(&[spot(rig, "one", &["a", "b"])]));
    assert!(!watcher.covers(&[spot(rig, "", &["a"])]));
    assert!(!watcher.covers(&[spot(rig, "one", &["a"]), spot(rig, "", &["a"])]));
}
