//! The rigs themselves: a test that could not fail without them would prove nothing.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::time::Duration;

use exeunt_tests::browser::{Browser, Kind};
use exeunt_tests::desktop::{Desktop, Screen};
use exeunt_tests::keyring::{KEPT, Keyring, TOKENS};
use exeunt_tests::people::Ground;
use exeunt_tests::planted::Planted;
use exeunt_tests::site::{Gate, Options, Report, Site};
use exeunt_tests::typist::Typist;
use rustix::process::Signal;

fn site() -> Site {
    Site::start(Options {
        user: "alice".into(),
        password: "correct horse".into(),
        api_key: None,
        gate: Gate::Open,
        listen: ([127, 0, 0, 1], 0).into(),
    })
    .unwrap()
}

fn stays_signed_in_over_a_restart(kind: Kind) {
    let ground = Ground::new().unwrap();
    let person = ground.person("alice").unwrap();
    let desktop = Desktop::start(&person, Screen::Headless).unwrap();
    let site = site();
    let mut browser = Browser::prepare(kind, &desktop).unwrap();

    let seed = browser.sign_in(&desktop, &site, "canary-1").unwrap();
    browser.close(&desktop).unwrap();
    let control = browser.visit(&desktop, &site).unwrap();
    browser.close(&desktop).unwrap();

    assert_eq!(control.me_status, 200, "{control:?}");
    assert_eq!(control.replayed(), Report::ALL, "{control:?}");
    assert_eq!(control.local_storage.as_deref(), Some("canary-1"));
    assert!(control.extension.is_some(), "{seed:?} {control:?}");

    let again = browser.visit(&desktop, &site).unwrap();
    browser.close(&desktop).unwrap();
    let kept = browser.kept(&control, &again).unwrap();
    assert!(kept.bookmarks && kept.preferences && kept.extensions, "{kept:?} {again:?}");
}

#[test]
fn chromium_stays_signed_in_over_a_restart() {
    stays_signed_in_over_a_restart(Kind::Chromium);
}

#[test]
fn firefox_stays_signed_in_over_a_restart() {
    stays_signed_in_over_a_restart(Kind::Firefox);
}

#[test]
fn a_keyring_holds_what_was_stored_and_nothing_else() {
    let ground = Ground::new().unwrap();
    let person = ground.person("alice").unwrap();
    let desktop = Desktop::start(&person, Screen::Headless).unwrap();
    let keyring = Keyring::start(&desktop, "a demo password").unwrap();
    assert_eq!(keyring.count(&desktop, &TOKENS).unwrap(), 0);
    for item in TOKENS.into_iter().chain([KEPT]) {
        keyring.store(&desktop, item, "gho_canary").unwrap();
    }
    assert_eq!(keyring.count(&desktop, &TOKENS).unwrap(), 3);
    assert_eq!(keyring.count(&desktop, &[KEPT]).unwrap(), 1);
    let mut clear = desktop.command("secret-tool");
    assert!(clear.arg("clear").args(TOKENS[0].attributes).status().unwrap().success());
    assert_eq!(keyring.count(&desktop, &TOKENS).unwrap(), 2);
}

#[test]
fn planted_files_are_found_until_their_token_is_gone() {
    let ground = Ground::new().unwrap();
    let person = ground.person("alice").unwrap();
    let planted = Planted::plant(&person, "canary-2").unwrap();
    assert_eq!(planted.found(&person).len(), 3);
    person.write(".config/gh/hosts.yml", "github.com:\n    user: alice\n").unwrap();
    assert_eq!(planted.found(&person).len(), 2);
    assert!(planted.missing(&person).is_empty());
}

/// What is typed under a lock stays out, and only the lock keeps it out: once the locker is killed,
/// the next line arrives.
fn a_typist_is_kept_out_by(locker: &str, arguments: &[&str]) {
    let ground = Ground::new().unwrap();
    let person = ground.person("alice").unwrap();
    let desktop = Desktop::start(&person, Screen::Headless).unwrap();
    let typist = Typist::open(&desktop).unwrap();
    typist.type_until_seen(&desktop, "before").unwrap();

    let mut command = desktop.command(locker);
    let mut locker = desktop.start_program(locker, command.args(arguments)).unwrap();
    desktop.wait_for_grab().unwrap();
    typist.type_line(&desktop, "during").unwrap();
    assert!(locker.is_running().unwrap());
    locker.end(Signal::KILL, Duration::from_secs(5)).unwrap();

    typist.type_until_seen(&desktop, "after").unwrap();
    let typed = typist.typed();
    assert!(typed.contains(&"before".into()) && typed.contains(&"after".into()), "{typed:?}");
    assert!(!typed.iter().any(|line| line.contains("during")), "{typed:?}");
}

#[test]
fn a_typist_is_kept_out_by_i3lock() {
    a_typist_is_kept_out_by("i3lock", &["--nofork"]);
}

#[test]
fn a_typist_is_kept_out_by_xsecurelock() {
    a_typist_is_kept_out_by("xsecurelock", &[]);
}
