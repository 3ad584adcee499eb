//! Bounded waits for the state of programs that announce nothing.
//!
//! It refuses to wait without a limit, and to be used where an event can be awaited.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(15);

/// Looks until `seen` answers with something, and returns it.
///
/// # Errors
/// What `seen` says, or that `what` did not happen within `limit`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut seen: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = seen()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("{what} did not happen within {} s", limit.as_secs_f32());
        }
        std::thread::sleep(LOOK);
    }
}
