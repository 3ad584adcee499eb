//! What a relying service and the hub say to each other: sessions begun and ended, the revocation
//! state and its changes.
//!
//! It refuses gaps and times in seconds: a batch of deltas names the sequence that it follows, and
//! every time is in milliseconds since the Unix epoch.

use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionId, SessionKind, Subject, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Batch, Delta, RevocationState, SubjectHash, Watermark};

/// Sessions of the calling service: `POST` registers, `DELETE` below it ends.
pub const SESSIONS: &str = "/v1/sessions";
/// Sessions of the calling service that were in use lately.
pub const SEEN: &str = "/v1/seen";
/// One check.
pub const CHECK: &str = "/v1/check";
/// The revocation state as a whole.
pub const SNAPSHOT: &str = "/v1/check/snapshot";
/// The revocation state's changes, by long poll.
pub const DELTAS: &str = "/v1/check/deltas";
/// The token endpoint (RFC 6749 §3.2): `client_credentials` by secret.
pub const TOKEN: &str = "/oauth/token";

/// The revocation state as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotResponse {
    /// Up to which sequence it is complete.
    pub seq: u64,
    /// The asking service's own audience, by which it hashes session ids.
    #[serde(default)]
    pub aud: String,
    /// Subject key, sequence, and hub time in milliseconds.
    pub watermarks: Vec<(String, u64, Timestamp)>,
    /// Session hash in hexadecimal, and sequence.
    pub denied: Vec<(String, u64)>,
}

/// What to ask of [`DELTAS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltasQuery {
    /// What the caller already holds; it also reports how far the caller's check is.
    pub after: u64,
    /// Seconds to wait for a change, at most 25.
    #[serde(default)]
    pub wait: u64,
    /// Names one process of a service that runs several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Changes, in order, complete from `after` to `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltasResponse {
    /// The sequence these follow.
    pub after: u64,
    /// Up to which sequence they are complete; a heartbeat has no deltas.
    pub seq: u64,
    /// Each change.
    pub deltas: Vec<WireDelta>,
}

/// One change of the revocation state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "delta", rename_all = "snake_case")]
pub enum WireDelta {
    /// Every session of the subject up to `seq` is dead.
    Watermark {
        /// The subject's key.
        subject: String,
        /// The sequence.
        seq: u64,
        /// Hub time.
        at: Timestamp,
    },
    /// One session is dead.
    Denied {
        /// Its hash in hexadecimal.
        session: String,
        /// The sequence.
        seq: u64,
    },
}

/// What to ask of [`CHECK`]. 204: accepted; 401: refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// The subject's key.
    pub subject: String,
    /// The session's id at the asking service.
    pub session: String,
    /// The `seq` that its registration answered.
    pub issued_seq: u64,
}

/// A session that a relying service has just begun. `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Whose.
    pub subject: Subject,
    /// Its id at the service; the hub keeps only the hash.
    pub session_id: SessionId,
    /// What it is.
    pub kind: SessionKind,
    /// When the person really authenticated, in milliseconds: an identity provider's `auth_time`,
    /// never the time of this call.
    pub auth_time: Timestamp,
    /// The device, if the service knows it; for people, it directs no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// A phrase a person recognises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where, for people; the service's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The identity provider's `sid`, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp_sid: Option<String>,
    /// The identity provider's ID token, as it came: its names of the person become one subject's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// When the service ends it at the latest, in milliseconds: the hub ends it then, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Sessions of the calling service that were in use lately. `POST /v1/seen`, every few
/// minutes and never at each request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenRequest {
    /// Their ids, at most 1,000.
    pub session_ids: Vec<SessionId>,
}

/// The registration's place in the hub's sequence; keep it with the session, the check wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionResponse {
    /// Always 1.
    pub v: u16,
    /// Its sequence number.
    pub seq: u64,
}

/// The message holds no hash where one belongs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no session hash of 64 hexadecimal digits")]
pub struct InvalidHash(pub String);

impl SnapshotResponse {
    /// The state it stands for.
    ///
    /// # Errors
    /// [`InvalidHash`].
    pub fn state(&self) -> Result<RevocationState, InvalidHash> {
        let marks = self.watermarks.iter().map(|(subject, seq, at)| {
            (SubjectHash::of_key(subject), Watermark { seq: *seq, at: *at })
        });
        let denied = self.denied.iter().map(|(hex, seq)| Ok((read_hash(hex)?, *seq)));
        let denied = denied.collect::<Result<Vec<_>, InvalidHash>>()?;
        Ok(RevocationState::restore(self.seq, marks, denied))
    }
}

impl DeltasResponse {
    /// The batch it stands for.
    ///
    /// # Errors
    /// [`InvalidHash`].
    pub fn batch(&self) -> Result<Batch, InvalidHash> {
        let deltas = self.deltas.iter().map(|delta| match delta {
            WireDelta::Watermark { subject, seq, at } => Ok(Delta::Watermark {
                subject: SubjectHash::of_key(subject),
                mark: Watermark { seq: *seq, at: *at },
            }),
            WireDelta::Denied { session, seq } => {
                Ok(Delta::Denied { session: read_hash(session)?, seq: *seq })
            }
        });
        let deltas = deltas.collect::<Result<Vec<_>, InvalidHash>>()?;
        Ok(Batch { after: self.after, seq: self.seq, deltas })
    }
}

fn read_hash(hex: &str) -> Result<SessionHash, InvalidHash> {
    let invalid = || InvalidHash(hex.chars().take(80).collect());
    if hex.len() != 64 || !hex.is_ascii() {
        return Err(invalid());
    }
    let mut hash = [0_u8; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).map_err(|_| invalid())?;
    }
    Ok(SessionHash(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_a_hash_is_written_as() {
        let hash = SessionHash::of("site", &SessionId::parse("s").unwrap());
        assert_eq!(read_hash(&hash.to_hex()), Ok(hash));
        for bad in ["", "xyz", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert!(read_hash(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_snapshot_and_its_deltas_make_the_state() {
        let snapshot = SnapshotResponse {
            seq: 3,
            aud: "site".into(),
            watermarks: vec![("alice".into(), 2, Timestamp(5))],
            denied: vec![],
        };
        let mut state = snapshot.state().unwrap();
        let watermark = WireDelta::Watermark { subject: "bob".into(), seq: 4, at: Timestamp(6) };
        let deltas = DeltasResponse { after: 3, seq: 4, deltas: vec![watermark] };
        state.apply(&deltas.batch().unwrap()).unwrap();
        assert!(state.at_least(4));
        assert_eq!(state.watermark(SubjectHash::of_key("alice")).map(|mark| mark.seq), Some(2));
        assert_eq!(state.watermark(SubjectHash::of_key("bob")).map(|mark| mark.seq), Some(4));
    }
}
