//! The signed head: which row was the last, under the hub's key, in a file beside the database.
//!
//! It refuses to go back: it is written in two slots in turn, so that a torn write leaves the
//! older one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use exeunt_domain::Timestamp;
use exeunt_domain::session::hex;
use exeunt_ssf::{Jwks, SigningKey};
use serde::{Deserialize, Serialize};

use crate::store::Head;

/// The file's name within the data directory.
pub const FILE: &str = "audit-head";
/// The `typ` of the signed head.
const TYP: &str = "exeunt-audit-head+jwt";
const AUDIENCE: &str = "exeunt-audit";
const SLOT: usize = 1024;

/// The head file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It cannot be read or written.
    #[error("the signed head cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Neither slot carries a head of this hub's key.
    #[error("the signed head is damaged, or signed by another key")]
    Unsigned,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// The head never expires; the form asks for a time.
    exp: u64,
    seq: u64,
    hash: String,
    at: Timestamp,
}

/// Writes signed heads.
#[derive(Debug)]
pub struct HeadFile {
    file: File,
    next: u64,
}

impl HeadFile {
    /// Opens or creates the file in `data`; `keys` tell which slot holds the newer head.
    ///
    /// # Errors
    /// [`HeadError::Io`].
    pub fn open(data: &Path, keys: &Jwks) -> Result<Self, HeadError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(data.join(FILE))?;
        let bytes = std::fs::read(data.join(FILE))?;
        if bytes.len() < 2 * SLOT {
            file.write_all_at(&[b'\n'; 2 * SLOT], 0)?;
            file.sync_all()?;
        }
        let seqs: Vec<u64> =
            bytes.chunks(SLOT).map(|slot| head_of(slot, keys).map_or(0, |h| h.seq)).collect();
        let first_is_newer = seqs.first().copied() > seqs.get(1).copied();
        Ok(Self { file, next: u64::from(first_is_newer) })
    }

    /// Signs `head` and makes it durable in the slot that holds the older one.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn write(
        &mut self,
        key: &SigningKey,
        head: &Head,
        now: Timestamp,
    ) -> Result<(), HeadError> {
        let mut slot = sign(key, head, now)?.into_bytes();
        slot.resize(SLOT, b'\n');
        self.file.write_all_at(&slot, (self.next & 1) * SLOT as u64)?;
        self.file.sync_data()?;
        self.next += 1;
        Ok(())
    }
}

/// Signs `head`.
///
/// # Errors
/// [`HeadError::Unsigned`].
pub fn sign(key: &SigningKey, head: &Head, now: Timestamp) -> Result<String, HeadError> {
    let hash = hex(&head.hash);
    let claims = Claims { aud: AUDIENCE.into(), exp: u64::MAX / 4, seq: head.seq, hash, at: now };
    key.sign_jwt(TYP, &claims).map_err(|_| HeadError::Unsigned)
}

/// The head that `compact` carries, if one of `keys` signed it.
#[must_use]
pub fn believe(compact: &str, keys: &Jwks) -> Option<Head> {
    head_of(compact.as_bytes(), keys)
}

/// Reads the newest head that the hub's key signed; None when the file is absent or empty.
///
/// # Errors
/// [`HeadError`].
pub fn read(data: &Path, keys: &Jwks) -> Result<Option<Head>, HeadError> {
    let bytes = match std::fs::read(data.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Nothing, or the space that was set aside for heads.
    if bytes.iter().all(|byte| *byte == b'\n') {
        return Ok(None);
    }
    let newest = bytes.chunks(SLOT).filter_map(|slot| head_of(slot, keys)).max_by_key(|h| h.seq);
    newest.map(Some).ok_or(HeadError::Unsigned)
}

fn head_of(slot: &[u8], keys: &Jwks) -> Option<Head> {
    let compact = std::str::from_utf8(slot).ok()?.trim();
    let claims: Claims = exeunt_ssf::verify_jwt(compact, keys, TYP, AUDIENCE, Timestamp(0)).ok()?;
    let mut hash = [0_u8; 32];
    if claims.hash.len() != 64 {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(claims.hash.get(at..at + 2)?, 16).ok()?;
    }
    Some(Head { seq: claims.seq, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_the_newest_head_and_survives_a_torn_slot() {
        let data = tempfile::tempdir().unwrap();
        let key = SigningKey::generate().unwrap();
        let keys = Jwks::of(key.jwk());
        assert!(read(data.path(), &keys).unwrap().is_none());
        let mut file = HeadFile::open(data.path(), &Jwks::of(key.jwk())).unwrap();
        let head = |seq| Head { seq, hash: [seq as u8; 32] };
        for seq in 1..=3 {
            file.write(&key, &head(seq), Timestamp(1)).unwrap();
        }
        assert_eq!(read(data.path(), &keys).unwrap(), Some(head(3)));
        file.file.write_all_at(b"torn", 40).unwrap();
        assert_eq!(read(data.path(), &keys).unwrap(), Some(head(2)));
        HeadFile::open(data.path(), &keys).unwrap().write(&key, &head(4), Timestamp(1)).unwrap();
        file.file.write_all_at(b"torn", SLOT as u64).unwrap();
        assert_eq!(read(data.path(), &keys).unwrap(), Some(head(4)));
    }

    #[test]
    fn refuses_a_head_of_another_key() {
        let data = tempfile::tempdir().unwrap();
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let mut file = HeadFile::open(data.path(), &Jwks::of(key.jwk())).unwrap();
        file.write(&key, &Head { seq: 1, hash: [1; 32] }, Timestamp(1)).unwrap();
        let read = read(data.path(), &Jwks::of(other.jwk()));
        assert!(matches!(read, Err(HeadError::Unsigned)));
    }
}
