//! A change of what an enrolment fixed, as the hub signs it for one device.
//!
//! It refuses to be believed by itself: the warden asks for the quorum that each change needs.

use exeunt_domain::{Act, DeviceId, Jti, Quorum, Timestamp};
use serde::{Deserialize, Serialize};

use crate::key::Jwks;

/// The claims of a `CHANGE_EVENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeEvent {
    /// The one device it is for.
    pub device: DeviceId,
    /// Which enrolment of it.
    pub epoch: u64,
    /// What is to change. Never an order.
    pub act: Act,
    /// With `hub-keys`: the keys themselves. Those that the act does not name are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Jwks>,
    /// With `policy`: its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What approvers signed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// Hub time after which the device refuses.
    pub deadline: Timestamp,
    /// Hub time at which it was signed.
    pub issued: Timestamp,
    /// What was addressed to this device before.
    pub previous: Option<Jti>,
}
