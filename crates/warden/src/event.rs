//! What the warden remembers: every change is one event, and the state is their sum.
//!
//! It refuses to remember anything that was not an event first, so that a crash loses nothing that
//! was answered.

use std::collections::{BTreeMap, VecDeque};

use exeunt_domain::order::Demand;
use exeunt_domain::receipt::Mode;
use exeunt_domain::{Approvers, DeviceId, Group, Jti, Member, Tenant, Timestamp, Txn};
use exeunt_engine::Chain;
use exeunt_ipc::message::{ConsoleSession, ReceiptLine, Returned, UplinkSet};
use exeunt_ssf::{Jwks, SigningKey};
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::lease::{Here, Lease};

/// How many receipts are kept on the device.
const RECEIPTS_KEPT: usize = 1000;
/// How many stores that came back are kept for one account.
const RETURNED_KEPT: usize = 100;
/// How many `jti` are kept for refusing a replay. Later ones are also bounded by the deadline.
const SEEN_KEPT: usize = 20_000;
/// How many moments are kept at which an order was taken that only the hub vouched for.
const TAKEN_KEPT: usize = 100_000;

/// One change. The journal is a list of these.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A SET of the hub was taken; its order, if it was one, is `Accepted` in the same record.
    Seen { jti: Jti, hub_time: Timestamp },
    /// A SET of the hub arrived whole and was refused all the same.
    Heard { jti: Jti },
    /// An order was taken that only the hub vouched for.
    Taken { here: Here },
    /// What the enrolment fixed was changed.
    Changed { change: Change },
    /// A lease began or was renewed.
    Leased { lease: Lease },
    /// The lease lapsed.
    Lapsed,
    /// A demand was accepted for these accounts.
    Accepted { demand: Demand, uids: Vec<u32>, at: Timestamp },
    /// The hub's signed commit for a transaction arrived.
    Committed { txn: Txn },
    /// A containment came to its receipt.
    Closed { line: ReceiptLine, uids: Vec<u32> },
    /// A SET waits for the hub.
    Queued { uplink: UplinkSet },
    /// The hub has it, or refused it for good.
    Settled { jti: Jti, refused: Option<String> },
    /// A session began at this console.
    SessionBegan { session: ConsoleSession },
    /// Every session of that user ended.
    SessionEnded { uid: u32, at: Timestamp, by_order: bool },
    /// Stores of that user were found again after a close.
    Returned { uid: u32, returned: Returned },
    /// The hub knows this device.
    Enrolled { enrolment: Enrolment },
    /// The hub was forgotten.
    Unenrolled,
    /// Where everything stood when the journal was last rewritten.
    Snapshot { state: Box<State> },
}

/// What an enrolment fixed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    /// What the hub calls this device.
    pub(crate) device: DeviceId,
    /// Which enrolment of it.
    pub(crate) epoch: u64,
    /// The hub's issuer name: the audience of everything sent to it.
    pub(crate) issuer: String,
    /// The keys whose thumbprints the token named.
    pub(crate) keys: Jwks,
    /// Orders an hour that only the hub vouches for.
    pub(crate) orders_per_hour: u32,
    /// What the hub was told of this warden's isolation.
    pub(crate) mode: Mode,
    /// Who may approve what needs a quorum.
    #[serde(default)]
    pub(crate) approvers: Option<Approvers>,
    /// The group that the token named.
    #[serde(default)]
    pub(crate) group: Option<Group>,
    /// The tenant that the token named.
    #[serde(default)]
    pub(crate) tenant: Option<Tenant>,
    /// The hub's time at the enrolment; its clock begins anew here.
    #[serde(default)]
    pub(crate) since: Option<Timestamp>,
}

impl Enrolment {
    /// What approvers' targets are held against.
    pub(crate) fn member(&self) -> Member {
        Member {
            device: self.device.clone(),
            group: self.group.clone(),
            tenant: self.tenant.clone(),
        }
    }
}

/// A containment that was accepted and has no receipt yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) demand: Demand,
    pub(crate) uids: Vec<u32>,
    pub(crate) at: Timestamp,
}

