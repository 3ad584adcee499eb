//! The machine's clocks.
//!
//! It refuses to mix them: deadlines are judged by `CLOCK_BOOTTIME` only.

use std::time::{SystemTime, UNIX_EPOCH};

use exeunt_domain::{Instant, Timestamp};
use exeunt_engine::ports::Clock;
use rustix::time::{ClockId, clock_gettime};

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn instant(&self) -> Instant {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let micros = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000;
        Instant(seconds.saturating_mul(1_000_000).saturating_add(micros))
    }
}
