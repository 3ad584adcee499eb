//! A containment as its followers see it.
//!
//! It refuses to lose its last word: whoever follows late gets the end all the same.

use std::collections::BTreeMap;
use std::sync::mpsc;

use exeunt_domain::{Authority, Outcome, Txn};
use exeunt_ipc::message::WardenAnswer;

/// How many finished containments stay for those who ask late.
const FINISHED_KEPT: usize = 32;

/// One containment, under way or just over.
pub(crate) struct Running {
    /// Whose accounts.
    pub(crate) uids: Vec<u32>,
    /// How far it is.
    pub(crate) outcome: Outcome,
    /// The hub's order, when it joined a request made here.
    pub(crate) order: Option<Authority>,
    /// The hub's refusal of the request.
    pub(crate) refused: Option<String>,
    told: Vec<WardenAnswer>,
    over: bool,
    followers: Vec<mpsc::Sender<WardenAnswer>>,
}

impl Running {
    pub(crate) fn new(uids: Vec<u32>) -> Self {
        Self {
            uids,
            outcome: Outcome::Requested,
            order: None,
            refused: None,
            told: Vec::new(),
            over: false,
            followers: Vec::new(),
        }
    }

    /// Everything so far, and everything to come.
    pub(crate) fn follow(&mut self) -> mpsc::Receiver<WardenAnswer> {
        let (sender, receiver) = mpsc::channel();
        let complete = self.told.iter().all(|answer| sender.send(answer.clone()).is_ok());
        if complete && !self.over {
            self.followers.push(sender);
        }
        receiver
    }

    pub(crate) fn tell(&mut self, answer: &WardenAnswer) {
        self.told.push(answer.clone());
        self.followers.retain(|follower| follower.send(answer.clone()).is_ok());
    }

    pub(crate) fn finish(&mut self, last: WardenAnswer) {
        self.tell(&last);
        self.over = true;
        self.followers.clear();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Drops the oldest finished ones beyond those that are kept; ids are time-ordered.
    pub(crate) fn forget_old(all: &mut BTreeMap<Txn, Running>) {
        let finished: Vec<Txn> =
            all.iter().filter(|(_, run)| run.over).map(|(txn, _)| txn.clone()).collect();
        let surplus = finished.len().saturating_sub(FINISHED_KEPT);
        for txn in finished.into_iter().take(surplus) {
            all.remove(&txn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_follows_late_still_gets_every_word() {
        let mut running = Running::new(vec![1000]);
        running.tell(&WardenAnswer::Done);
        let early = running.follow();
        running.finish(WardenAnswer::Uplink { sets: vec![] });
        let late = running.follow();
        for follower in [early, late] {
            assert_eq!(follower.into_iter().count(), 2);
        }
        assert!(running.is_over());
    }
}
