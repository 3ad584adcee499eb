//! What needs a quorum, and what approvers sign: a proposal, and their approvals of it.
//!
//! It refuses to decide who may approve: that was pinned on each device when it was enrolled.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Group, Kid, Subject, Tenant, Tier, Timestamp, Txn};

/// How many approvers are needed unless a set says otherwise.
pub const USUAL_QUORUM: u32 = 2;

/// Everything about a demand that decides what it can do. Approvers sign its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Hub time at which it was proposed. A device that was enrolled later refuses it.
    pub proposed: Timestamp,
    /// Hub time after which devices refuse it.
    pub deadline: Timestamp,
}

/// Which devices a proposal is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "to", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Targets {
    /// These.
    Devices {
        /// Each by its id.
        ids: BTreeSet<DeviceId>,
    },
    /// Every device of a group.
    Group {
        /// Which.
        name: Group,
    },
    /// Every device of a tenant.
    Tenant {
        /// Which.
        name: Tenant,
    },
    /// Every device that is enrolled with the hub.
    Everyone,
}

/// What a device is called and what it belongs to, as its enrolment fixed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// Its group.
    pub group: Option<Group>,
    /// Its tenant.
    pub tenant: Option<Tenant>,
}

impl Targets {
    /// Whether a device is among them.
    #[must_use]
    pub fn include(&self, member: &Member) -> bool {
        match self {
            Targets::Devices { ids } => ids.contains(&member.device),
            Targets::Group { name } => member.group.as_ref() == Some(name),
            Targets::Tenant { name } => member.tenant.as_ref() == Some(name),
            Targets::Everyone => true,
        }
    }

    /// The audience of the one SET that goes to all of them; None for a list, where each has its own.
    #[must_use]
    pub fn audience(&self) -> Option<String> {
        match self {
            Targets::Devices { .. } => None,
            Targets::Group { name } => Some(format!("urn:exeunt:group:{name}")),
            Targets::Tenant { name } => Some(format!("urn:exeunt:tenant:{name}")),
            Targets::Everyone => Some("urn:exeunt:everyone".to_owned()),
        }
    }
}

/// What is to be done at each target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    fn everyone_includes_any_device_a_list_its_own_and_a_group_its_members() {
        let member = |device: &str, group: Option<&str>| Member {
            device: DeviceId::parse(device).unwrap(),
            group: group.map(|name| Group::parse(name).unwrap()),
            tenant: group.map(|name| Tenant::parse(name).unwrap()),
        };
        let (a, b) = (member("a", None), member("b", Some("kiosks")));
        assert!(Targets::Everyone.include(&a));
        let list = Targets::Devices { ids: BTreeSet::from([a.device.clone()]) };
        assert!(list.include(&a) && !list.include(&b));
        let kiosks = Targets::Group { name: Group::parse("kiosks").unwrap() };
        // A device that is called as the group is belongs to it no more than any other.
        assert!(kiosks.include(&b) && !kiosks.include(&a));
        assert!(!kiosks.include(&member("kiosks", None)));
        let tenant = Targets::Tenant { name: Tenant::parse("kiosks").unwrap() };
        assert!(tenant.include(&b) && !tenant.include(&a));
    }

    #[test]
    fn refuses_an_unknown_act_and_an_unknown_member() {
        assert!(serde_json::from_str::<Act>(r#"{"act":"format-disk"}"#).is_err());
        let wide = r#"{"to":"devices","ids":[],"all":true}"#;
        assert!(serde_json::from_str::<Targets>(wide).is_err());
    }
}
