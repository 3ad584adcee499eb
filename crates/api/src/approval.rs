//! Approvers, what is proposed to them, and what they signed.
//!
//! It refuses to carry a private key: only public points, thumbprints and signatures.

use exeunt_domain::{Approval, DeviceId, Group, Kid, Proposal, Tenant, Tier, Timestamp};
use serde::{Deserialize, Serialize};

/// `GET /v1/approvers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApproverList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// How many of them it takes. None: the set is not in force yet, and nothing can be approved.
    pub needed: Option<u32>,
    /// Each of them, by name.
    pub approvers: Vec<ApproverInfo>,
}

/// One approver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApproverInfo {
    /// The operator whose key it is, as the audit names them.
    pub name: String,
    /// The key's RFC 7638 thumbprint, as devices pin it.
    pub kid: Kid,
    /// The public point, unpadded base64url (RFC 8037 `x`).
    pub x: String,
    /// Since when the hub knows it.
    pub added: Timestamp,
}

/// A key that is to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewApprover {
    /// The operator whose key it is, as the audit names them.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), regex(pattern = crate::NAME)))]
    pub name: String,
    /// The public point, unpadded base64url (RFC 8037 `x`).
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[A-Za-z0-9_-]{43}$")))]
    pub x: String,
}

/// `POST /v1/approvers`: changes the set. Before it is in force, at once; afterwards this makes a
/// proposal to those who are in it now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproverRequest {
    /// Who joins. A name that is there already gets this key instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub add: Vec<NewApprover>,
    /// Who leaves, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub remove: Vec<String>,
    /// How many of them it takes. The first time, this puts the set in force.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 32)))]
    pub needed: Option<u64>,
    /// Words for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub reason: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApproverResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The set as it is now.
    pub set: ApproverList,
    /// What its approvers have to agree to before it changes.
    pub proposal: Option<ProposalInfo>,
}

/// `POST /v1/proposals`: proposes an order that one operator alone may not give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProposalRequest {
    /// Whose sessions, as people type it (`Subject::parse`). Absent: whoever is there, and then
    /// devices, a group, a tenant or everyone must be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub subject: Option<String>,
    /// How much is to end.
    pub tier: Tier,
    /// Only on these devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub devices: Vec<DeviceId>,
    /// On every device of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// On every device of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// On every device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
    /// Words for the record and for the people at the devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub reason: Option<String>,
    /// Seconds until devices refuse it, from now on; a day when absent, at most thirty.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 60, max = 2_592_000)))]
    pub good_for_s: Option<u64>,
    /// Show what would be proposed, and keep nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
}

/// `GET /v1/proposals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProposalList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The newest hundred, newest first.
    pub proposals: Vec<ProposalInfo>,
}

/// How a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProposalStatus {
    /// It waits for approvals.
    Open,
    /// Enough approved it, and the hub committed it.
    Committed,
    /// Its deadline passed first.
    Lapsed,
    /// It was taken back.
    Withdrawn,
}

impl ProposalStatus {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ProposalStatus::Open => "open",
            ProposalStatus::Committed => "committed",
            ProposalStatus::Lapsed => "lapsed",
            ProposalStatus::Withdrawn => "withdrawn",
        }
    }
}

/// A proposal and who approved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProposalInfo {
    /// [`crate::VERSION`].
    pub v: u16,
    /// What approvers sign.
    pub proposal: Proposal,
    /// SHA-256 over it, lowercase hexadecimal: what their signatures cover.
    pub digest: String,
    /// How it stands.
    pub status: ProposalStatus,
    /// Words for the record.
    pub reason: Option<String>,
    /// How many approvals it takes.
    pub needed: u32,
    /// Those that it has, in their order.
    pub approvals: Vec<ApprovedBy>,
    /// What it would reach, or reached.
    pub reach: Reach,
    /// What the proposal names by a digest or a thumbprint only.
    pub matter: Matter,
}

/// Who approved, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovedBy {
    /// Whose key.
    pub name: String,
    /// Its thumbprint.
    pub kid: Kid,
    /// When the hub had it.
    pub at: Timestamp,
}

/// What a proposal reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reach {
    /// How many distinct devices.
    pub devices: u64,
    /// The first hundred of them, by id.
    pub named: Vec<DeviceId>,
    /// How many live sessions.
    pub sessions: u64,
}

/// What a proposal names by a digest or a thumbprint only, so that an approver can look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Matter {
    /// The policy's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The whole set of approvers that is proposed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<NewApprover>,
    /// The hub's new key: its public point, unpadded base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_key: Option<String>,
}

/// `POST /v1/proposals/{txn}/approve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The approver's signature over the proposal's digest.
    pub approval: Approval,
}

/// `POST /v1/changes`: proposes a change of what enrolments fixed, or of what devices follow. One of
/// its members is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// Another limit for orders that only the hub vouches for.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000)))]
    pub orders_per_hour: Option<u64>,
    /// A policy for every device: its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A fresh key for the hub.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hub_key: bool,
    /// Words for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub reason: Option<String>,
    /// Seconds until devices refuse it, from now on; thirty days when absent, and at most.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 60, max = 2_592_000)))]
    pub good_for_s: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_restriction_is_refused_and_nobody_is_everyone_by_default() {
        let wide = r#"{"tier":"purge","grup":"kiosks"}"#;
        assert!(serde_json::from_str::<ProposalRequest>(wide).is_err());
        let bare: ProposalRequest = serde_json::from_str(r#"{"tier":"purge"}"#).unwrap();
        assert!(!bare.everyone && bare.group.is_none() && bare.devices.is_empty());
    }
}
