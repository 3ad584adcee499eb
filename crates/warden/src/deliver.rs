//! What the agent hands down: orders, changes and renewals of the hub, each verified here.
//!
//! It refuses to forget what it refused: a SET that arrived whole is known to have arrived.

use std::sync::{Arc, PoisonError};

use exeunt_domain::order::{CHANGE_EVENT, ENROLLED_EVENT, LEASE_EVENT, WIDE_ORDER_EVENT};
use exeunt_domain::{Jti, Timestamp};
use exeunt_engine::ports::Clock as _;
use exeunt_host::clock::SystemClock;
use exeunt_ipc::message::{Failure, WardenAnswer};
use exeunt_ssf::{VerifiedSet, read_unverified};

use crate::answer::{broken, failure};
use crate::change::Change;
use crate::event::{Enrolment, Event};
use crate::order::Accepted;
use crate::warden::Warden;

impl Warden {
    /// Takes a raw SET.
    ///
    /// # Errors
    /// [`Failure`] with an RFC 8935 code.
    pub(crate) fn deliver(self: &Arc<Self>, compact: &str) -> Result<WardenAnswer, Failure> {
        let read = read_unverified(compact).map_err(|e| failure(e.err_code(), &e.to_string()))?;
        if read.event_type() == ENROLLED_EVENT {
            return self.enrolled(compact).map(|()| WardenAnswer::Done);
        }
        self.take(compact).inspect_err(|failed| {
            tracing::warn!(jti = %read.jti, code = %failed.code, why = %failed.message, "refused a SET");
        })?;
        Ok(WardenAnswer::Done)
    }

    fn take(self: &Arc<Self>, compact: &str) -> Result<(), Failure> {
        let _one_at_a_time = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let enrolment = self.ledger.read(|state| state.enrolment.clone());
        let Some(enrolment) = enrolment else {
            return Err(failure("access_denied", "this device is not enrolled"));
        };
        let set = crate::change::verified(compact, &enrolment)?;
        let jti = set.jti.clone();
        let taken = match set.event_type() {
            LEASE_EVENT => return self.renewed(&set, &enrolment),
            CHANGE_EVENT => self.take_change(&set, &enrolment),
            _ => self.take_order(set, &enrolment),
        };
        if taken.is_err() {
            self.has_arrived(jti);
        }
        taken
    }

    /// A refused SET did reach this device: nobody withheld it.
    fn has_arrived(&self, jti: Jti) {
        if !self.ledger.read(|state| state.has_heard(&jti)) {
            self.ledger.record(&[Event::Heard { jti }]);
        }
    }

    fn take_change(&self, set: &VerifiedSet, enrolment: &Enrolment) -> Result<(), Failure> {
        let now = self.hub_now(SystemClock.instant()).unwrap_or(Timestamp(0));
        let in_force = self.policy();
        let accepted = self
            .ledger
            .read(|state| crate::change::judge(set, enrolment, state, &in_force, now))?;
        if accepted.replayed {
            return Ok(());
        }
        let by = crate::quorum::by(&accepted.approvers);
        tracing::info!(jti = %accepted.jti, by, "what the enrolment fixed is changed");
        match &accepted.change {
            Change::HubKeys { hub_time, .. } => self.begin_hub_clock(*hub_time),
            Change::Approvers { .. } | Change::OrderLimit { .. } | Change::Policy { .. } => {
                self.hear_hub(accepted.issued);
            }
        }
        let seen = Event::Seen { jti: accepted.jti, hub_time: accepted.issued };
        let done = set.txn.clone().map(|txn| Event::Committed { txn });
        let changed = Event::Changed { change: accepted.change };
        // The change last: a new clock of the hub begins after what was seen before.
        let events = [Some(seen), done, Some(changed)].into_iter().flatten().collect();
        self.ledger.decide(|_| (events, ())).map_err(|error| broken(&error))?;
        self.renew_soon();
        Ok(())
    }

    fn take_order(
        self: &Arc<Self>,
        set: VerifiedSet,
        enrolment: &Enrolment,
    ) -> Result<(), Failure> {
        let now = self.hub_now(SystemClock.instant()).unwrap_or(Timestamp(0));
        let judge = match set.event_type() {
            WIDE_ORDER_EVENT => crate::order::judge_wide,
            _ => crate::order::judge,
        };
        let accepted = self.ledger.read(|state| judge(set, enrolment, state, now))?;
        if accepted.replayed {
            self.hear_hub(accepted.issued);
            return Ok(());
        }
        let answers_ours = self.answers_ours(&accepted);
        let here = self.here();
        let counts = accepted.approvers.is_empty() && !answers_ours;
        if counts && !self.within_rate(enrolment.orders_per_hour, &here) {
            let say = "too many orders within an hour from the hub alone";
            return Err(failure("access_denied", say));
        }
        self.hear_hub(accepted.issued);
        let (jti, hub_time) = (accepted.set.jti.clone(), accepted.issued);
        let txn = accepted.demand.txn.clone();
        let mut events = vec![Event::Seen { jti, hub_time }, Event::Committed { txn }];
        if answers_ours {
            self.ledger.record(&events);
            return Ok(());
        }
        events.extend(counts.then_some(Event::Taken { here }));
        self.carry_out(accepted, events)
    }

    /// Whether an order is the hub's answer to something that was asked here. One that asks again is
    /// none, unless what it asks for is under way.
    fn answers_ours(&self, accepted: &Accepted) -> bool {
        let (txn, authority) = (&accepted.demand.txn, accepted.demand.authority.clone());
        if accepted.again {
            return self.ledger.read(|state| state.open.contains_key(txn));
        }
        self.joined(txn, authority)
            || self.ledger.read(|state| {
                state.open.contains_key(txn)
                    || state.receipts.iter().any(|(_, line)| line.txn == *txn)
            })
    }

    fn carry_out(
        self: &Arc<Self>,
        accepted: Accepted,
        mut events: Vec<Event>,
    ) -> Result<(), Failure> {
        let demand = accepted.demand;
        let uids = match &demand.subject {
            Some(subject) => self.ledger.read(|state| state.accounts_of(subject)),
            None => self.ledger.read(|state| state.sessions.iter().map(|s| s.uid).collect()),
        };
        let mut remarks = Vec::new();
        if !accepted.approvers.is_empty() {
            remarks.push(crate::quorum::by(&accepted.approvers));
        }
        if accepted.gap {
            remarks.push("an order before this one never reached this device".to_owned());
        }
        if uids.is_empty() {
            events.push(Event::Accepted { demand: demand.clone(), uids, at: SystemClock.now() });
            self.ledger.record(&events);
            let remark = "nobody of that subject has a session on this device";
            return self.nobody_here(demand, remark).map_err(|error| broken(&error));
        }
        self.accept(demand, uids, events, remarks);
        Ok(())
    }
}
