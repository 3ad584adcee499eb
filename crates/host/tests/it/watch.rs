//! Watching real directories.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use exeunt_catalogue::{Base, Catalogue};
use exeunt_domain::Tier;
use exeunt_engine::ports::{Bell, Files as _, Heard, Spot, Watcher as _};
use exeunt_engine::watch::look;
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_host::watch::{LinuxWatcher, MOST};
use exeunt_testkit::contract::files::FilesRig;
use exeunt_testkit::contract::watch::{WatchRig, all};

use crate::homes::{Home, is_root, name, replace};

/// How long an event may take to arrive.
const ARRIVES: Duration = Duration::from_secs(20);

impl WatchRig for Home {
    type Watcher<'w> = LinuxWatcher;

    fn watcher(&self, bell: Bell, most: usize) -> LinuxWatcher {
        LinuxWatcher::new(bell, most)
    }
}

#[test]
fn keeps_the_contract() {
    all(Home::own);
}

#[test]
fn keeps_the_contract_over_another_accounts_home() {
    if is_root("watching another account's home") {
        all(Home::of_stranger);
    }
}

/// One event of its own, after which everything before has arrived.
fn settle(home: &Home, bell: &Bell) -> Heard {
    std::fs::create_dir(home.path("marker")).unwrap();
    bell.wait(ARRIVES)
}

fn over_home(home: &Home, contents: &[&str]) -> Spot<exeunt_host::files::Dir> {
    let names = ["marker"].iter().map(|text| name(text)).collect();
    let contents = contents.iter().map(|text| name(text)).collect();
    Spot { names, contents, ..Spot::new(home.home()) }
}

#[test]
fn hears_what_is_written_into_a_file_that_was_read_and_no_other() {
    let home = Home::own();
    home.put("read", b"a");
    home.put("unread", b"a");
    let bell = Bell::default();
    let mut watcher = home.watcher(bell.clone(), MOST);
    watcher.watch(&[over_home(&home, &["read"])]);
    std::fs::write(home.path("unread"), b"more").unwrap();
    assert_eq!(settle(&home, &bell), Heard::Changed(1));
    std::fs::write(home.path("read"), b"more").unwrap();
    assert!(matches!(bell.wait(ARRIVES), Heard::Changed(_)));
}

/// The watch stays with the directory it was given: a link in its place leads it nowhere.
#[test]
fn follows_no_link_that_takes_a_watched_directorys_place() {
    let home = Home::own();
    home.put(".config/x", b"");
    let bell = Bell::default();
    let mut watcher = home.watcher(bell.clone(), MOST);
    let config = home.files().base(Base::Config).unwrap().unwrap();
    replace(&home.path(".config"), &home.path("moved"));
    symlink(home.outside(), home.path(".config")).unwrap();
    watcher.watch(&[over_home(&home, &[]), Spot { listed: true, ..Spot::new(config) }]);
    std::fs::write(home.outside().join("new"), b"").unwrap();
    assert_eq!(settle(&home, &bell), Heard::Changed(1));
    std::fs::write(home.path("moved/new"), b"").unwrap();
    assert!(matches!(bell.wait(ARRIVES), Heard::Changed(_)));
}

#[test]
fn a_look_makes_no_noise_of_its_own() {
    let home = Home::own();
    home.put(".config/chromium/Local State", b"{}");
    home.put(".config/chromium/Default/Preferences", b"{\"account_info\":[1]}");
    home.put(".aws/sso/cache/a.json", b"{}");
    let processes = LinuxProcesses::of_account(home.owner(), KeepList::default());
    let catalogue = Catalogue::builtin().unwrap();
    let bell = Bell::default();
    let mut watcher = home.watcher(bell.clone(), MOST);
    let sight = look(&catalogue, home.files(), &processes, Tier::SignOut, &mut watcher);
    assert!(sight.settled, "{sight:?}");
    assert_eq!(sight.coverage.left_out, 0, "{sight:?}");
    assert!(sight.rows.iter().any(|row| row.app == "aws"), "{sight:?}");
    look(&catalogue, home.files(), &processes, Tier::SignOut, &mut watcher);
    // The one event of this, and nothing that looking did.
    std::fs::create_dir(home.path(".config/chromium/Default/Cookies")).unwrap();
    assert_eq!(bell.wait(ARRIVES), Heard::Changed(1));
}

/// R36: no number of events costs more than a look at a time. Run alone, so that the memory is its.
#[test]
fn a_storm_of_events_is_counted_and_not_kept() {
    if is_again() {
        return in_the_storm();
    }
    let own = std::env::current_exe().unwrap();
    again(Command::new(own).args(["--exact", "watch::a_storm_of_events_is_counted_and_not_kept"]));
}

fn in_the_storm() {
    let home = Home::own();
    let bell = Bell::default();
    let mut watcher = home.watcher(bell.clone(), MOST);
    watcher.watch(&[Spot { listed: true, ..Spot::new(home.home()) }]);
    let before = resident_kib();
    let (here, there) = (home.path("here"), home.path("there"));
    std::fs::write(&here, b"").unwrap();
    for _ in 0..25_000 {
        replace(&here, &there);
        replace(&there, &here);
    }
    assert!(matches!(bell.wait(ARRIVES), Heard::Changed(_)));
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "the storm left {grown} KiB");
    // And it still hears: the queue may have overflowed, the watch has not gone deaf.
    while bell.wait(Duration::from_millis(200)) != Heard::Quiet {}
    std::fs::create_dir(home.path("after")).unwrap();
    assert!(matches!(bell.wait(ARRIVES), Heard::Changed(_)));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Says to a test that it runs again, in a process of its own.
const AGAIN: &str = "EXEUNT_TEST_AGAIN";

fn is_again() -> bool {
    std::env::var_os(AGAIN).is_some()
}

fn again(command: &mut Command) {
    let output = command.env(AGAIN, "1").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

/// The kernel's own limit, lowered in a user namespace that this very test is run in again.
#[test]
fn the_kernels_limit_of_watches_is_said() {
    if is_again() {
        return in_the_limits();
    }
    let script = "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$0\" --exact \
                  watch::the_kernels_limit_of_watches_is_said";
    let mut limited = Command::new("unshare");
    limited.args(["--user", "--map-root-user", "sh", "-c", script]);
    again(limited.arg(std::env::current_exe().unwrap()));
}

fn in_the_limits() {
    let home = Home::own();
    for dir in ["a", "b", "c", "d"] {
        home.put(&format!("{dir}/x"), b"");
    }
    let spots = ["a", "b", "c", "d"].map(|dir| Spot::new(home.enter(dir)));
    let coverage = home.watcher(Bell::default(), MOST).watch(&spots);
    assert_eq!((coverage.watched, coverage.left_out), (2, 2), "{coverage:?}");
    let why = coverage.why.unwrap();
    assert!(why.contains("max_user_watches"), "{why}");
}
