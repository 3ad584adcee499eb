//! Any text as a policy: a policy or a mistake with its place, never a panic.
#![no_main]

use exeunt_policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(policy) = Policy::parse("policy.toml", text) {
        assert!(policy.widens(&policy).is_empty());
    }
});