/// The sum of all events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) enrolment: Option<Enrolment>,
    pub(crate) chain: Chain,
    pub(crate) open: BTreeMap<Txn, Open>,
    pub(crate) committed: VecDeque<Txn>,
    pub(crate) receipts: VecDeque<(Vec<u32>, ReceiptLine)>,
    pub(crate) uplink: VecDeque<UplinkSet>,
    pub(crate) sessions: Vec<ConsoleSession>,
    /// The last subject of each user id, kept after its session ended.
    pub(crate) last_subjects: BTreeMap<u32, exeunt_domain::Subject>,
    /// When the session of a user id was ended by an order, by the wall clock.
    pub(crate) closed_at: BTreeMap<u32, Timestamp>,
    /// What came back since, by user id; until somebody signs in or the next close.
    #[serde(default)]
    pub(crate) returned: BTreeMap<u32, Returned>,
    pub(crate) seen: VecDeque<Jti>,
    pub(crate) last_order: Option<Jti>,
    /// The latest hub time that any verified SET carried.
    pub(crate) hub_time: Option<Timestamp>,
    /// SETs that arrived and were refused.
    #[serde(default)]
    pub(crate) heard: VecDeque<Jti>,
    /// When orders were taken that only the hub vouched for.
    #[serde(default)]
    pub(crate) taken: VecDeque<Here>,
    /// The hub's policy.
    #[serde(default)]
    pub(crate) policy: Option<String>,
    #[serde(default)]
    pub(crate) lease: Option<Lease>,
    /// The lease lapsed and was not renewed since.
    #[serde(default)]
    pub(crate) lapsed: bool,
}

impl State {
    /// Adds one event.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Seen { jti, hub_time } => {
                self.hub_time = self.hub_time.max(Some(*hub_time));
                push_bounded(&mut self.seen, jti.clone(), SEEN_KEPT);
                self.last_order = Some(jti.clone());
            }
            Event::Heard { jti } => push_bounded(&mut self.heard, jti.clone(), SEEN_KEPT),
            Event::Taken { here } => {
                self.taken
                    .retain(|earlier| crate::lease::within_hour([earlier].into_iter(), here) == 1);
                push_bounded(&mut self.taken, here.clone(), TAKEN_KEPT);
            }
            Event::Changed { change } => self.change(change),
            Event::Leased { lease } => {
                self.lease = Some(lease.clone());
                self.lapsed = false;
            }
            Event::Lapsed => self.lapsed = true,
            Event::Accepted { demand, uids, at } => {
                let open = Open { demand: demand.clone(), uids: uids.clone(), at: *at };
                self.open.insert(demand.txn.clone(), open);
            }
            Event::Committed { txn } => push_bounded(&mut self.committed, txn.clone(), SEEN_KEPT),
            Event::Closed { line, uids } => {
                self.open.remove(&line.txn);
                self.chain = self.chain.after(&line.receipt);
                push_bounded(&mut self.receipts, (uids.clone(), line.clone()), RECEIPTS_KEPT);
            }
            Event::Queued { uplink } => self.uplink.push_back(uplink.clone()),
            Event::Settled { jti, .. } => self.uplink.retain(|waiting| waiting.jti != *jti),
            Event::SessionBegan { session } => {
                self.sessions.retain(|other| other.uid != session.uid);
                self.last_subjects.insert(session.uid, session.subject.clone());
                self.closed_at.remove(&session.uid);
                self.returned.remove(&session.uid);
                self.sessions.push(session.clone());
            }
            Event::SessionEnded { uid, at, by_order } => {
                self.sessions.retain(|session| session.uid != *uid);
                if *by_order {
                    self.closed_at.insert(*uid, *at);
                    self.returned.remove(uid);
                }
            }
            Event::Returned { uid, returned } => self.add_returned(*uid, returned),
            Event::Enrolled { enrolment } => {
                // A new epoch: nothing addressed to the last one counts any more.
                self.enrolment = Some(enrolment.clone());
                self.chain = Chain::default();
                self.uplink.clear();
                self.last_order = None;
                self.hub_time = enrolment.since;
                self.forget_hub();
            }
            Event::Unenrolled => {
                self.enrolment = None;
                self.uplink.clear();
                self.forget_hub();
            }
            Event::Snapshot { state } => self.clone_from(state),
        }
    }

    /// Further stores after the same close are added to those before.
    fn add_returned(&mut self, uid: u32, returned: &Returned) {
        let mut now = returned.clone();
        let before = self.returned.remove(&uid).filter(|before| before.after == now.after);
        for row in before.into_iter().flat_map(|before| before.stores) {
            if now.stores.len() < RETURNED_KEPT && !now.stores.contains(&row) {
                now.stores.push(row);
            }
        }
        self.returned.insert(uid, now);
    }

    fn forget_hub(&mut self) {
        self.policy = None;
        self.lease = None;
        self.lapsed = false;
    }

    fn change(&mut self, change: &Change) {
        let Some(enrolment) = &mut self.enrolment else { return };
        match change {
            Change::HubKeys { keys, hub_time } => {
                enrolment.keys = keys.clone();
                self.hub_time = Some(*hub_time);
            }
            Change::Approvers { approvers } => enrolment.approvers = Some(approvers.clone()),
            Change::OrderLimit { orders_per_hour } => enrolment.orders_per_hour = *orders_per_hour,
            Change::Policy { text } => self.policy = Some(text.clone()),
        }
    }

    /// Whether a SET of the hub arrived here, taken or refused.
    pub(crate) fn has_heard(&self, jti: &Jti) -> bool {
        self.seen.contains(jti) || self.heard.contains(jti)
    }

    /// The session of a user id.
    pub(crate) fn session_of(&self, uid: u32) -> Option<&ConsoleSession> {
        self.sessions.iter().find(|session| session.uid == uid)
    }

    /// What came back to a user id; for root, the latest of any.
    pub(crate) fn returned_to(&self, uid: u32) -> Option<Returned> {
        let latest = || self.returned.values().max_by_key(|returned| returned.at);
        self.returned.get(&uid).or_else(|| latest().filter(|_| uid == 0)).cloned()
    }

    /// Whether a transaction was committed by the hub.
    pub(crate) fn is_committed(&self, txn: &Txn) -> bool {
        self.committed.contains(txn)
    }

    /// The user ids whose stores belong to `subject`: those signed in as it now, and those last
    /// signed in as it with nobody else there since.
    pub(crate) fn accounts_of(&self, subject: &exeunt_domain::Subject) -> Vec<u32> {
        let last = self.last_subjects.iter().filter(|(_, last)| *last == subject);
        last.map(|(uid, _)| *uid).collect()
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}

