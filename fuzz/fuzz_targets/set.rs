//! Any text handed to the SET reader, the verifier and the enrolment token's reader: an answer,
//! never a panic, and never a belief without a key.
#![no_main]

use exeunt_ssf::{EnrolToken, Expected, Jwks, read_unverified, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = read_unverified(text);
    let expected = Expected { issuer: None, audience: "occ-07".into() };
    assert!(verify(text, &Jwks::default(), &expected).is_err());
    let _ = EnrolToken::decode(text);
});
