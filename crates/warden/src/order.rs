//! Turns a raw SET into a demand, or into a refusal with an RFC 8935 code.
//!
//! It refuses anything that is not signed by a pinned key, for this device and this epoch, in time and
//! unused; and, without a quorum of approvers, tier purge and whatever names no one person.

use exeunt_domain::order::{Demand, ORDER_EVENT, Order, WIDE_ORDER_EVENT, WideOrder};
use exeunt_domain::{Act, Authority, Kid, Subject, Tier, Timestamp, Txn};
use exeunt_ipc::message::Failure;
use exeunt_ssf::{SetError, VerifiedSet};

use crate::event::{Enrolment, State};
use crate::quorum::{approved, denied};

/// A verified order: what it demands, and when the hub signed it.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) demand: Demand,
    /// Hub time at which it was signed.
    pub(crate) issued: Timestamp,
    pub(crate) set: VerifiedSet,
    /// It was taken before: acknowledge it, and do nothing.
    pub(crate) replayed: bool,
    /// An order before this one never arrived.
    pub(crate) gap: bool,
    /// Who agreed; empty: only the hub vouches for it.
    pub(crate) approvers: Vec<Kid>,
    /// The device has answered the transaction, and is asked to begin anew.
    pub(crate) again: bool,
}

/// Judges a SET that was signed for this device.
///
/// `hub_now` is the hub's time as this device reckons it, never the wall clock.
///
/// # Errors
/// [`Failure`], whose code is one of RFC 8935 §2.4.
pub(crate) fn judge(
    set: VerifiedSet,
    enrolment: &Enrolment,
    state: &State,
    hub_now: Timestamp,
) -> Result<Accepted, Failure> {
    let order: Order = set.event_as(ORDER_EVENT).map_err(|error| refuse(&error))?;
    let txn = set.txn.clone().ok_or_else(|| invalid("the order carries no txn"))?;
    let replayed = state.seen.contains(&set.jti);
    if order.device != enrolment.device {
        return Err(failure("invalid_audience", "the order is for another device"));
    }
    if order.epoch != enrolment.epoch {
        return Err(invalid("the order is of another enrolment of this device"));
    }
    if !replayed && hub_now > order.deadline {
        return Err(invalid("the order's deadline has passed"));
    }
    let approvers = agreed(&order, &set, enrolment)?;
    let gap = !replayed && order.previous.as_ref().is_some_and(|jti| !state.has_heard(jti));
    let demand = demand_of(&set, txn, order.tier, order.user, order.reason);
    let (issued, again) = (order.issued, order.again);
    Ok(Accepted { demand, issued, replayed, gap, set, approvers, again })
}

/// Judges an order to a group, a tenant or everyone that this device is one of.
///
/// # Errors
/// [`Failure`], whose code is one of RFC 8935 §2.4.
pub(crate) fn judge_wide(
    set: VerifiedSet,
    enrolment: &Enrolment,
    state: &State,
    hub_now: Timestamp,
) -> Result<Accepted, Failure> {
    let order: WideOrder = set.event_as(WIDE_ORDER_EVENT).map_err(|error| refuse(&error))?;
    let txn = set.txn.clone().ok_or_else(|| invalid("the order carries no txn"))?;
    let replayed = state.seen.contains(&set.jti);
    let proposal = &order.quorum.proposal;
    if proposal.targets.audience().is_none_or(|audience| set.aud != [audience]) {
        return Err(failure("invalid_audience", "the order is for others than was approved"));
    }
    if !replayed && hub_now > proposal.deadline {
        return Err(invalid("the order's deadline has passed"));
    }
    let (act, approvers) = approved(&order.quorum, enrolment, Some(&txn), proposal.deadline)?;
    let Act::Order { tier, user } = act else {
        return Err(denied("the approvers agreed to something else"));
    };
    let demand = demand_of(&set, txn, *tier, user.clone(), order.reason.clone());
    let (issued, gap, again) = (order.issued, false, false);
    Ok(Accepted { demand, issued, replayed, gap, set, approvers, again })
}

