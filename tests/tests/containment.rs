//! One close of one home, with real browsers, a real keyring and a real lock: no hub, no service.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use exeunt_tests::browser::{Browser, Kind};
use exeunt_tests::desktop::{Desktop, Screen};
use exeunt_tests::house::Programs;
use exeunt_tests::keyring::{KEPT, Keyring, TOKENS};
use exeunt_tests::people::{Ground, Person};
use exeunt_tests::planted::Planted;
use exeunt_tests::process::MARK;
use exeunt_tests::site::{Gate, Options, Report, Site};
use exeunt_tests::typist::Typist;
use serde_json::Value;

struct Rig {
    programs: Programs,
    site: Site,
    desktop: Desktop,
    alice: Person,
    ground: Ground,
}

impl Rig {
    fn new() -> Self {
        let ground = Ground::new().unwrap();
        let alice = ground.person("alice").unwrap();
        let programs = Programs::install(&ground).unwrap();
        let desktop = Desktop::start(&alice, Screen::Headless).unwrap();
        let site = Site::start(Options {
            user: "alice".into(),
            password: "correct horse".into(),
            api_key: None,
            gate: Gate::Open,
            listen: ([127, 0, 0, 1], 0).into(),
        })
        .unwrap();
        Self { programs, site, desktop, alice, ground }
    }

