//! The watch over fakes: what comes back is heard, told once, and contained by the next close.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::sync::OnceLock;
use std::time::Duration;

use exeunt_catalogue::{App, Catalogue, Layout, Platform};
use exeunt_domain::Tier;
use exeunt_engine::ports::{Bell, Heard};
use exeunt_engine::watch::{Returns, Sight, look};
use exeunt_testkit::{FakeFiles, FakeProcesses, FakeWatcher};

const COOKIES: &str = ".config/chromium/Default/Cookies";

fn bare_home() -> FakeFiles {
    FakeFiles::new().dir(".config").dir(".cache").dir(".local/share").dir(".local/state")
}

fn catalogue() -> &'static Catalogue {
    static READ: OnceLock<Catalogue> = OnceLock::new();
    READ.get_or_init(|| Catalogue::builtin().unwrap())
}

fn seen(files: &FakeFiles, watcher: &mut FakeWatcher<'_>) -> Sight {
    look(catalogue(), files, &FakeProcesses::new(), Tier::SignOut, watcher)
}

fn heard(bell: &Bell) -> bool {
    bell.wait(Duration::ZERO) != Heard::Quiet
}

fn names(sight: &[exeunt_domain::StoreReport]) -> Vec<(&str, &str)> {
    sight.iter().map(|row| (row.app.as_str(), row.store.as_str())).collect()
}

#[test]
fn a_profile_that_is_restored_piece_by_piece_is_heard_at_every_step() {
    let files = bare_home();
    let bell = Bell::default();
    let mut watcher = FakeWatcher::new(&files, bell.clone(), 512);
    let sight = seen(&files, &mut watcher);
    assert!(sight.settled && sight.rows.is_empty(), "{sight:?}");
    for step in ["Local State", "Default/Preferences", "Default/Cookies"] {
        files.put(&format!(".config/chromium/{step}"), b"{}");
        assert!(heard(&bell), "{step} came unheard");
        assert!(seen(&files, &mut watcher).settled);
    }
    let sight = seen(&files, &mut watcher);
    assert_eq!(names(&sight.rows), [("chromium", "cookies")]);
}

/// The first example of each rule that goes at sign-out, below the app's first root.
fn examples(app: &App) -> Vec<String> {
    let root = app.roots(Platform::Linux).first();
    let root = root.and_then(|root| root.from_home(Platform::Linux)).unwrap_or_default();
    let root: Vec<_> = root.iter().map(|glob| glob.as_str().replace('*', "x")).collect();
    let rules = app.stores.iter().filter(|rule| rule.tier <= Tier::SignOut);
    let firsts = rules.filter_map(|rule| {
        let mut paths = rule.examples.removes.iter().map(|p| p.replace("{root}", &root.join("/")));
        paths.find(|path| !path.contains('{') && !path.starts_with('/'))
    });
    firsts.collect()
}

/// A home in which the app was closed: its directories are there down to `kept`, and its profile
/// can still be told.
fn closed_home(app: &App, kept: &str) -> FakeFiles {
    let mut files = bare_home().dir(kept);
    if let Some((profile, _)) =
        kept.split_once("/Default").or_else(|| kept.split_once("/x.default"))
    {
        let name = kept.get(profile.len()..).and_then(|rest| rest.split('/').nth(1)).unwrap();
        let mark = if app.layout == Layout::Gecko { "prefs.js" } else { "Preferences" };
        files = files.file(&format!("{profile}/{name}/{mark}"), b"{}");
    }
    files
}

/// Whatever the catalogue would remove cannot come back unheard, wherever it lies.
#[test]
fn no_store_of_any_app_comes_back_unheard() {
    let mut tried = 0;
    for app in catalogue().apps() {
        for path in examples(app) {
            let ends = path.match_indices('/').map(|(end, _)| end).rev().take(2);
            for kept in ends.filter_map(|end| path.get(..end)) {
                let files = closed_home(app, kept);
                let bell = Bell::default();
                let mut watcher = FakeWatcher::new(&files, bell.clone(), 512);
                let before = seen(&files, &mut watcher).rows;
                files.put(&path, b"{}");
                let heard = heard(&bell);
                let after =
                    || seen(&files, &mut FakeWatcher::new(&files, Bell::default(), 512)).rows;
                assert!(heard || after() == before, "{}: {path} below {kept}", app.id);
                tried += usize::from(heard);
            }
        }
    }
    assert!(tried > 200, "only {tried} were heard");
}

#[test]
fn what_the_close_had_left_is_not_told_and_what_returns_is_told_once() {
    let files = bare_home()
        .file(".config/chromium/Local State", b"{}")
        .file(".config/chromium/Default/Preferences", b"{}")
        .file(COOKIES, b"immutable");
    let mut watcher = FakeWatcher::new(&files, Bell::default(), 512);
    let left = seen(&files, &mut watcher).rows;
    let mut returns = Returns::after(&left);
    assert_eq!(returns.see(&left), []);
    files.put(".aws/sso/cache/a.json", b"token");
    let now = seen(&files, &mut watcher).rows;
    assert_eq!(names(&returns.see(&now)), [("aws", "sso-cache")]);
    assert_eq!(returns.see(&now), []);
    assert_eq!(returns.see(&left), []);
    assert_eq!(names(&returns.see(&now)), [("aws", "sso-cache")]);
}

#[test]
fn a_home_with_more_directories_than_can_be_watched_says_so() {
    let mut files = bare_home();
    for n in 0..40 {
        files = files.file(&format!(".config/chromium/Profile {n}/Preferences"), b"{}");
    }
    let mut watcher = FakeWatcher::new(&files, Bell::default(), 10);
    let sight = seen(&files, &mut watcher);
    assert_eq!(sight.coverage.watched, 10);
    assert!(sight.coverage.left_out > 30, "{:?}", sight.coverage);
    assert!(sight.coverage.why.is_some());
}
