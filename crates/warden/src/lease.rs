//! A lease as it runs down, and the few orders of the last hour: both counted on `CLOCK_BOOTTIME`.
//!
//! It refuses the wall clock and the hub's: neither can make a lease longer or shorter, nor an hour.

use std::time::Duration;

use exeunt_domain::Instant;
use serde::{Deserialize, Serialize};

/// One hour, in microseconds.
const HOUR_US: u64 = 3_600_000_000;

/// A moment on this machine: `CLOCK_BOOTTIME` begins anew with every boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Here {
    /// The kernel's name of this boot.
    pub(crate) boot: String,
    /// Since it began, time asleep included.
    pub(crate) at: Instant,
}

impl Here {
    /// Microseconds since `earlier`. Of another boot only the time since this one began is known:
    /// what the machine was off is not counted.
    pub(crate) fn since_us(&self, earlier: &Here) -> u64 {
        if self.boot == earlier.boot { self.at.0.saturating_sub(earlier.at.0) } else { self.at.0 }
    }
}

/// A lease, and how much of it was left when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// The nonce that earned it.
    pub(crate) grant: String,
    /// When it was looked at.
    pub(crate) seen: Here,
    /// Microseconds left then.
    pub(crate) left_us: u64,
}

impl Lease {
    /// A whole lease, counted from when it was asked for: an answer that was kept back is worth less.
    pub(crate) fn granted(grant: String, asked: Here, lasts: Duration) -> Self {
        let left_us = u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX);
        Self { grant, seen: asked, left_us }
    }

    /// What is left now.
    pub(crate) fn left(&self, now: &Here) -> Duration {
        Duration::from_micros(self.left_us.saturating_sub(now.since_us(&self.seen)))
    }

    /// The same lease as of now; a policy may have made it shorter.
    pub(crate) fn noted(&self, now: &Here, lasts: Duration) -> Self {
        let left = self.left(now).min(lasts);
        let left_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        Self { grant: self.grant.clone(), seen: now.clone(), left_us }
    }

    /// Of two notes of one lease, the one with less left.
    pub(crate) fn or_less(self, other: Option<Lease>, now: &Here) -> Self {
        match other {
            Some(other) if other.grant == self.grant && other.left(now) < self.left(now) => other,
            Some(_) | None => self,
        }
    }
}

/// How many of `taken` lie within the last hour.
pub(crate) fn within_hour<'a>(taken: impl Iterator<Item = &'a Here>, now: &Here) -> u64 {
    taken.filter(|earlier| now.since_us(earlier) < HOUR_US).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_engine::ports::Clock as _;
    use exeunt_testkit::FakeClock;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR_MS: u64 = 3_600_000;

    /// The warden's own reading: the wall clock is not among what a lease is judged by.
    fn here(clock: &FakeClock, boot: &str) -> Here {
        Here { boot: boot.into(), at: clock.instant() }
    }

    #[test]
    fn runs_down_with_the_boot_clock_asleep_or_not_and_ends() {
        let clock = FakeClock::at(1_700_000_000_000);
        let lease = Lease::granted("n".into(), here(&clock, "b1"), DAY);
        // A suspended machine: the boot clock has gone on when it wakes.
        clock.advance_ms(23 * HOUR_MS);
        assert_eq!(lease.left(&here(&clock, "b1")), Duration::from_secs(3600));
        clock.advance_ms(HOUR_MS);
        assert_eq!(lease.left(&here(&clock, "b1")), Duration::ZERO);
    }

    /// A wall clock that is turned back, or on, changes nothing: another machine's wall time, the
    /// same boot clock.
    #[test]
    fn no_wall_clock_makes_it_longer_or_shorter() {
        let lefts = [1_u64, 1_700_000_000_000, 4_000_000_000_000].map(|wall| {
            let clock = FakeClock::at(wall);
            let lease = Lease::granted("n".into(), here(&clock, "b1"), DAY);
            clock.advance_ms(HOUR_MS);
            lease.left(&here(&clock, "b1"))
        });
        assert_eq!(lefts, [Duration::from_secs(23 * 3600); 3]);
    }

    #[test]
    fn a_restarted_machine_goes_on_where_the_last_note_was() {
        let before = FakeClock::at(0);
        let lease = Lease::granted("n".into(), here(&before, "b1"), DAY);
        before.advance_ms(20 * HOUR_MS);
        let noted = lease.noted(&here(&before, "b1"), DAY);
        // A fresh boot clock that is one second old.
        let after = FakeClock::at(0);
        assert_eq!(noted.left(&here(&after, "b2")), Duration::from_secs(4 * 3600 - 1));
        // Without the note the journal alone would give the whole day back.
        let now = here(&after, "b2");
        assert_eq!(lease.or_less(Some(noted), &now).left(&now).as_secs(), 4 * 3600 - 1);
    }

    #[test]
    fn a_note_of_an_older_lease_does_not_shorten_a_new_one() {
        let clock = FakeClock::at(0);
        let old = Lease::granted("old".into(), here(&clock, "b1"), Duration::ZERO);
        let new = Lease::granted("new".into(), here(&clock, "b1"), DAY);
        assert_eq!(new.clone().or_less(Some(old), &here(&clock, "b1")), new);
    }

    #[test]
    fn an_answer_that_was_kept_back_is_worth_less() {
        let clock = FakeClock::at(0);
        let asked = here(&clock, "b1");
        clock.advance_ms(10 * HOUR_MS);
        let lease = Lease::granted("n".into(), asked, DAY);
        assert_eq!(lease.left(&here(&clock, "b1")), Duration::from_secs(14 * 3600));
    }

    #[test]
    fn orders_of_the_last_hour_count_across_a_restart_of_the_machine() {
        let clock = FakeClock::at(0);
        let taken = [here(&clock, "b1"), here(&clock, "b1")];
        clock.advance_ms(HOUR_MS - 1);
        assert_eq!(within_hour(taken.iter(), &here(&clock, "b1")), 2);
        // How long it was off is not known: they count until this boot is an hour old.
        let fresh = FakeClock::at(0);
        assert_eq!(within_hour(taken.iter(), &here(&fresh, "b2")), 2);
        fresh.advance_ms(HOUR_MS);
        assert_eq!(within_hour(taken.iter(), &here(&fresh, "b2")), 0);
    }
}
