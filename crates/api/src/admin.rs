//! What an operator may ask.
//!
//! It refuses unknown fields in requests, so that a misspelt restriction never widens an order.

use exeunt_domain::{
    DeviceId, Group, Outcome, Proof, SessionKind, SessionStatus, Subject, Tenant, Tier, Timestamp,
    Txn,
};
use serde::{Deserialize, Serialize};

/// `POST /v1/device-tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceTokenRequest {
    /// The device's name-to-be. Only a token that names an enrolled device can enrol it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DeviceId>,
    /// The group that the device will belong to, such as all kiosks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// The tenant that the device will belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Seconds until the token expires; an hour when absent, at most thirty days.
    #[serde(default, deserialize_with = "crate::number::whole")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_592_000)))]
    pub ttl_s: Option<u64>,
}

/// A one-time enrolment token. Shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceTokenResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The token.
    pub token: String,
    /// When it expires, by hub time.
    pub expires: Timestamp,
}

/// `GET /v1/devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Each enrolled device, by id.
    pub devices: Vec<DeviceInfo>,
}

/// One enrolled device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceInfo {
    /// Its id.
    pub id: DeviceId,
    /// Which enrolment.
    pub epoch: u64,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Whether its warden said that it holds itself to the approvers in force; None before it said
    /// anything, or while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knows_approvers: Option<bool>,
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// When it last polled, if it did since the hub started.
    pub last_seen: Option<Timestamp>,
    /// Thumbprint of its warden's key.
    pub device_kid: String,
    /// Its warden's public key, to verify receipts with.
    pub device_jwk: serde_json::Value,
    /// Sequence number of its last receipt, 0 when none.
    pub receipts: u64,
    /// Orders it has not acknowledged.
    pub waiting: u64,
}

/// `GET /v1/sessions?subject=KEY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Each session, newest first.
    pub sessions: Vec<SessionInfo>,
}

/// One session, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionInfo {
    /// The first 16 hexadecimal digits of its hash.
    pub id: String,
    /// Whose.
    pub subject: Subject,
    /// What it is.
    pub kind: SessionKind,
    /// Who registered it: a service's audience or a device's id.
    pub aud: String,
    /// Where, for people.
    pub place: String,
    /// A phrase for people.
    pub label: String,
    /// The device, if known.
    pub device: Option<String>,
    /// Its registration's sequence number.
    pub seq: u64,
    /// When the person authenticated.
    pub auth_time: Timestamp,
    /// When it was registered.
    pub since: Timestamp,
    /// Last seen, within some minutes.
    pub last_seen: Timestamp,
    /// When it ends at the latest, if its service said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether it is still accepted.
    pub status: SessionStatus,
    /// How a console session's subject was established.
    pub proof: Option<Proof>,
    /// The transaction that revoked it.
    pub revoked_by: Option<Txn>,
}

/// `POST /v1/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceRequest {
    /// For people.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), regex(pattern = crate::NAME)))]
    pub name: String,
    /// The audience it may register sessions for, and no other.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), regex(pattern = crate::NAME)))]
    pub aud: String,
    /// What it may do with streams: `ssf.read`, `ssf.manage`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = r"^ssf\.(read|manage)$"))))]
    pub scopes: Vec<String>,
}

/// A relying service's credentials. Shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Its client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

macro_rules! hides_secret {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
hides_secret!(DeviceTokenResponse, ServiceResponse);

/// `POST /v1/sign-out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignOutRequest {
    /// Whose sessions, as people type it (`Subject::parse`). Exactly one of `subject`, `session`,
    /// `application` and `device` is given; `device` also goes with `subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = crate::NAME)))]
    pub subject: Option<String>,
    /// One session, by its name in lists: 16 or more hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[0-9a-f]{16,64}$")))]
    pub session: Option<String>,
    /// Every session of an application, by its audience. No device gets an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), regex(pattern = crate::NAME)))]
    pub application: Option<String>,
    /// How much is to end; `sign-out` when absent. `purge` needs a proposal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Words for the record and for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub reason: Option<String>,
    /// Show what would end, and touch nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// A repeat with the same key answers the first call's transaction and does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    pub idempotency_key: Option<String>,
    /// With a subject: only that one's sessions on this device. Alone: every session there, whoever's;
    /// the device gets an order if they are one person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The digest of the preview that was shown; refused with `preview_changed` when what would
    /// end has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What ended, or with `preview` what would end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignOutResponse {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The transaction; none in a preview.
    pub txn: Option<Txn>,
    /// The commit's sequence number; in a preview, the sequence that it shows.
    pub seq: u64,
    /// Every name of the subject that it reaches, the one that was asked for first.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Each session.
    pub sessions: Vec<SessionInfo>,
    /// Each device that gets an order.
    pub devices: Vec<DeviceId>,
    /// The worst part so far.
    pub outcome: Outcome,
    /// SHA-256, hexadecimal, over the tier and over the names, sessions, devices and leftovers shown.
    pub digest: String,
    /// What stays alive all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cannot: Vec<CannotEnd>,
    /// In a preview: the person's sessions as identity providers list them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<FederatedSession>,
    /// In a preview: identity providers that list sessions and did not list them now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_listed: Vec<NotListed>,
}