    /// `exeunt-warden once` as whoever runs the test: its exit code and what it printed.
    fn once(&self, arguments: &[&str]) -> (i32, Value) {
        let mut once = Command::new(&self.programs.warden);
        once.args(["once", "--json", "--home"]).arg(&self.alice.home).args(arguments);
        let ended = once.env(MARK, self.ground.mark()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        let json = serde_json::from_slice(&ended.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}; it said:\n{said}"));
        (ended.status.code().unwrap(), json)
    }

    /// A browser that is signed in, was restarted, is still signed in and is left open.
    fn signed_in(&self, kind: Kind) -> (Browser, Report) {
        let mut browser = Browser::prepare(kind, &self.desktop).unwrap();
        browser.sign_in(&self.desktop, &self.site, "canary").unwrap();
        browser.close(&self.desktop).unwrap();
        let control = browser.visit(&self.desktop, &self.site).unwrap();
        assert_eq!(control.replayed(), Report::ALL, "the control: {control:?}");
        (browser, control)
    }
}

/// Nothing usable is left and nothing wanted is lost (R7, R8, R51).
fn a_live_browser_replays_nothing_after_a_close(kind: Kind) {
    let rig = Rig::new();
    let (mut browser, before) = rig.signed_in(kind);

    let (code, closed) = rig.once(&[]);
    assert_eq!(code, 0, "{closed:#}");
    assert_eq!(closed["outcome"], "verified", "{closed:#}");
    assert_eq!(
        closed["stores"].as_array().unwrap().iter().map(|it| &it["app"]).next().unwrap(),
        kind.name()
    );
    browser.was_ended().unwrap();

    let after = browser.visit(&rig.desktop, &rig.site).unwrap();
    browser.end().unwrap();
    assert_eq!(after.me_status, 401);
    assert_eq!(after.replayed(), Vec::<&str>::new(), "{after:?}");
    let kept = browser.kept(&before, &after).unwrap();
    assert!(kept.bookmarks && kept.preferences && kept.extensions, "{kept:?}");
}

#[test]
fn live_chromium_replays_nothing_after_a_close() {
    a_live_browser_replays_nothing_after_a_close(Kind::Chromium);
}

#[test]
fn live_firefox_replays_nothing_after_a_close() {
    a_live_browser_replays_nothing_after_a_close(Kind::Firefox);
}

/// Tokens go, from the keyring and from files, and what is no token stays (R10, R11).
#[test]
fn tokens_in_keyring_and_files_go_and_the_rest_stays() {
    let rig = Rig::new();
    let keyring = Keyring::start(&rig.desktop, "demo").unwrap();
    for item in TOKENS.into_iter().chain([KEPT]) {
        keyring.store(&rig.desktop, item, "canary").unwrap();
    }
    let planted = Planted::plant(&rig.alice, "canary").unwrap();
    assert_eq!(keyring.count(&rig.desktop, &TOKENS).unwrap(), 3);
    assert_eq!(planted.found(&rig.alice).len(), 3);

    let (code, closed) = rig.once(&["--bus", &rig.desktop.bus]);
    assert_eq!(code, 0, "{closed:#}");
    assert_eq!(keyring.count(&rig.desktop, &TOKENS).unwrap(), 0);
    assert_eq!(keyring.count(&rig.desktop, &[KEPT]).unwrap(), 1);
    assert_eq!(planted.found(&rig.alice), Vec::<String>::new());
    assert_eq!(planted.missing(&rig.alice), Vec::<String>::new());
    let hosts = std::fs::read_to_string(rig.alice.home.join(".config/gh/hosts.yml")).unwrap();
    assert!(hosts.contains("git_protocol: https"), "{hosts}");
}

/// Looking changes nothing.
#[test]
fn survey_and_preview_touch_nothing() {
    let rig = Rig::new();
    Planted::plant(&rig.alice, "canary").unwrap();
    rig.alice.write(".config/chromium/Local State", "{}").unwrap();
    rig.alice.write(".config/chromium/Default/Preferences", "{}").unwrap();
    rig.alice.write(".config/chromium/Default/Cookies", "not really").unwrap();
    let before = listing(&rig.alice.home);

    let (code, surveyed) = rig.once(&["--survey"]);
    assert_eq!(code, 0, "{surveyed:#}");
    assert!(surveyed["stores"].as_array().unwrap().len() >= 4, "{surveyed:#}");
    let (code, previewed) = rig.once(&["--preview"]);
    assert_eq!(code, 0, "{previewed:#}");
    for key in ["ends", "stays", "cannot", "digest"] {
        assert!(!previewed[key].is_null(), "{key} is missing in {previewed:#}");
    }
    assert_eq!(listing(&rig.alice.home), before);
}

/// A data directory outside the home is out of bounds: it is named and left alone.
#[test]
fn a_live_browsers_directory_outside_the_home_is_refused_and_named() {
    let rig = Rig::new();
    let outside = rig.ground.dir("elsewhere", 0o777).unwrap();
    let mut browser = rig.desktop.command("chromium");
    browser.args(["--no-first-run", "--disable-gpu", "--password-store=basic"]);
    browser.arg(format!("--user-data-dir={}", outside.display()));
    let run = rig.site.login_page("outside", "chromium", "canary");
    let mut browser = rig.desktop.start_program("chromium", browser.arg(run)).unwrap();
    rig.site.report("outside", std::time::Duration::from_secs(60)).unwrap();

    let (code, closed) = rig.once(&[]);
    assert_eq!(code, 3, "{closed:#}");
    assert_eq!(closed["outcome"], "partial");
    let stores = closed["stores"].as_array().unwrap();
    let named =
        stores.iter().any(|store| store["verdict"] == "refused" && store["app"] == "chromium");
    assert!(named, "{closed:#}");
    assert!(outside.join("Default").exists());
    browser.end(rustix::process::Signal::INT, std::time::Duration::from_secs(20)).unwrap();
}

/// What is typed behind the lock does not arrive; what is typed before and after does (R17).
#[test]
fn a_typist_is_kept_out_until_the_locker_is_gone() {
    let rig = Rig::new();
    let typist = Typist::open(&rig.desktop).unwrap();
    typist.type_until_seen(&rig.desktop, "before").unwrap();

    let (code, closed) = rig.once(&["--session", &rig.desktop.display]);
    assert_eq!(code, 0, "{closed:#}");
    assert_eq!(closed["lock"]["state"], "proved", "{closed:#}");
    assert!(rig.desktop.is_grabbed().unwrap());
    typist.type_line(&rig.desktop, "during").unwrap();

    end_lockers(&rig.alice);
    typist.type_until_seen(&rig.desktop, "after").unwrap();
    let typed = typist.typed();
    assert!(!typed.iter().any(|line| line.contains("during")), "{typed:?}");
}

#[test]
fn refuses_the_home_of_whoever_calls() {
    let rig = Rig::new();
    let own = Command::new("sh").args(["-c", "echo ~"]).output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    let mut once = Command::new(&rig.programs.warden);
    let refused = once.args(["once", "--survey", "--home", own.trim()]).output().unwrap();
    assert!(!refused.status.success());
}

/// Ends the lockers of a throwaway user, by their ids.
fn end_lockers(person: &Person) {
    use rustix::process::{Pid, Signal, kill_process};
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let owned = entry.metadata().is_ok_and(|data| data.uid() == person.uid);
        if owned && ["i3lock", "xsecurelock"].contains(&name.trim()) {
            kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
            ended += 1;
        }
    }
    assert!(ended > 0, "no locker runs");
}

/// Every path below a directory: its inode, size, mode and change times.
fn listing(dir: &Path) -> BTreeMap<String, (u64, u64, u32, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let data = std::fs::symlink_metadata(entry.path()).unwrap();
            let row = (data.ino(), data.size(), data.mode(), data.mtime(), data.ctime_nsec());
            found.insert(entry.path().display().to_string(), row);
            if data.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}
