//! The real tray window.

use std::time::Duration;

use exeunt_tests::desktop::{Desktop, Screen};
use exeunt_tests::house::Programs;
use exeunt_tests::people::Ground;
use exeunt_tests::window::Window;

const LIMIT: Duration = Duration::from_secs(30);

/// Without a warden there is no plan, no button and no promise (R30).
#[test]
fn window_without_a_warden_says_so_and_offers_nothing_else() {
    let ground = Ground::new().unwrap();
    let programs = Programs::install(&ground).unwrap();
    let person = ground.person("alice").unwrap();
    let desktop = Desktop::start(&person, Screen::Headless).unwrap();
    let sockets = ground.dir("sockets", 0o755).unwrap();
    let window = Window::open(&desktop, &programs.tray, &sockets).unwrap();
    window.read("retry", LIMIT).unwrap();
    let text = window.text().unwrap();
    assert!(text.contains("exeunt-warden") || text.contains("warden"), "{text}");
    assert!(!text.contains("Sign out everywhere"), "{text}");
}
