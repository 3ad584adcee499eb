//! Where each interface lives below the hub's base URL.
//!
//! It refuses path parameters in the constants: a function fills them in.

use exeunt_domain::Txn;

/// OAuth 2.0 token endpoint (RFC 6749 §3.2).
pub const TOKEN: &str = "/oauth/token";
/// The hub's public keys (RFC 7517 §5).
pub const JWKS: &str = "/.well-known/jwks.json";
/// Answers 200 while the hub serves.
pub const HEALTH: &str = "/healthz";
/// A device presents its enrolment SET here.
pub const ENROL: &str = "/v1/enroll";
/// A device's warden asks here, by its agent, that its lease be renewed.
pub const LEASE: &str = "/v1/device/lease";
/// RFC 8936 poll.
pub const POLL: &str = "/ssf/poll";
/// RFC 8935 push.
pub const EVENTS: &str = "/ssf/events";
/// Sessions of a subject, as one of its devices may see them.
pub const DEVICE_SESSIONS: &str = "/v1/device/sessions";
/// A transaction, as one of its target devices may see it; a `/TXN` follows.
pub const DEVICE_TXN: &str = "/v1/device/txn";
/// Enrolment tokens.
pub const DEVICE_TOKENS: &str = "/v1/device-tokens";
/// Tokens of operators.
pub const ADMIN_TOKENS: &str = "/v1/admin-tokens";
/// Who is asking, for an operator.
pub const OPERATOR: &str = "/v1/operator";
/// Begins an operator's sign-in.
pub const SIGN_IN: &str = "/v1/sign-in";
/// Finishes it.
pub const SIGN_IN_FINISH: &str = "/v1/sign-in/finish";
/// Enrolled devices.
pub const DEVICES: &str = "/v1/devices";
/// The session registry.
pub const SESSIONS: &str = "/v1/sessions";
/// The names of one subject.
pub const SUBJECT: &str = "/v1/subject";
/// Two names become one subject's.
pub const SUBJECT_JOIN: &str = "/v1/subject/join";
/// A name is taken out of a subject's.
pub const SUBJECT_SPLIT: &str = "/v1/subject/split";
/// Playbooks; a `/NAME` follows to run one.
pub const PLAYBOOKS: &str = "/v1/playbooks";
/// What is to be seen to after sign-outs; a `/ID/tick` follows.
pub const FOLLOWUPS: &str = "/v1/followups";
/// Subjects on hold.
pub const HOLDS: &str = "/v1/holds";
/// Releases a subject.
pub const HOLDS_RELEASE: &str = "/v1/holds/release";
/// Relying services.
pub const SERVICES: &str = "/v1/services";
/// Parties that send the hub SETs; a `/TRANSMITTER` may follow.
pub const TRANSMITTERS: &str = "/v1/transmitters";
/// Identity providers; a `/NAME` follows, and then `/test`.
pub const CONNECTORS: &str = "/v1/connectors";
/// Sign out everywhere.
pub const SIGN_OUT: &str = "/v1/sign-out";
/// Transactions; a `/TXN` follows.
pub const TXN: &str = "/v1/txn";
/// Receipts; a `/TXN` follows.
pub const RECEIPTS: &str = "/v1/receipts";
/// Who may approve what needs a quorum.
pub const APPROVERS: &str = "/v1/approvers";
/// What waits for approvals; a `/TXN` follows.
pub const PROPOSALS: &str = "/v1/proposals";
/// Proposes a change of what enrolments fixed.
pub const CHANGES: &str = "/v1/changes";
/// The audit log.
pub const AUDIT: &str = "/v1/audit";
/// What an operator has to look at.
pub const ALARMS: &str = "/v1/alarms";
/// The audit log's verification.
pub const AUDIT_VERIFY: &str = "/v1/audit/verify";

/// The state of `txn`, for an operator.
#[must_use]
pub fn txn(txn: &Txn) -> String {
    format!("{TXN}/{txn}")
}

/// The stream of changes of `txn`, for an operator.
#[must_use]
pub fn txn_events(txn: &Txn) -> String {
    format!("{TXN}/{txn}/events")
}

/// Cancels what `txn` has not reached yet, for an operator.
#[must_use]
pub fn txn_cancel(txn: &Txn) -> String {
    format!("{TXN}/{txn}/cancel")
}

/// Asks again what failed in `txn`, for an operator.
#[must_use]
pub fn txn_retry(txn: &Txn) -> String {
    format!("{TXN}/{txn}/retry")
}

/// The state of `txn`, for a device that is a target of it.
#[must_use]
pub fn device_txn(txn: &Txn) -> String {
    format!("{DEVICE_TXN}/{txn}")
}

/// The proposal under `txn`.
#[must_use]
pub fn proposal(txn: &Txn) -> String {
    format!("{PROPOSALS}/{txn}")
}

/// Where an approval of `txn` is sent.
#[must_use]
pub fn approve(txn: &Txn) -> String {
    format!("{PROPOSALS}/{txn}/approve")
}

/// Where `txn` is taken back before it is committed.
#[must_use]
pub fn withdraw(txn: &Txn) -> String {
    format!("{PROPOSALS}/{txn}/withdraw")
}

/// The receipts of `txn`.
#[must_use]
pub fn receipts(txn: &Txn) -> String {
    format!("{RECEIPTS}/{txn}")
}
