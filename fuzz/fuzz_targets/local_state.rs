//! Any bytes as a browser's `Local State`: single names or none, never a panic.
#![no_main]

use exeunt_engine::listed_profiles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in listed_profiles(bytes) {
        assert!(!name.as_bytes().contains(&b'/'));
    }
});
