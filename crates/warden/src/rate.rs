//! How often something may happen within an hour.
//!
//! It refuses to save up: what was not used in one hour is not there in the next.

use exeunt_domain::Instant;

/// One hour, in milliseconds.
const HOUR_MS: f64 = 3_600_000.0;

/// When it happened within the last hour.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    taken: Vec<Instant>,
}

impl Rate {
    /// Whether it may happen once more at `at`, which then counts.
    pub(crate) fn take(&mut self, per_hour: u32, at: Instant) -> bool {
        self.taken.retain(|earlier| at.ms_since(*earlier) < HOUR_MS);
        let within = (self.taken.len() as u64) < u64::from(per_hour);
        if within {
            self.taken.push(at);
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_later_it_may_happen_again() {
        let mut rate = Rate::default();
        assert!(rate.take(2, Instant(0)) && rate.take(2, Instant(1)));
        assert!(!rate.take(2, Instant(3_599_000_000)));
        assert!(rate.take(2, Instant(3_600_000_001)));
    }
}
