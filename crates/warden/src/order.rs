//! Turns a raw SET into a demand, or into a refusal with an RFC 8935 code.
//!
//! It refuses anything that is not signed by a pinned key, for this device and this epoch, in time,
//! unused, and of a tier that the hub alone may ask for.

use exeunt_domain::order::{Demand, ORDER_EVENT, Order};
use exeunt_domain::{Authority, Tier, Timestamp, Txn};
use exeunt_ipc::message::Failure;
use exeunt_ssf::{Expected, SetError, VerifiedSet};

use crate::event::{Enrolment, State};

/// A verified order: what it demands, and when the hub signed it.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) demand: Demand,
    pub(crate) order: Order,
    pub(crate) set: VerifiedSet,
    /// It was taken before: acknowledge it, and do nothing.
    pub(crate) replayed: bool,
    /// An order before this one never arrived.
    pub(crate) gap: bool,
}

/// Judges a compact SET.
///
/// `hub_now` is the hub's time as this device reckons it, never the wall clock.
///
/// # Errors
/// [`Failure`], whose code is one of RFC 8935 §2.4.
pub(crate) fn judge(
    compact: &str,
    enrolment: &Enrolment,
    state: &State,
    hub_now: Timestamp,
) -> Result<Accepted, Failure> {
    let expected = Expected {
        issuer: Some(enrolment.issuer.clone()),
        audience: enrolment.device.as_str().to_owned(),
    };
    let set = exeunt_ssf::verify(compact, &enrolment.keys, &expected).map_err(|e| refuse(&e))?;
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
    if order.tier > Tier::SignOut {
        return Err(failure(
            "access_denied",
            "purge needs approvers, which this version cannot check",
        ));
    }
    let gap = !replayed && order.previous.as_ref().is_some_and(|jti| !state.seen.contains(jti));
    let demand = demand_of(&order, &set, txn);
    Ok(Accepted { demand, order, replayed, gap, set })
}

fn demand_of(order: &Order, set: &VerifiedSet, txn: Txn) -> Demand {
    Demand {
        txn,
        authority: Authority::VerifiedSet { jti: set.jti.clone(), iss: set.iss.clone() },
        tier: order.tier,
        subject: order.user.clone(),
        reason: order.reason.clone(),
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
    use exeunt_domain::{DeviceId, Jti};
    use exeunt_ssf::{Jwks, Set, SigningKey};

    struct Hub {
        key: SigningKey,
        enrolment: Enrolment,
    }

    impl Hub {
        fn new() -> Self {
            let key = SigningKey::generate().unwrap();
            let enrolment = Enrolment {
                device: DeviceId::parse("occ-07").unwrap(),
                epoch: 2,
                issuer: "http://hub".into(),
                keys: Jwks::of(key.jwk()),
                orders_per_hour: 6,
                mode: Mode::Installed,
            };
            Self { key, enrolment }
        }

        fn order(&self) -> Order {
            Order {
                device: self.enrolment.device.clone(),
                epoch: 2,
                user: None,
                tier: Tier::SignOut,
                deadline: Timestamp(10_000),
                issued: Timestamp(1_000),
                previous: None,
                reason: None,
            }
        }

        fn sign(&self, order: &Order) -> String {
            let jti = Jti::parse("j1").unwrap();
            let set = Set::new("http://hub", "occ-07", jti, order.issued, ORDER_EVENT, order);
            self.key.sign(&set.unwrap().with_txn(Txn::parse("t1").unwrap())).unwrap()
        }

        fn code(&self, order: &Order) -> String {
            let compact = self.sign(order);
            judge(&compact, &self.enrolment, &State::default(), Timestamp(2_000)).unwrap_err().code
        }
    }

    #[test]
    fn takes_an_order_for_this_device_and_epoch_in_time() {
        let hub = Hub::new();
        let compact = hub.sign(&hub.order());
        let now = Timestamp(2_000);
        let accepted = judge(&compact, &hub.enrolment, &State::default(), now).unwrap();
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
        let late = Timestamp(99_000);
        assert!(judge(&compact, &hub.enrolment, &state, late).unwrap().replayed);
    }

    #[test]
    fn notices_that_the_order_before_never_arrived() {
        let hub = Hub::new();
        let order = Order { previous: Some(Jti::parse("j0").unwrap()), ..hub.order() };
        let compact = hub.sign(&order);
        let now = Timestamp(2_000);
        assert!(judge(&compact, &hub.enrolment, &State::default(), now).unwrap().gap);
    }
}
