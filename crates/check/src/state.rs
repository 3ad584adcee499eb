//! What is revoked: per subject the sequence up to which every session is dead, and single
//! sessions that are dead by name.
//!
//! It refuses to go back: a watermark only rises, a denial stays, and a gap is an error.

use std::collections::HashMap;

use exeunt_domain::Timestamp;
use exeunt_domain::session::SessionHash;

use crate::key::{Keyed, SessionKey, SubjectHash};

/// Up to where every session of a subject is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Sessions registered at this sequence or before are dead.
    pub seq: u64,
    /// Hub time of the revoke; an authentication before it begins no new session.
    pub at: Timestamp,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    /// A subject's watermark rose.
    Watermark {
        /// Whose.
        subject: SubjectHash,
        /// To where.
        mark: Watermark,
    },
    /// One session died.
    Denied {
        /// Which.
        session: SessionHash,
        /// At which sequence.
        seq: u64,
    },
}

impl Delta {
    /// The sequence of the commit that made it.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Delta::Watermark { mark, .. } => mark.seq,
            Delta::Denied { seq, .. } => *seq,
        }
    }
}

/// Changes in order, complete from `after` (exclusive) to `seq` (inclusive).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The sequence that the batch follows.
    pub after: u64,
    /// The sequence up to which it is complete.
    pub seq: u64,
    /// Each change, by ascending sequence.
    pub deltas: Vec<Delta>,
}

/// A batch that was not applied; the state is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Changes are missing between what is held and what the batch follows: take a snapshot.
    #[error("changes between {have} and {after} are missing")]
    Gap {
        /// The sequence held.
        have: u64,
        /// The sequence that the batch follows.
        after: u64,
    },
    /// A change lies outside the batch's own bounds, or out of order.
    #[error("the batch is out of order at {seq}")]
    OutOfOrder {
        /// The sequence of the offending change.
        seq: u64,
    },
}

/// Why a session is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its subject was signed out after it was registered.
    Watermark(Watermark),
    /// It was denied by name, at this sequence.
    Denied(u64),
}

impl Refusal {
    /// The sequence of the commit that killed it.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Refusal::Watermark(mark) => mark.seq,
            Refusal::Denied(seq) => *seq,
        }
    }
}

/// The whole revocation state, exact up to its sequence.
#[derive(Clone, Debug, Default)]
pub struct RevocationState {
    seq: u64,
    watermarks: HashMap<SubjectHash, Watermark, Keyed>,
    denied: HashMap<SessionKey, u64, Keyed>,
}

impl RevocationState {
    /// The state of a snapshot that is complete up to `seq`.
    #[must_use]
    pub fn restore(
        seq: u64,
        watermarks: impl IntoIterator<Item = (SubjectHash, Watermark)>,
        denied: impl IntoIterator<Item = (SessionHash, u64)>,
    ) -> Self {
        let denied = denied.into_iter().map(|(hash, seq)| (SessionKey::from(&hash), seq));
        Self { seq, watermarks: watermarks.into_iter().collect(), denied: denied.collect() }
    }

    /// The sequence up to which this state is complete.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether everything committed up to `seq` is known here.
    #[must_use]
    pub fn at_least(&self, seq: u64) -> bool {
        self.seq >= seq
    }

    /// A subject's watermark, if it was ever signed out.
    #[must_use]
    pub fn watermark(&self, subject: SubjectHash) -> Option<Watermark> {
        self.watermarks.get(&subject).copied()
    }

    /// Why the session is refused; None when it is accepted. A session is dead iff it was
    /// registered at or before its subject's watermark, or is denied by name.
    #[must_use]
    pub fn is_refused(
        &self,
        subject: SubjectHash,
        session: SessionKey,
        session_seq: u64,
    ) -> Option<Refusal> {
        if let Some(mark) = self.watermarks.get(&subject)
            && session_seq <= mark.seq
        {
            return Some(Refusal::Watermark(*mark));
        }
        self.denied.get(&session).map(|seq| Refusal::Denied(*seq))
    }

