//! The whole story, as `cargo xtask demo` tells it.

use exeunt_domain::Outcome;
use exeunt_tests::desktop::Screen;
use exeunt_tests::story::{Telling, tell};

/// One press in the real tray window, and nothing comes back (R1–R8, R10, R11, R15–R17, R29–R32).
#[test]
fn one_press_ends_everything_and_nothing_comes_back() {
    let receipts = tempfile::tempdir().unwrap();
    let telling =
        Telling { screen: Screen::Headless, keep: false, receipts: receipts.path().to_owned() };
    let figures = tell(&telling).unwrap_or_else(|error| panic!("{error:#}"));
    let shown = figures.table();
    assert_eq!(figures.outcome, Outcome::Verified, "{shown}");
    assert_eq!(figures.exit_code(), 0);
    assert!(std::path::Path::new(&figures.receipt.path).is_file(), "{shown}");
}