/// A session at an identity provider, as the provider lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FederatedSession {
    /// `federated`.
    pub kind: SessionKind,
    /// At which identity provider.
    pub place: String,
    /// The provider's own name of it.
    pub id: String,
    /// A phrase for people: a browser, an address.
    pub label: String,
    /// Since when, if the provider says so.
    pub since: Option<Timestamp>,
    /// When the provider saw it last, if it says so.
    pub last_seen: Option<Timestamp>,
}

/// An identity provider whose sessions are not all shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotListed {
    /// Which.
    pub place: String,
    /// Why.
    pub why: String,
}

/// Something that a sign-out does not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CannotEnd {
    /// Where: an identity provider, a device, a service.
    pub place: String,
    /// What.
    pub what: String,
    /// Until when.
    pub until: String,
}

/// One entry of `GET /v1/receipts/{txn}`, which answers an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptRecord {
    /// Who signed it.
    pub device: DeviceId,
    /// The compact SET.
    pub compact: String,
    /// The hub's countersignature, a compact SET.
    pub countersigned: String,
    /// The outcome the hub derived.
    pub outcome: Outcome,
    /// When the hub received it.
    pub at: Timestamp,
    /// The key to verify it with.
    pub device_jwk: serde_json::Value,
    /// `installed`, or `user`: unattested.
    pub assurance: String,
    /// Whether the device's chain is whole up to here.
    pub chained: bool,
}

/// One line of `GET /v1/audit?after=SEQ&limit=N` (JSON Lines).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Contiguous from 1, but that the row of a restore leaves a gap before it.
    pub seq: u64,
    /// Hub time.
    pub at: Timestamp,
    /// `admin:NAME`, `service:CLIENT`, `device:ID`, `hub`.
    pub actor: String,
    /// What was done or refused.
    pub action: String,
    /// The device from which it was asked.
    pub source_device: Option<String>,
    /// Whose sessions.
    pub subject: Option<String>,
    /// The transaction.
    pub txn: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Affected sessions by their hashes' first 16 hexadecimal digits.
    pub sessions: Vec<String>,
    /// Particulars of the action.
    pub detail: serde_json::Value,
    /// SHA-256, hexadecimal, over the previous hash and everything above.
    pub hash: String,
}

/// Something that an operator has to look at; the audit's row `seq` says all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alarm {
    /// The audit's row.
    pub seq: u64,
    /// Hub time.
    pub at: Timestamp,
    /// `receipt-missing`, `receipt-forked`, `coverage-unexpected`, `stores-returned`,
    /// `order-overdue`, `restored`, `stream-alarm`.
    pub kind: String,
    /// At which device.
    pub device: Option<String>,
    /// Under which transaction.
    pub txn: Option<String>,
    /// In words.
    pub detail: String,
}

/// `GET /v1/alarms?before=SEQ&limit=N`, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlarmList {
    /// [`crate::VERSION`].
    pub v: u16,
    /// Each.
    pub alarms: Vec<Alarm>,
}

/// `GET /v1/audit/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditVerdict {
    /// [`crate::VERSION`].
    pub v: u16,
    /// The chain is whole and reaches its signed head.
    pub verified: bool,
    /// Rows looked at.
    pub rows: u64,
    /// The sequence of the signed head.
    pub head_seq: u64,
    /// What is wrong, naming the row.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_restriction_is_refused() {
        let wide = r#"{"subject":"alice","devise":"occ-07"}"#;
        assert!(serde_json::from_str::<SignOutRequest>(wide).is_err());
        let narrow: SignOutRequest =
            serde_json::from_str(r#"{"subject":"alice","device":"occ-07"}"#).unwrap();
        assert_eq!(narrow.device.unwrap().as_str(), "occ-07");
        assert!(!narrow.preview);
    }

    #[test]
    fn secrets_do_not_reach_debug_output() {
        let token = DeviceTokenResponse { v: 1, token: "s3cret".into(), expires: Timestamp(1) };
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}
