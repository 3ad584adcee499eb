//! In what ways one policy gives more power over a device than another.
//!
//! It refuses to weigh: whatever ends more, or sooner, or speaks for more people, is listed.

use std::time::Duration;

use crate::{LockFallback, Policy, Rule, Trigger};

/// See [`Policy::widens`].
pub(crate) fn widens(after: &Policy, before: &Policy) -> Vec<String> {
    let mut ways = Vec::new();
    lease(after, before, &mut ways);
    for trigger in &after.triggers {
        if !before.triggers.iter().any(|earlier| ends_no_less(earlier, trigger)) {
            let (on, secs) = (trigger.on.as_str(), trigger.after.as_secs());
            ways.push(format!("{on} for {secs} s ends more than before: {}", trigger.tier));
        }
    }
    let ends = Some(LockFallback::EndSession);
    if after.lock_fallback == ends && before.lock_fallback != ends {
        ways.push("a login session is ended where no lock can be proved".into());
    }
    subjects(after, before, &mut ways);
    ways
}

fn lease(after: &Policy, before: &Policy, ways: &mut Vec<String>) {
    let lasts = |policy: &Policy| policy.lease.lasts.unwrap_or(Duration::MAX);
    if lasts(after) < lasts(before) {
        ways.push(format!("the lease is shorter: {} s", lasts(after).as_secs()));
    }
    if after.lease.tier > before.lease.tier {
        ways.push(format!("a lapsed lease ends more: {}", after.lease.tier));
    }
}

/// Whether `earlier` fires for the same, no later, and ends no less.
fn ends_no_less(earlier: &Trigger, trigger: &Trigger) -> bool {
    earlier.on == trigger.on && earlier.after <= trigger.after && earlier.tier >= trigger.tier
}

fn subjects(after: &Policy, before: &Policy, ways: &mut Vec<String>) {
    let covered = |pattern| before.subjects.attest.iter().any(|wide| wide.covers(pattern));
    if !after.subjects.attest.iter().all(covered) {
        ways.push("root may vouch for more people".into());
    }
    let same_rule = match (&after.subjects.rule, &before.subjects.rule) {
        (Rule::Template(one), Rule::Template(other)) => one == other,
        (Rule::Fixed(one), Rule::Fixed(other)) => one == other,
        (Rule::Template(_), Rule::Fixed(_)) | (Rule::Fixed(_), Rule::Template(_)) => false,
    };
    if !same_rule || after.subjects.accounts != before.subjects.accounts {
        ways.push("accounts speak for other people".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("policy.toml", text).unwrap()
    }

    fn ways(before: &str, after: &str) -> usize {
        policy(after).widens(&policy(before)).len()
    }

    #[test]
    fn the_same_policy_and_a_milder_one_widen_nothing() {
        let strict = "[lease]\nlasts = \"1d\"\ntier = \"sign-out\"\n\
                      [[trigger]]\non = \"idle\"\nafter = \"5m\"\ntier = \"sign-out\"\n";
        let mild = "[lease]\nlasts = \"2d\"\n\
                    [[trigger]]\non = \"idle\"\nafter = \"10m\"\ntier = \"lock\"\n";
        assert_eq!(ways(strict, strict), 0);
        assert_eq!(ways(strict, mild), 0);
        assert_eq!(ways(strict, "[lease]\nlasts = \"forever\""), 0);
        assert!(ways(mild, strict) >= 3);
    }

    #[test]
    fn each_way_to_more_power_is_named() {
        for after in [
            "[lease]\nlasts = \"6d\"",
            "[lease]\ntier = \"sign-out\"",
            "[[trigger]]\non = \"idle\"\nafter = \"5m\"\ntier = \"lock\"",
            "[lock]\nfallback = \"end-session\"",
            "[subjects]\nfixed = \"ceo\"",
            "[subjects]\ntemplate = \"{user}@corp.example\"",
            "[subjects.accounts]\nalice = \"ceo\"",
        ] {
            assert_eq!(ways("", after), 1, "{after}");
        }
        assert_eq!(ways("[subjects]\nattest = [\"a*\"]", "[subjects]\nattest = [\"*\"]"), 1);
        assert_eq!(ways("[subjects]\nattest = [\"*\"]", "[subjects]\nattest = [\"a*\"]"), 0);
    }
}
