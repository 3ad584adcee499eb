//! Who may read what: which subjects a user has at this console, and whose a transaction is.
//!
//! It refuses to guess: a transaction whose subject never passed here is nobody's to read but
//! root's.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use exeunt_domain::{Subject, Txn};
use exeunt_ssf::Set;

/// How long after a session ended its user may still read how that went.
pub const AFTERGLOW: Duration = Duration::from_secs(600);
/// How many transactions are remembered.
const MAX_TXNS: usize = 1024;

/// What the agent learned from the warden's answers and from SETs on their way.
#[derive(Debug, Default)]
pub struct Book {
    by_uid: HashMap<u32, Held>,
    by_txn: VecDeque<(Txn, String)>,
}

#[derive(Debug)]
struct Held {
    subjects: BTreeSet<String>,
    seen: Instant,
}

impl Book {
    /// The warden says that `uid` has the sessions of `subjects`. None: they ended, and their last
    /// user may read on for [`AFTERGLOW`].
    pub fn learn_sessions(&mut self, uid: u32, subjects: BTreeSet<String>, now: Instant) {
        if !subjects.is_empty() {
            self.by_uid.insert(uid, Held { subjects, seen: now });
        }
        self.by_uid.retain(|_, held| now.duration_since(held.seen) <= AFTERGLOW);
    }

    /// A SET that the warden signed or verified passed by.
    pub fn learn_set(&mut self, set: &Set) {
        let Some(event) = set.events.values().next() else { return };
        let txn = set.txn.clone().or_else(|| {
            event.get("txn").and_then(|txn| Txn::parse(txn.as_str().unwrap_or_default()).ok())
        });
        let subject = ["subject", "user"].iter().find_map(|member| {
            event
                .get(member)
                .and_then(|value| serde_json::from_value::<Subject>(value.clone()).ok())
        });
        let (Some(txn), Some(subject)) = (txn, subject) else { return };
        if self.by_txn.iter().any(|(known, _)| *known == txn) {
            return;
        }
        if self.by_txn.len() == MAX_TXNS {
            self.by_txn.pop_front();
        }
        self.by_txn.push_back((txn, subject.key()));
    }

    /// Whether `uid` may read how `txn` stands.
    #[must_use]
    pub fn may_read(&self, uid: u32, txn: &Txn, now: Instant) -> bool {
        if uid == 0 {
            return true;
        }
        let subject = self.by_txn.iter().find(|(known, _)| known == txn).map(|(_, key)| key);
        let held = self.by_uid.get(&uid).filter(|held| now.duration_since(held.seen) <= AFTERGLOW);
        match (subject, held) {
            (Some(subject), Some(held)) => held.subjects.contains(subject),
            (None | Some(_), None) | (None, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::{Jti, Timestamp};
    use serde_json::json;

    fn txn(text: &str) -> Txn {
        Txn::parse(text).unwrap()
    }

    fn order(id: &str, user: &str) -> Set {
        let event = json!({ "user": { "format": "opaque", "id": user } });
        Set::new("hub", "occ-07", Jti::parse(id).unwrap(), Timestamp(1), "e", &event)
            .unwrap()
            .with_txn(txn(id))
    }

    fn one(subject: &str) -> BTreeSet<String> {
        BTreeSet::from([subject.to_owned()])
    }

    #[test]
    fn a_user_reads_their_own_subject_s_transactions_and_nobody_else_s() {
        let now = Instant::now();
        let mut book = Book::default();
        book.learn_sessions(1000, one("alice"), now);
        book.learn_sessions(1001, one("bob"), now);
        book.learn_set(&order("t1", "alice"));
        assert!(book.may_read(1000, &txn("t1"), now));
        assert!(!book.may_read(1001, &txn("t1"), now));
        assert!(!book.may_read(1002, &txn("t1"), now));
        assert!(book.may_read(0, &txn("t1"), now));
    }

    #[test]
    fn a_transaction_that_never_passed_here_is_refused() {
        let now = Instant::now();
        let mut book = Book::default();
        book.learn_sessions(1000, one("alice"), now);
        assert!(!book.may_read(1000, &txn("t9"), now));
    }

    #[test]
    fn the_end_of_a_session_leaves_its_user_ten_minutes_to_read() {
        let start = Instant::now();
        let mut book = Book::default();
        book.learn_sessions(1000, one("alice"), start);
        book.learn_set(&order("t1", "alice"));
        book.learn_sessions(1000, BTreeSet::new(), start + Duration::from_secs(60));
        assert!(book.may_read(1000, &txn("t1"), start + Duration::from_secs(60)));
        assert!(!book.may_read(1000, &txn("t1"), start + AFTERGLOW + Duration::from_secs(1)));
    }

    #[test]
    fn the_next_person_on_the_same_account_does_not_read_on() {
        let now = Instant::now();
        let mut book = Book::default();
        book.learn_sessions(1000, one("alice"), now);
        book.learn_set(&order("t1", "alice"));
        book.learn_sessions(1000, one("bob"), now);
        assert!(!book.may_read(1000, &txn("t1"), now));
    }

    #[test]
    fn a_later_set_never_reassigns_a_transaction() {
        let now = Instant::now();
        let mut book = Book::default();
        book.learn_sessions(1001, one("bob"), now);
        book.learn_set(&order("t1", "alice"));
        book.learn_set(&order("t1", "bob"));
        assert!(!book.may_read(1001, &txn("t1"), now));
    }

    #[test]
    fn remembers_a_bounded_number_of_transactions() {
        let mut book = Book::default();
        for n in 0..MAX_TXNS + 10 {
            book.learn_set(&order(&format!("t{n}"), "alice"));
        }
        assert_eq!(book.by_txn.len(), MAX_TXNS);
    }
}
