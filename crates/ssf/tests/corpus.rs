//! Replays the fuzz corpus of SETs and enrolment tokens.

use exeunt_ssf::{EnrolToken, Expected, Jwks, read_unverified, verify};

#[test]
fn no_text_of_the_corpus_is_believed_or_panics() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/set");
    let expected = Expected { issuer: None, audience: "occ-07".into() };
    let mut replayed = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let _read = read_unverified(&text);
        let _token = EnrolToken::decode(&text);
        assert!(verify(&text, &Jwks::default(), &expected).is_err());
        replayed += 1;
    }
    assert!(replayed >= 4, "the corpus is missing");
}
