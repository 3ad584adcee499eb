//! What needs a quorum, and what approvers sign: a proposal, and their approvals of it.
//!
//! It refuses to decide who may approve: that was pinned on each device when it was enrolled.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Kid, Subject, Tier, Timestamp, Txn};

/// How many approvers are needed unless a set says otherwise.
pub const USUAL_QUORUM: u32 = 2;

/// Everything about a demand that decides what it can do. Approvers sign its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The hub's issuer name: approvals for one hub are worth nothing at another.
    pub hub: String,
    /// The transaction that it is carried out under.
    pub txn: Txn,
    /// Which devices.
    pub targets: Targets,
    /// What is to be done there.
    pub act: Act,
    /// Who asked for it, as the hub's audit names them.
    pub requester: String,
    /// The requester's own approver key, which does not count here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_key: Option<Kid>,
    /// Hub time after which devices refuse it.
    pub deadline: Timestamp,
}

/// Which devices a proposal is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Targets {
    /// These.
    Devices {
        /// Each by its id.
        ids: BTreeSet<DeviceId>,
    },
    /// Every device that is enrolled with the hub.
    Everyone,
}

impl Targets {
    /// Whether `device` is among them.
    #[must_use]
    pub fn include(&self, device: &DeviceId) -> bool {
        match self {
            Targets::Devices { ids } => ids.contains(device),
            Targets::Everyone => true,
        }
    }
}

/// What is to be done at each target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// An order.
    Order {
        /// How much ends.
        tier: Tier,
        /// Whose sessions. None: whoever is there.
        user: Option<Subject>,
    },
    /// The policy with this SHA-256, in lowercase hexadecimal, replaces the one in force.
    Policy {
        /// Over the policy's text.
        sha256: String,
    },
    /// These keys of the hub replace the ones in force.
    HubKeys {
        /// By their thumbprints.
        keys: BTreeSet<Kid>,
    },
    /// These approvers replace the ones in force.
    Approvers(Approvers),
    /// Another limit for orders that only the hub vouches for.
    OrderLimit {
        /// At most so many an hour.
        orders_per_hour: u32,
    },
}

/// Who may approve, and how many of them it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvers {
    /// Their keys, by thumbprint.
    pub keys: BTreeSet<Kid>,
    /// How many must sign.
    pub needed: u32,
}

impl Approvers {
    /// Whether the set can ever reach its quorum, and cannot without anybody.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.needed >= 1 && self.keys.len() as u64 >= u64::from(self.needed)
    }
}

/// One approver's signature over a proposal's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The approver's public Ed25519 key, unpadded base64url (RFC 8037 `x`).
    pub x: String,
    /// The signature, a compact JWS.
    pub jws: String,
}

/// A proposal with the approvals that were collected for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// What was approved.
    pub proposal: Proposal,
    /// By whom.
    pub approvals: Vec<Approval>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(name: &str) -> Kid {
        Kid::parse(name).unwrap()
    }

    #[test]
    fn a_set_that_nobody_or_not_enough_can_satisfy_is_unsound() {
        let keys = BTreeSet::from([kid("a"), kid("b")]);
        let sound = |needed| Approvers { keys: keys.clone(), needed }.is_sound();
        assert!(!sound(0) && sound(1) && sound(2) && !sound(3));
    }

    #[test]
    fn everyone_includes_any_device_and_a_list_only_its_own() {
        let (a, b) = (DeviceId::parse("a").unwrap(), DeviceId::parse("b").unwrap());
        assert!(Targets::Everyone.include(&a));
        let list = Targets::Devices { ids: BTreeSet::from([a.clone()]) };
        assert!(list.include(&a) && !list.include(&b));
    }

    #[test]
    fn refuses_an_unknown_act_and_an_unknown_member() {
        assert!(serde_json::from_str::<Act>(r#"{"act":"format-disk"}"#).is_err());
        let wide = r#"{"to":"devices","ids":[],"all":true}"#;
        assert!(serde_json::from_str::<Targets>(wide).is_err());
    }
}