/// A device key in the form it is stored: one line, readable by its owner alone.
pub(crate) fn read_key(text: &str) -> anyhow::Result<SigningKey> {
    Ok(SigningKey::from_seed_b64(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::{Authority, Outcome, Proof, SessionId, Subject, Tier};

    fn session(uid: u32, subject: &str) -> Event {
        Event::SessionBegan {
            session: ConsoleSession {
                id: SessionId::parse(format!("{uid}-{subject}")).unwrap(),
                subject: Subject::parse(subject).unwrap(),
                uid,
                proof: Proof::Account,
                since: Timestamp(1),
            },
        }
    }

    fn demand(txn: &str) -> Demand {
        Demand {
            txn: Txn::parse(txn).unwrap(),
            authority: Authority::LocalRequest { uid: 1000, surface: "tray".into() },
            tier: Tier::SignOut,
            subject: None,
            reason: None,
            hand_over: false,
        }
    }

    fn sum(events: &[Event]) -> State {
        let mut state = State::default();
        events.iter().for_each(|event| state.apply(event));
        state
    }

    #[test]
    fn the_next_persons_session_takes_the_account_from_the_last() {
        let alice = Subject::parse("alice").unwrap();
        let state = sum(&[session(1000, "alice"), session(1000, "bob")]);
        assert_eq!(state.accounts_of(&alice), Vec::<u32>::new());
        assert_eq!(state.session_of(1000).unwrap().subject.key(), "bob");
    }

    #[test]
    fn an_ended_session_still_names_whose_stores_these_are() {
        let alice = Subject::parse("alice").unwrap();
        let ended = Event::SessionEnded { uid: 1000, at: Timestamp(5), by_order: true };
        let state = sum(&[session(1000, "alice"), ended]);
        assert_eq!(state.accounts_of(&alice), [1000]);
        assert!(state.session_of(1000).is_none());
    }

    #[test]
    fn a_demand_is_open_until_its_receipt() {
        let accepted = Event::Accepted { demand: demand("t1"), uids: vec![1000], at: Timestamp(1) };
        let mut state = sum(&[accepted]);
        assert_eq!(state.open.len(), 1);
        let line = ReceiptLine {
            seq: 1,
            txn: Txn::parse("t1").unwrap(),
            outcome: Outcome::Verified,
            at: Timestamp(2),
            subject: None,
            receipt: "r".into(),
        };
        state.apply(&Event::Closed { line, uids: vec![1000] });
        assert!(state.open.is_empty());
        assert_eq!(state.chain.seq, 1);
    }

    #[test]
    fn a_snapshot_replaces_everything_before_it() {
        let state = sum(&[session(1000, "alice")]);
        let again = sum(&[session(7, "mallory"), Event::Snapshot { state: Box::new(state) }]);
        assert!(again.session_of(7).is_none());
        assert!(again.session_of(1000).is_some());
    }
}