/// Who approved the order; refused when it needs approvers and has not enough.
fn agreed(order: &Order, set: &VerifiedSet, enrolment: &Enrolment) -> Result<Vec<Kid>, Failure> {
    if let Some(quorum) = &order.quorum {
        let (act, by) = approved(quorum, enrolment, set.txn.as_ref(), order.deadline)?;
        let demanded = Act::Order { tier: order.tier, user: order.user.clone() };
        if *act != demanded {
            return Err(denied("the approvers agreed to something else"));
        }
        return Ok(by);
    }
    let wide = [
        (order.tier > Tier::SignOut, "tier purge"),
        (order.user.is_none(), "an order about whoever is there"),
        (set.aud.len() != 1, "an order to more than one device"),
    ];
    match wide.iter().find(|(is, _)| *is) {
        Some((_, what)) => Err(denied(&format!("{what} needs a quorum of approvers"))),
        None => Ok(Vec::new()),
    }
}

fn demand_of(
    set: &VerifiedSet,
    txn: Txn,
    tier: Tier,
    subject: Option<Subject>,
    reason: Option<String>,
) -> Demand {
    Demand {
        txn,
        authority: Authority::VerifiedSet { jti: set.jti.clone(), iss: set.iss.clone() },
        tier,
        subject,
        reason,
        hand_over: false,
    }
}

fn refuse(error: &SetError) -> Failure {
    failure(error.err_code(), &error.to_string())
}

