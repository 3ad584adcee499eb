//! Policies as people write them, and what they are told when they err.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::time::Duration;

use exeunt_domain::{Subject, Tier};
use exeunt_policy::{LockFallback, Policy, PolicyError, Seen};
use proptest::prelude::*;

const WHOLE: &str = include_str!("../../../docs/policy.example.toml");

fn policy(text: &str) -> Policy {
    Policy::parse("policy.toml", text).unwrap()
}

fn mistake(text: &str) -> String {
    Policy::parse("policy.toml", text).unwrap_err().to_string()
}

#[test]
fn reads_the_example_of_the_documentation() {
    let policy = policy(WHOLE);
    assert_eq!(policy.subjects.of("alice"), "alice@corp.example");
    assert_eq!(policy.subjects.of("kiosk"), "front-desk@corp.example");
    assert!(!policy.subjects.may_attest(&Subject::parse("ceo@elsewhere.example").unwrap()));
    assert_eq!(policy.triggers[0].on, Seen::Idle);
    assert_eq!(policy.triggers[0].after, Duration::from_secs(900));
    assert_eq!(policy.lease.lasts, Some(Duration::from_secs(3 * 86_400)));
    assert_eq!(policy.lease.tier, Tier::SignOut);
    assert_eq!(policy.lock_fallback, Some(LockFallback::EndSession));
}

#[test]
fn an_empty_policy_is_the_usual_one() {
    assert_eq!(policy(""), Policy::default());
    assert_eq!(policy("").lease.tier, Tier::Lock);
}

#[test]
fn an_event_ends_what_is_named_and_never_more_than_its_transmitters_ceiling() {
    let policy = policy("[events]\naccount-disabled = \"lock\"\ncredential-change = \"nothing\"\n");
    let risc = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
    let caep = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
    assert_eq!(policy.tier_of(risc, Tier::SignOut), Some(Tier::Lock));
    assert_eq!(policy.tier_of(caep, Tier::SignOut), None);
    let other = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    assert_eq!(policy.tier_of(other, Tier::Lock), Some(Tier::Lock));
}

#[test]
fn an_event_that_no_policy_names_does_the_usual_and_an_unknown_one_nothing() {
    let caep = |name: &str| format!("https://schemas.openid.net/secevent/caep/event-type/{name}");
    let usual = Policy::default();
    assert_eq!(usual.tier_of(&caep("session-revoked"), Tier::SignOut), Some(Tier::SignOut));
    for quiet in ["device-compliance-change", "risk-level-change", "session-established", "x"] {
        assert_eq!(usual.tier_of(&caep(quiet), Tier::SignOut), None, "{quiet}");
    }
    let strict = policy("[events]\nrisk-level-change = \"sign-out\"\n");
    assert_eq!(strict.tier_of(&caep("risk-level-change"), Tier::SignOut), Some(Tier::SignOut));
    assert_eq!(strict.tier_of(&caep("risk-level-change"), Tier::Lock), Some(Tier::Lock));
    for event in exeunt_policy::events::EVENTS {
        let text = format!("[events]\n{} = \"lock\"\n", event.name);
        assert!(Policy::parse("p", &text).is_ok(), "{}", event.name);
    }
}

#[test]
fn names_line_and_column_of_each_mistake() {
    for (text, place, words) in [
        ("[lease]\nlast = \"1d\"", "policy.toml:2:1", "unknown field"),
        ("[lease]\nlasts = \"soon\"", "policy.toml:2:9", "90s, 15m, 8h or 7d"),
        ("[lease]\nlasts = \"5s\"", "policy.toml:2:9", "at least 60s"),
        ("[subjects]\ntemplate = \"boss\"", "policy.toml:2:12", "{user}"),
        ("[subjects]\nattest = [\"a\", \"*@*\"]", "policy.toml:2:16", "at most one *"),
        ("[events]\nsunrise = \"lock\"", "policy.toml:2:1", "no event"),
        ("[events]\naccount-disabled = \"purge\"", "policy.toml:2:20", "nothing, lock or sign-out"),
        (
            "[[trigger]]\non = \"idle\"\nafter = \"1m\"\ntier = \"purge\"",
            "policy.toml:4:8",
            "lock or sign-out",
        ),
        ("[lock]\nfallback = \"hope\"", "policy.toml:2:12", "unknown variant"),
        ("[lease\n", "policy.toml:1:7", ""),
    ] {
        let said = mistake(text);
        assert!(said.starts_with(place) && said.contains(words), "{text:?}: {said}");
    }
}

#[test]
fn a_policy_over_its_limit_is_refused_unread() {
    let long = format!("# {}", "x".repeat(64 << 10));
    assert_eq!(Policy::parse("p", &long).unwrap_err(), PolicyError::TooLong("p".into()));
}

#[test]
fn every_text_of_the_corpus_is_a_policy_or_an_error() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/policy");
    let (mut policies, mut errors) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        match Policy::parse("corpus", &String::from_utf8_lossy(&text)) {
            Ok(_) => policies += 1,
            Err(_) => errors += 1,
        }
    }
    assert!(policies >= 2 && errors >= 3, "{policies} policies, {errors} errors");
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_an_error_and_never_a_panic(text in ".{0,400}") {
        let _read = Policy::parse("any", &text);
    }

    /// Words of the format in any order reach deeper than random text.
    #[test]
    fn any_heap_of_its_words_is_a_policy_or_an_error(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "[lease]\n", "lasts", " = ", "\"7d\"", "\"forever\"", "tier", "\"purge\"", "\n",
                "[[trigger]]\n", "on", "\"idle\"", "after", "[subjects]\n", "template",
                "\"{user}\"", "attest", "[\"*\"]", "[events]\n", "session-revoked", "\"é\"", "'''",
                "999999999999999999999d", "{", "}",
            ]), 0..40)
    ) {
        let text = words.concat();
        match Policy::parse("words", &text) {
            // Whatever was read widens nothing over itself.
            Ok(policy) => prop_assert!(policy.widens(&policy).is_empty()),
            Err(error) => prop_assert!(error.to_string().starts_with("words")),
        }
    }
}
