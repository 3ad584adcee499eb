//! The two events by which a device's lease is renewed.
//!
//! It refuses to carry a length: how long a lease lasts is the policy's, on the device.

use std::collections::BTreeSet;

use exeunt_domain::{Approvers, DeviceId, Jti, Kid, Timestamp};
use serde::{Deserialize, Serialize};

/// The claims of a `LEASE_ASKED_EVENT`, signed by the warden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAsked {
    /// Fresh for every request; the renewal repeats it.
    pub nonce: String,
    /// The enrolment it speaks in.
    pub epoch: u64,
    /// What the device holds itself to.
    pub in_force: InForce,
}

/// What a device holds itself to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InForce {
    /// SHA-256 of the hub's policy, lowercase hexadecimal; None while it follows its own settings.
    pub policy: Option<String>,
    /// Thumbprints of the hub's keys.
    pub hub_keys: BTreeSet<Kid>,
    /// Who may approve.
    pub approvers: Option<Approvers>,
    /// Orders an hour that only the hub vouches for.
    pub orders_per_hour: u32,
}

/// The claims of a `LEASE_EVENT`, signed by the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseEvent {
    /// The one device it is for.
    pub device: DeviceId,
    /// Which enrolment of it.
    pub epoch: u64,
    /// The warden's own.
    pub nonce: String,
    /// The last SET that was addressed to this enrolment. A warden that lacks it does not renew.
    pub last_order: Option<Jti>,
    /// The hub's clock.
    pub hub_time: Timestamp,
}
