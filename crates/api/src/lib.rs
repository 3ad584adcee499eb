//! The messages of the hub's HTTP interfaces: device and operator. What a relying service says is in
//! `exeunt-check`, which guard and hub share.
//!
//! It refuses to carry secrets back: a token appears only in the one answer that mints it.

pub mod admin;
pub mod approval;
pub mod connector;
pub mod device;
pub mod error;
pub mod event;
pub mod number;
pub mod oauth;
pub mod operator;
pub mod path;
pub mod playbook;
pub mod subject;
pub mod transmitter;

pub use admin::{
    Alarm, AlarmList, AuditEntry, AuditVerdict, CannotEnd, DeviceInfo, DeviceList,
    DeviceTokenRequest, DeviceTokenResponse, FederatedSession, NotListed, ReceiptRecord,
    ServiceRequest, ServiceResponse, SessionInfo, SessionList, SignOutRequest, SignOutResponse,
};
pub use approval::{
    ApproveRequest, ApprovedBy, ApproverInfo, ApproverList, ApproverRequest, ApproverResponse,
    ChangeRequest, Matter, NewApprover, ProposalInfo, ProposalList, ProposalRequest,
    ProposalStatus, Reach,
};
pub use connector::{ConnectorGap, ConnectorInfo, ConnectorTest};
pub use device::{HubSession, Residual, Target, TxnState};
pub use error::{ErrorBody, ErrorDetail, SetErrorBody};
pub use event::{Countersigned, Progress, SessionEstablished, SignOutRequested, StoresReturned};
pub use oauth::{OAuthErrorBody, TokenRequest, TokenResponse};
pub use operator::{
    AdminTokenRequest, AdminTokenResponse, OperatorInfo, Role, SignInFinish, SignInRequest,
    SignInResponse, SignedIn, UnknownRole,
};
pub use playbook::{Followup, Hold};
pub use subject::{Alias, JoinRequest, SplitRequest, SubjectInfo};

pub use transmitter::{
    DeliveryMethod, ExpectRequest, LinkInfo, LinkState, PollSettings, Scope, StreamInfo,
    TransmitterInfo, TransmitterList, TransmitterRequest,
};

/// What a name given by an operator looks like: no control characters, and not only spaces.
#[cfg(feature = "schema")]
pub const NAME: &str = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$";

/// The version of every message here, sent as `v`.
pub const VERSION: u16 = 1;
