//! Turns a raw SET into a change of what the enrolment fixed.
//!
//! It refuses every change of keys, approvers and limits, and every policy that gives more power,
//! without a quorum of the approvers in force.

use exeunt_domain::order::{CHANGE_EVENT, WIDE_ORDER_EVENT};
use exeunt_domain::{Act, Approvers, Jti, Kid, Targets, Timestamp};
use exeunt_ipc::message::Failure;
use exeunt_policy::Policy;
use exeunt_ssf::{ChangeEvent, Expected, Jwks, SetError, VerifiedSet};
use serde::{Deserialize, Serialize};

use crate::event::{Enrolment, State};
use crate::quorum::{approved, denied};

/// One change, as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Change {
    /// The hub signs with these from now on. Its clock begins anew at `hub_time`.
    HubKeys { keys: Jwks, hub_time: Timestamp },
    /// These approve from now on.
    Approvers { approvers: Approvers },
    /// Another hourly limit.
    OrderLimit { orders_per_hour: u32 },
    /// The hub's policy.
    Policy { text: String },
}

/// A verified change.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) change: Change,
    pub(crate) jti: Jti,
    pub(crate) issued: Timestamp,
    /// It was taken before.
    pub(crate) replayed: bool,
    /// Who agreed; empty when nobody had to.
    pub(crate) approvers: Vec<Kid>,
}

/// A SET that was signed for this device, whatever becomes of it.
///
/// # Errors
/// [`Failure`], whose code is one of RFC 8935 §2.4.
pub(crate) fn verified(compact: &str, enrolment: &Enrolment) -> Result<VerifiedSet, Failure> {
    let read = exeunt_ssf::read_unverified(compact).map_err(|error| refuse(&error))?;
    let own = enrolment.device.as_str().to_owned();
    // What every device of a group gets alike is addressed to the group.
    let wide = [
        enrolment.group.clone().map(|name| Targets::Group { name }),
        enrolment.tenant.clone().map(|name| Targets::Tenant { name }),
        Some(Targets::Everyone),
    ];
    let wide = wide.into_iter().flatten().filter_map(|targets| targets.audience());
    let wide = wide.filter(|_| read.event_type() == WIDE_ORDER_EVENT);
    let audience = wide.into_iter().find(|name| read.aud.contains(name)).unwrap_or(own);
    let expected = Expected { issuer: Some(enrolment.issuer.clone()), audience };
    exeunt_ssf::verify(compact, &enrolment.keys, &expected).map_err(|error| refuse(&error))
}

/// Judges a change. `in_force` is the policy that it would replace.
///
/// # Errors
/// [`Failure`], whose code is one of RFC 8935 §2.4.
pub(crate) fn judge(
    set: &VerifiedSet,
    enrolment: &Enrolment,
    state: &State,
    in_force: &Policy,
    hub_now: Timestamp,
) -> Result<Accepted, Failure> {
    let event: ChangeEvent = set.event_as(CHANGE_EVENT).map_err(|error| refuse(&error))?;
    let replayed = state.seen.contains(&set.jti);
    if event.device != enrolment.device || set.aud.len() != 1 {
        return Err(failure("invalid_audience", "the change is not for this device alone"));
    }
    if event.epoch != enrolment.epoch {
        return Err(invalid("the change is of another enrolment of this device"));
    }
    // Whoever held the old key may have moved this device's idea of the hub's time with it: the key
    // must be replaceable all the same.
    let is_rekey = matches!(event.act, Act::HubKeys { .. }) && event.quorum.is_some();
    if !replayed && !is_rekey && hub_now > event.deadline {
        return Err(invalid("the change's deadline has passed"));
    }
    if !replayed && set.txn.as_ref().is_some_and(|txn| state.is_committed(txn)) {
        return Err(invalid("a change of this transaction was carried out already"));
    }
    let approvers = match &event.quorum {
        None => Vec::new(),
        Some(quorum) => {
            let (act, by) = approved(quorum, enrolment, set.txn.as_ref(), event.deadline)?;
            if *act != event.act {
                return Err(denied("the approvers agreed to something else"));
            }
            by
        }
    };
    let change = change(&event, in_force, !approvers.is_empty())?;
    Ok(Accepted { change, jti: set.jti.clone(), issued: event.issued, replayed, approvers })
}

fn change(event: &ChangeEvent, in_force: &Policy, agreed: bool) -> Result<Change, Failure> {
    let needs = |what: &str| {
        let say = format!("{what} needs a quorum of approvers");
        if agreed { Ok(()) } else { Err(denied(&say)) }
    };
    match &event.act {
        Act::Order { .. } => Err(invalid("an order is no change")),
        Act::HubKeys { keys: named } => {
            needs("a new key of the hub")?;
            let mut keys = event.jwks.clone().unwrap_or_default();
            keys.keys.retain(|key| named.contains(key.kid()));
            if keys.keys.is_empty() {
                return Err(invalid("the change carries none of the keys that it names"));
            }
            Ok(Change::HubKeys { keys, hub_time: event.issued })
        }
        Act::Approvers(approvers) => {
            needs("a new set of approvers")?;
            if !approvers.is_sound() {
                return Err(invalid("the new approvers could never agree"));
            }
            Ok(Change::Approvers { approvers: approvers.clone() })
        }
        Act::OrderLimit { orders_per_hour } => {
            needs("another limit")?;
            Ok(Change::OrderLimit { orders_per_hour: *orders_per_hour })
        }
        Act::Policy { sha256 } => {
            let text = event.policy.as_deref().unwrap_or_default();
            if Policy::digest(text) != *sha256 {
                return Err(invalid("the policy is not the one that the change names"));
            }
            let policy =
                Policy::parse("policy", text).map_err(|error| invalid(&error.to_string()))?;
            let ways = policy.widens(in_force);
            if !ways.is_empty() {
                needs(&format!("this policy gives more power ({}): it", ways.join("; ")))?;
            }
            Ok(Change::Policy { text: text.to_owned() })
        }
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