fn invalid(message: &str) -> Failure {
    failure("invalid_request", message)
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.into(), message: message.into(), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use exeunt_domain::receipt::Mode;
    use exeunt_domain::{Approvers, DeviceId, Jti, Proposal, Quorum, Targets};
    use exeunt_ssf::{Jwks, Set, SigningKey};

    struct Hub {
        key: SigningKey,
        approvers: [SigningKey; 2],
        enrolment: Enrolment,
    }

    impl Hub {
        fn new() -> Self {
            let key = SigningKey::generate().unwrap();
            let approvers = [(); 2].map(|()| SigningKey::generate().unwrap());
            let keys = approvers.iter().map(|key| key.kid().clone()).collect();
            let enrolment = Enrolment {
                device: DeviceId::parse("occ-07").unwrap(),
                epoch: 2,
                issuer: "http://hub".into(),
                keys: Jwks::of(key.jwk()),
                orders_per_hour: 6,
                mode: Mode::Installed,
                approvers: Some(Approvers { keys, needed: 2 }),
                group: None,
                tenant: None,
                since: None,
            };
            Self { key, approvers, enrolment }
        }

        /// The order with what both approvers signed for it under the transaction `t1`.
        fn approved(&self, order: Order) -> Order {
            let proposal = Proposal {
                hub: "http://hub".into(),
                txn: Txn::parse("t1").unwrap(),
                targets: Targets::Devices { ids: [order.device.clone()].into() },
                act: Act::Order { tier: order.tier, user: order.user.clone() },
                requester: "admin:carol".into(),
                requester_key: None,
                proposed: Timestamp(1_000),
                deadline: order.deadline,
            };
            let sign = |key| exeunt_ssf::approve(key, &proposal).unwrap();
            let approvals = self.approvers.iter().map(sign).collect();
            Order { quorum: Some(Quorum { proposal, approvals }), ..order }
        }

        fn judge(&self, compact: &str, state: &State, now: u64) -> Result<Accepted, Failure> {
            let set = crate::change::verified(compact, &self.enrolment)?;
            judge(set, &self.enrolment, state, Timestamp(now))
        }

        fn order(&self) -> Order {
            Order {
                device: self.enrolment.device.clone(),
                epoch: 2,
                user: Some(Subject::parse("alice").unwrap()),
                tier: Tier::SignOut,
                deadline: Timestamp(10_000),
                issued: Timestamp(1_000),
                previous: None,
                reason: None,
                quorum: None,
                again: false,
            }
        }

        fn sign(&self, order: &Order) -> String {
            let jti = Jti::parse("j1").unwrap();
            let set = Set::new("http://hub", "occ-07", jti, order.issued, ORDER_EVENT, order);
            self.key.sign(&set.unwrap().with_txn(Txn::parse("t1").unwrap())).unwrap()
        }

        fn code(&self, order: &Order) -> String {
            self.judge(&self.sign(order), &State::default(), 2_000).unwrap_err().code
        }
    }

    #[test]
    fn takes_an_order_for_this_device_and_epoch_in_time() {
        let hub = Hub::new();
        let compact = hub.sign(&hub.order());
        let accepted = hub.judge(&compact, &State::default(), 2_000).unwrap();
        assert_eq!(accepted.demand.txn.as_str(), "t1");
        assert!(!accepted.replayed);
    }

    #[test]
    fn refuses_another_device_an_old_epoch_a_late_order_and_purge() {
        let hub = Hub::new();
        let other = DeviceId::parse("occ-08").unwrap();
        assert_eq!(hub.code(&Order { device: other, ..hub.order() }), "invalid_audience");
        assert_eq!(hub.code(&Order { epoch: 1, ..hub.order() }), "invalid_request");
        let late = Order { deadline: Timestamp(1_999), ..hub.order() };
        assert_eq!(hub.code(&late), "invalid_request");
        assert_eq!(hub.code(&Order { tier: Tier::Purge, ..hub.order() }), "access_denied");
    }

    #[test]
    fn whatever_is_wide_needs_the_quorum_and_has_power_with_it() {
        let hub = Hub::new();
        for wide in
            [Order { tier: Tier::Purge, ..hub.order() }, Order { user: None, ..hub.order() }]
        {
            assert_eq!(hub.code(&wide), "access_denied");
            let compact = hub.sign(&hub.approved(wide));
            let accepted = hub.judge(&compact, &State::default(), 2_000).unwrap();
            assert_eq!(accepted.approvers.len(), 2);
        }
        let many = Set::new(
            "http://hub",
            "occ-07",
            Jti::parse("j1").unwrap(),
            Timestamp(1_000),
            ORDER_EVENT,
            &hub.order(),
        );
        let mut many = many.unwrap().with_txn(Txn::parse("t1").unwrap());
        many.aud.push("occ-08".into());
        let compact = hub.key.sign(&many).unwrap();
        let refused = hub.judge(&compact, &State::default(), 2_000).unwrap_err();
        assert_eq!(refused.code, "access_denied");
    }

    /// What was approved, and nothing more: each change after the signatures is refused.
    #[test]
    fn approvals_hold_for_their_own_order_only() {
        let hub = Hub::new();
        let purge = hub.approved(Order { tier: Tier::Purge, ..hub.order() });
        let other = Some(Subject::parse("bob").unwrap());
        let quorum = purge.quorum.clone();
        for changed in [
            Order { user: other, ..purge.clone() },
            Order { deadline: Timestamp(20_000), ..purge.clone() },
            Order { tier: Tier::SignOut, ..purge.clone() },
            Order { user: None, quorum, ..purge.clone() },
        ] {
            assert_eq!(hub.code(&changed), "access_denied", "{changed:?}");
        }
        let elsewhere = Hub {
            enrolment: Enrolment {
                device: DeviceId::parse("occ-08").unwrap(),
                ..hub.enrolment.clone()
            },
            ..Hub::new()
        };
        let order = Order { device: DeviceId::parse("occ-08").unwrap(), ..purge };
        let jti = Jti::parse("j1").unwrap();
        let set = Set::new("http://hub", "occ-08", jti, order.issued, ORDER_EVENT, &order);
        let compact = hub.key.sign(&set.unwrap().with_txn(Txn::parse("t1").unwrap())).unwrap();
        let refused = elsewhere.judge(&compact, &State::default(), 2_000).unwrap_err();
        assert!(refused.message.contains("other devices"), "{refused:?}");
    }

    #[test]
    fn refuses_a_key_that_was_not_pinned() {
        let hub = Hub::new();
        let stranger = Hub { enrolment: hub.enrolment.clone(), ..Hub::new() };
        assert_eq!(stranger.code(&hub.order()), "invalid_key");
    }

    #[test]
    fn knows_a_replay_even_after_its_deadline() {
        let hub = Hub::new();
        let compact = hub.sign(&hub.order());
        let mut state = State::default();
        state.apply(&Event::Seen { jti: Jti::parse("j1").unwrap(), hub_time: Timestamp(1_000) });
        let late = 99_000;
        assert!(hub.judge(&compact, &state, late).unwrap().replayed);
    }

    #[test]
    fn notices_that_the_order_before_never_arrived() {
        let hub = Hub::new();
        let order = Order { previous: Some(Jti::parse("j0").unwrap()), ..hub.order() };
        let compact = hub.sign(&order);
        assert!(hub.judge(&compact, &State::default(), 2_000).unwrap().gap);
    }
}
