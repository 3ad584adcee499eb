//! How long to wait after a failure: full jitter under a doubling ceiling.
//!
//! It refuses to wait before the first reconnect after a clean close, and to come back sooner than
//! a server asked.

use std::time::Duration;

use crate::transport::TransportError;

/// The ceiling of the first wait.
pub const FIRST_CEILING: Duration = Duration::from_secs(10);
/// The ceiling of every wait that no server asked for.
pub const MAX_CEILING: Duration = Duration::from_secs(90);
/// The longest `Retry-After` that is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(900);

/// Counts failures in a row and turns each into a wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Forgets every failure: the other side answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The wait after one more failure, drawn at random.
    pub fn failed(&mut self, error: &TransportError) -> Duration {
        // Without randomness every device waits for half the ceiling, which is still bounded.
        let draw = getrandom::u32().unwrap_or(u32::MAX / 2);
        self.failed_drawing(error, f64::from(draw) / f64::from(u32::MAX))
    }

    /// The wait after one more failure, where `draw` in 0..=1 chooses between none and the ceiling.
    pub fn failed_drawing(&mut self, error: &TransportError, draw: f64) -> Duration {
        let before = self.failures;
        self.failures = self.failures.saturating_add(1);
        if let TransportError::Busy { retry_after: Some(asked), .. } = error {
            return (*asked).min(MAX_RETRY_AFTER) + FIRST_CEILING.mul_f64(draw.clamp(0.0, 1.0));
        }
        if before == 0 && matches!(error, TransportError::Closed) {
            return Duration::ZERO;
        }
        ceiling(before).mul_f64(draw.clamp(0.0, 1.0))
    }
}

/// The longest wait after `earlier` failures in a row.
#[must_use]
pub fn ceiling(earlier: u32) -> Duration {
    let doubled = 1_u32.checked_shl(earlier.min(16)).unwrap_or(u32::MAX);
    FIRST_CEILING.saturating_mul(doubled).min(MAX_CEILING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> TransportError {
        TransportError::Unreachable("refused".into())
    }

    #[test]
    fn doubles_from_ten_seconds_and_stops_at_ninety() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> =
            (0..40).map(|_| backoff.failed_drawing(&unreachable(), 1.0).as_secs()).collect();
        assert_eq!(waits[..5], [10, 20, 40, 80, 90]);
        assert!(waits[5..].iter().all(|secs| *secs == 90));
    }

    #[test]
    fn spreads_each_wait_from_zero_to_the_ceiling() {
        for draw in [0.0, 0.25, 1.0] {
            let wait = Backoff::default().failed_drawing(&unreachable(), draw);
            assert_eq!(wait, FIRST_CEILING.mul_f64(draw));
        }
    }

    #[test]
    fn reconnects_at_once_after_the_first_clean_close_only() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed_drawing(&TransportError::Closed, 1.0), Duration::ZERO);
        assert!(backoff.failed_drawing(&TransportError::Closed, 1.0) > Duration::ZERO);
        backoff.succeeded();
        assert_eq!(backoff.failed_drawing(&TransportError::Closed, 1.0), Duration::ZERO);
    }

    #[test]
    fn never_comes_back_sooner_than_a_server_asked_and_never_waits_for_ever() {
        let asked = |secs| TransportError::Busy {
            status: 503,
            retry_after: Some(Duration::from_secs(secs)),
        };
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed_drawing(&asked(30), 0.0), Duration::from_secs(30));
        assert!(backoff.failed_drawing(&asked(u64::MAX), 1.0) <= MAX_RETRY_AFTER + FIRST_CEILING);
    }
}
