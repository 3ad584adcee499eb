//! Triggers of the policy: the tray reports what it sees, and the warden decides.
//!
//! It refuses to fire twice for one stretch of idleness.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use exeunt_domain::order::Demand;
use exeunt_domain::{Authority, Tier};
use exeunt_policy::{Policy, Seen};

use crate::answer::Caller;
use crate::warden::Warden;

/// How far an account's stretch of idleness has gone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stretch {
    idle: Duration,
    fired: Option<Tier>,
}

/// What fires for an account that is now idle for `idle`, and nothing that fired before in the same
/// stretch.
pub(crate) fn fires(policy: &Policy, stretch: &mut Stretch, idle: Duration) -> Option<Tier> {
    if idle < stretch.idle {
        *stretch = Stretch::default();
    }
    stretch.idle = idle;
    let due = policy.triggers.iter().filter(|trigger| match trigger.on {
        Seen::Idle => idle >= trigger.after,
    });
    let tier = due.map(|trigger| trigger.tier).max().filter(|tier| Some(*tier) > stretch.fired)?;
    stretch.fired = Some(tier);
    Some(tier)
}

impl Warden {
    /// The tray of an account reports that nobody touched its keyboard or pointer for so long.
    ///
    /// # Errors
    /// The transaction could not be named.
    pub(crate) fn idle(self: &Arc<Self>, caller: Caller, idle: Duration) -> anyhow::Result<()> {
        let policy = self.policy();
        let tier = {
            let mut all = self.idling.lock().unwrap_or_else(PoisonError::into_inner);
            let all: &mut BTreeMap<u32, Stretch> = &mut all;
            fires(&policy, all.entry(caller.uid).or_default(), idle)
        };
        let Some(tier) = tier else { return Ok(()) };
        let authority = Authority::LocalPolicy { trigger: "idle".into() };
        let subject =
            self.ledger.read(|state| state.session_of(caller.uid).map(|s| s.subject.clone()));
        self.close_here(caller.uid, |txn| Demand {
            txn,
            authority,
            tier,
            subject,
            reason: None,
            hand_over: false,
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_once_a_stretch_and_again_for_more() {
        let text = "[[trigger]]\non = \"idle\"\nafter = \"1m\"\ntier = \"lock\"\n\
                    [[trigger]]\non = \"idle\"\nafter = \"1h\"\ntier = \"sign-out\"\n";
        let policy = Policy::parse("p", text).unwrap();
        let mut stretch = Stretch::default();
        let mut at = |secs| fires(&policy, &mut stretch, Duration::from_secs(secs));
        assert_eq!(at(59), None);
        assert_eq!(at(60), Some(Tier::Lock));
        assert_eq!(at(120), None);
        assert_eq!(at(3600), Some(Tier::SignOut));
        assert_eq!(at(3700), None);
        // Somebody came back, and left again.
        assert_eq!(at(1), None);
        assert_eq!(at(61), Some(Tier::Lock));
    }
}