    /// Applies a batch. One that is wholly known already changes nothing; of one that overlaps,
    /// only the new part is applied.
    ///
    /// # Errors
    /// [`BatchError`]; the state is then as it was.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), BatchError> {
        if batch.after > self.seq {
            return Err(BatchError::Gap { have: self.seq, after: batch.after });
        }
        let mut last = batch.after;
        for delta in &batch.deltas {
            let seq = delta.seq();
            if seq <= batch.after || seq < last || seq > batch.seq {
                return Err(BatchError::OutOfOrder { seq });
            }
            last = seq;
        }
        let held = self.seq;
        for delta in batch.deltas.iter().filter(|delta| delta.seq() > held) {
            self.admit(delta);
        }
        self.seq = self.seq.max(batch.seq);
        Ok(())
    }

    fn admit(&mut self, delta: &Delta) {
        match delta {
            Delta::Watermark { subject, mark } => {
                let held = self.watermarks.entry(*subject).or_insert(*mark);
                if held.seq < mark.seq {
                    *held = *mark;
                }
            }
            Delta::Denied { session, seq } => {
                self.denied.entry(SessionKey::from(session)).or_insert(*seq);
            }
        }
    }

    /// How many watermarks and denials are held.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.watermarks.len(), self.denied.len())
    }

    /// Nobody was ever signed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watermarks.is_empty() && self.denied.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use exeunt_domain::SessionId;
    use proptest::prelude::*;

    use super::*;

    fn subject(n: u8) -> SubjectHash {
        SubjectHash::of_key(&format!("subject-{n}"))
    }

    fn session(n: u8) -> SessionHash {
        SessionHash::of("site", &SessionId::parse(format!("s{n}")).unwrap())
    }

    fn watermark(n: u8, seq: u64) -> Delta {
        Delta::Watermark { subject: subject(n), mark: Watermark { seq, at: Timestamp(seq) } }
    }

    fn refused(state: &RevocationState, who: u8, what: u8, seq: u64) -> Option<u64> {
        let hash = session(what);
        state.is_refused(subject(who), SessionKey::from(&hash), seq).map(|r| r.seq())
    }

    #[test]
    fn a_watermark_kills_older_sessions_and_spares_newer_ones() {
        let mut state = RevocationState::default();
        state.apply(&Batch { after: 0, seq: 5, deltas: vec![watermark(1, 5)] }).unwrap();
        assert_eq!(refused(&state, 1, 1, 4), Some(5));
        assert_eq!(refused(&state, 1, 1, 5), Some(5));
        assert_eq!(refused(&state, 1, 1, 6), None);
        assert_eq!(refused(&state, 2, 1, 1), None);
    }

    #[test]
    fn a_denial_kills_one_session_only() {
        let mut state = RevocationState::default();
        let deltas = vec![Delta::Denied { session: session(1), seq: 2 }];
        state.apply(&Batch { after: 0, seq: 2, deltas }).unwrap();
        assert_eq!(refused(&state, 1, 1, 1), Some(2));
        assert_eq!(refused(&state, 1, 2, 1), None);
    }

    #[test]
    fn a_gap_is_refused_and_changes_nothing() {
        let mut state = RevocationState::default();
        let gap = Batch { after: 3, seq: 5, deltas: vec![watermark(1, 5)] };
        assert_eq!(state.apply(&gap), Err(BatchError::Gap { have: 0, after: 3 }));
        assert_eq!((state.seq(), state.is_empty()), (0, true));
    }

    #[test]
    fn a_batch_out_of_its_own_bounds_changes_nothing() {
        let mut state = RevocationState::default();
        for deltas in [vec![watermark(1, 9)], vec![watermark(1, 3), watermark(2, 2)]] {
            let batch = Batch { after: 0, seq: 5, deltas };
            assert!(matches!(state.apply(&batch), Err(BatchError::OutOfOrder { .. })));
            assert!(state.is_empty());
        }
    }

    #[test]
    fn a_heartbeat_moves_the_sequence_alone() {
        let mut state = RevocationState::default();
        state.apply(&Batch { after: 0, seq: 7, deltas: vec![] }).unwrap();
        assert!(state.at_least(7) && !state.at_least(8) && state.is_empty());
    }

    /// Random histories: (is it a watermark, whose, which session).
    fn history() -> impl Strategy<Value = Vec<(bool, u8, u8)>> {
        proptest::collection::vec((any::<bool>(), 0..4_u8, 0..8_u8), 0..40)
    }

    fn deltas(history: &[(bool, u8, u8)]) -> Vec<Delta> {
        let with_seq = (1_u64..).zip(history);
        with_seq
            .map(|(seq, (mark, who, what))| match mark {
                true => watermark(*who, seq),
                false => Delta::Denied { session: session(*what), seq },
            })
            .collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_reading_of_the_history(events in history(), who in 0..4_u8, what in 0..8_u8, at in 0..45_u64) {
            let all = deltas(&events);
            let seq = all.len() as u64;
            let mut state = RevocationState::default();
            state.apply(&Batch { after: 0, seq, deltas: all }).unwrap();
            let dead = (1_u64..).zip(&events).any(|(seq, (mark, w, s))| {
                (*mark && *w == who && at <= seq) || (!*mark && *s == what)
            });
            prop_assert_eq!(refused(&state, who, what, at).is_some(), dead);
        }

        #[test]
        fn cutting_repeating_and_overlapping_batches_change_nothing(events in history(), cuts in proptest::collection::vec(0..40_usize, 0..6)) {
            let all = deltas(&events);
            let seq = all.len() as u64;
            let mut whole = RevocationState::default();
            whole.apply(&Batch { after: 0, seq, deltas: all.clone() }).unwrap();
            let mut pieces = RevocationState::default();
            let mut ends: Vec<usize> = cuts.into_iter().map(|c| c.min(all.len())).collect();
            ends.sort_unstable();
            ends.push(all.len());
            let mut start = 0;
            for end in ends {
                let from = start / 2;
                let batch = Batch { after: from as u64, seq: end as u64, deltas: all[from..end].to_vec() };
                pieces.apply(&batch).unwrap();
                pieces.apply(&batch).unwrap();
                start = end;
            }
            prop_assert_eq!(whole.seq(), pieces.seq());
            for who in 0..4 { for what in 0..8 { for at in 0..45 {
                prop_assert_eq!(refused(&whole, who, what, at), refused(&pieces, who, what, at));
            }}}
        }
    }
}
