//! An order: an authorised demand to contain, and the three authorities that may give one.
//!
//! It refuses a fourth: [`Authority`] has no open variant.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Jti, Quorum, Subject, Tier, Timestamp, Txn};

/// Event type of an order, as the hub signs it for one device.
pub const ORDER_EVENT: &str = "urn:exeunt:secevent:order";
/// Event type of an order to a group, a tenant or everyone: signed once, the same bytes to each.
pub const WIDE_ORDER_EVENT: &str = "urn:exeunt:secevent:wide-order";
/// Event type of a receipt, as a device signs it.
pub const RECEIPT_EVENT: &str = "urn:exeunt:secevent:receipt";
/// Event type of a step towards a receipt: delivered, fenced or contained, signed by the device.
pub const PROGRESS_EVENT: &str = "urn:exeunt:secevent:progress";
/// Event type of a person's request, made at a device, to be signed out everywhere.
pub const SIGN_OUT_REQUESTED_EVENT: &str = "urn:exeunt:secevent:sign-out-requested";
/// Event type of stores that were found again after a close, signed by the device.
pub const STORES_RETURNED_EVENT: &str = "urn:exeunt:secevent:stores-returned";
/// Event type of the hub's answer to an enrolment.
pub const ENROLLED_EVENT: &str = "urn:exeunt:secevent:enrolled";
/// Event type of a change of what an enrolment fixed: keys, approvers, limit, policy.
pub const CHANGE_EVENT: &str = "urn:exeunt:secevent:change";
/// Event type of a warden's request that its lease be renewed.
pub const LEASE_ASKED_EVENT: &str = "urn:exeunt:secevent:lease-asked";
/// Event type of the hub's renewal of a lease.
pub const LEASE_EVENT: &str = "urn:exeunt:secevent:lease";
/// Event type of a device's request to be enrolled, signed by the key it presents.
pub const ENROL_EVENT: &str = "urn:exeunt:secevent:enrol";
/// CAEP 1.0 §3.6: a session began.
pub const SESSION_ESTABLISHED_EVENT: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-established";
/// CAEP 1.0 §3.1: a session was revoked.
pub const SESSION_REVOKED_EVENT: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// The claims inside an order's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The one device this order is for.
    pub device: DeviceId,
    /// Which enrolment of that device; an order of an earlier one never replays.
    pub epoch: u64,
    /// Whose sessions are to end. None: whoever is there.
    pub user: Option<Subject>,
    /// How much is to end.
    pub tier: Tier,
    /// Hub time after which the device refuses, in milliseconds since the epoch.
    pub deadline: Timestamp,
    /// Hub time at which the order was signed.
    pub issued: Timestamp,
    /// The order before this one in the device's own sequence, so that a hidden one is noticed.
    pub previous: Option<Jti>,
    /// Words for the person at the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What approvers signed for it, where it needs a quorum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// The device gave a receipt for this transaction, and is to contain once more: an operator asks
    /// again what failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// The claims inside a [`WIDE_ORDER_EVENT`]. What is demanded, of whom and until when is what the
/// approvers signed, and is said nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideOrder {
    /// What approvers signed.
    pub quorum: Quorum,
    /// Hub time at which the order was signed.
    pub issued: Timestamp,
    /// Words for the people at the devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who may demand containment of a device. There are exactly three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "authority", rename_all = "snake_case")]
pub enum Authority {
    /// A SET of the hub that the warden itself verified.
    VerifiedSet {
        /// The order's `jti`.
        jti: Jti,
        /// The hub that signed it.
        iss: String,
    },
    /// A request from a peer-checked local process.
    LocalRequest {
        /// The user id that the kernel vouched for.
        uid: u32,
        /// Which surface asked: tray, cli, kiosk.
        surface: String,
    },
    /// A lapsed lease or a trigger of the local policy.
    LocalPolicy {
        /// What lapsed or fired.
        trigger: String,
    },
}

/// One demand on its way to execution: who asked, for what, under which transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Ties everything of one cause together.
    pub txn: Txn,
    /// Who demanded it.
    pub authority: Authority,
    /// How much is to end.
    pub tier: Tier,
    /// Whose sessions, when known.
    pub subject: Option<Subject>,
    /// Words for the person at the device.
    pub reason: Option<String>,
    /// The machine goes to the next person: everything of the account ends, its session too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hand_over: bool,
}

impl Demand {
    /// Whether every process of the account ends, and not only who holds a store.
    #[must_use]
    pub fn ends_all(&self) -> bool {
        self.hand_over || self.tier == Tier::Purge
    }
}
