//! The messages of the hub's HTTP interfaces: device, relying service and operator.
//!
//! It refuses to carry secrets back: a token appears only in the one answer that mints it.

pub mod admin;
pub mod check;
pub mod device;
pub mod error;
pub mod event;
pub mod oauth;
pub mod path;
pub mod session;

pub use admin::{
    AdminTokenRequest, AdminTokenResponse, AuditEntry, AuditVerdict, DeviceInfo, DeviceList,
    DeviceTokenRequest, DeviceTokenResponse, ReceiptRecord, ServiceRequest, ServiceResponse,
    SessionInfo, SessionList, SignOutRequest, SignOutResponse,
};
pub use check::{CheckQuery, DeltasQuery, DeltasResponse, SnapshotResponse, WireDelta};
pub use device::{HubSession, Target, TxnState};
pub use error::{ErrorBody, ErrorDetail, SetErrorBody};
pub use event::{Countersigned, Progress, SessionEstablished, SignOutRequested};
pub use oauth::{OAuthErrorBody, TokenRequest, TokenResponse};
pub use session::{SessionRequest, SessionResponse};

/// The version of every message here, sent as `v`.
pub const VERSION: u16 = 1;
