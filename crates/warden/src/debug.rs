//! What tests may do to a warden from outside: in debug builds only.
//!
//! It refuses everything in a release build: every function is then the plain one.

use std::time::Duration;

use exeunt_domain::Instant;
use exeunt_engine::ports::Clock as _;
use exeunt_host::clock::SystemClock;

/// The file whose number of milliseconds the boot clock runs ahead.
const AHEAD: &str = "EXEUNT_FAULT_CLOCK_AHEAD";

/// `CLOCK_BOOTTIME`, which a test may let run ahead.
pub(crate) fn boottime() -> Instant {
    let now = SystemClock.instant();
    Instant(now.0.saturating_add(ahead_ms().unwrap_or(0).saturating_mul(1000)))
}

/// How often something is looked at; soon, where a test moves the clock.
pub(crate) fn look_every(usual: Duration) -> Duration {
    if ahead_ms().is_some() { Duration::from_millis(20) } else { usual }
}

fn ahead_ms() -> Option<u64> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let file = std::env::var_os(AHEAD)?;
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
