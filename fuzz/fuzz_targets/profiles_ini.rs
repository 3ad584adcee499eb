//! Any bytes as a `profiles.ini`: paths or none, never a panic.
#![no_main]

use exeunt_engine::profile_paths;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for path in profile_paths(bytes) {
        assert!(!path.is_empty() && !path.contains(&b'\n'));
    }
});
