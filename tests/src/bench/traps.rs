//! The trap suite as a bench: how often a verdict was wrong, here and at BleachBit.
//!
//! It refuses to count a trap that could not be prepared: it fails instead.

use anyhow::{Result, ensure};

use super::Measured;
use crate::traps::{self, CONTROL, Sprung, Wrong};

/// Fewer traps than this prove little.
const ENOUGH: f64 = 25.0;

pub(super) fn run(quick: bool) -> Result<Measured> {
    let mut usual = Vec::new();
    for control in traps::spring(&[CONTROL], quick, true)? {
        ensure!(control.truth == "gone", "an ordinary home was not closed: {control:?}");
        usual.extend(control.bleachbit.into_iter().flat_map(|other| other.left));
    }
    let all = traps::spring(&traps::chosen(None), quick, true)?;
    let wrong =
        |is: fn(&Wrong) -> bool| count(all.iter().filter(|sprung| sprung.wrong.iter().any(is)));
    let mut measured = Measured::of("traps");
    measured.figure("sessions_left", count(all.iter().filter(|it| it.truth == "left")));
    measured.figure("said_so", count(all.iter().filter(|it| it.truth == "left" && !is_clean(it))));
    let theirs = || all.iter().filter_map(|sprung| sprung.bleachbit.as_ref());
    // What it leaves in an ordinary home as well is no trap's doing, and other apps than these two
    // it was not told to clean.
    let fair = |store: &&String| store.starts_with("chromium ") || store.starts_with("firefox ");
    let fooled = |store: &String| !usual.contains(store);
    let trapped = || theirs().filter(|it| it.left.iter().filter(fair).any(fooled));
    measured.figure("bleachbit_left_in_an_ordinary_home", count(usual.iter()));
    measured.figure("bleachbit_sessions_left", count(trapped()));
    measured.figure("bleachbit_false_successes", count(trapped().filter(|it| it.rc == 0)));
    measured.figure("bleachbit_lost", count(theirs().filter(|it| !it.lost.is_empty())));
    measured.at_least("traps", count(all.iter()), ENOUGH);
    measured.aim("false_successes", wrong(Wrong::is_false_success), 0.0);
    measured.aim("false_alarms", wrong(|it| matches!(it, Wrong::FalseAlarm { .. })), 0.0);
    measured.aim("lost", count(all.iter().filter(|it| !it.lost.is_empty())), 0.0);
    measured.traps = all;
    Ok(measured)
}

fn is_clean(sprung: &Sprung) -> bool {
    matches!(sprung.verdict.as_str(), "gone" | "unusable" | "none")
}

fn count<T>(all: impl Iterator<Item = T>) -> f64 {
    all.fold(0.0, |sum, _| sum + 1.0)
}
