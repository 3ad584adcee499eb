//! Keys that are hashed once, when they are parsed, and then only compared.
//!
//! It refuses to be steered: the table's own hash is keyed afresh in every process.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use exeunt_domain::Subject;
use exeunt_domain::session::SessionHash;
use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256 of a subject's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectHash([u64; 2]);

/// The first 128 bits of a session's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey([u64; 2]);

impl SubjectHash {
    /// Hashes a subject by its canonical key.
    #[must_use]
    pub fn of(subject: &Subject) -> Self {
        Self::of_key(&subject.key())
    }

    /// Hashes a subject's canonical key, as `Subject::key` wrote it.
    #[must_use]
    pub fn of_key(key: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        Self(halves(&digest))
    }
}

impl From<&SessionHash> for SessionKey {
    fn from(hash: &SessionHash) -> Self {
        Self(halves(&hash.0))
    }
}

impl Hash for SubjectHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
        state.write_u64(self.0[1]);
    }
}

impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
        state.write_u64(self.0[1]);
    }
}

fn halves(digest: &[u8; 32]) -> [u64; 2] {
    let word = |at: usize| digest[at..at + 8].iter().fold(0, |w, b| w << 8 | u64::from(*b));
    [word(0), word(8)]
}

/// Builds hashers for keys that are digests already: one multiplication each, under random keys,
/// so that nobody outside can choose subjects that share a bucket.
#[derive(Clone, Debug)]
pub struct Keyed([u64; 2]);

impl Default for Keyed {
    fn default() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0_u8), random.hash_one(1_u8)])
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { keys: self.0, words: [0; 2], at: 0 }
    }
}

/// Folds two words under two keys.
#[derive(Debug)]
pub struct KeyedHasher {
    keys: [u64; 2],
    words: [u64; 2],
    at: usize,
}

impl Hasher for KeyedHasher {
    fn write_u64(&mut self, word: u64) {
        self.words[self.at & 1] ^= word;
        self.at += 1;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.write_u64(chunk.iter().fold(0, |w, b| w << 8 | u64::from(*b)));
        }
    }

    fn finish(&self) -> u64 {
        let left = u128::from(self.words[0] ^ self.keys[0]);
        let right = u128::from(self.words[1] ^ self.keys[1]);
        let product = left * right;
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(product >> 64).unwrap_or_default();
        low ^ high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_subjects_hash_alike_however_they_are_written() {
        let typed = Subject::parse("Alice@Corp.example").unwrap();
        assert_eq!(SubjectHash::of(&typed), SubjectHash::of_key("alice@corp.example"));
        assert_ne!(SubjectHash::of_key("alice"), SubjectHash::of_key("bob"));
    }

    #[test]
    fn two_tables_hash_the_same_key_differently() {
        let key = SubjectHash::of_key("alice");
        assert_ne!(Keyed::default().hash_one(key), Keyed::default().hash_one(key));
    }
}
