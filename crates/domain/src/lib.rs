//! The words of Exeunt as types, shared by every other crate.
//!
//! It refuses to do anything: no I/O, no clock, no randomness, no async.

pub mod approval;
pub mod clock;
pub mod ids;
pub mod order;
pub mod outcome;
pub mod receipt;
pub mod session;
pub mod subject;
pub mod tier;

pub use approval::{Act, Approval, Approvers, Member, Proposal, Quorum, Targets};
pub use clock::{Instant, Timestamp};
pub use ids::{DeviceId, Group, InvalidId, Jti, Kid, SessionId, Tenant, Txn};
pub use order::{Authority, Order};
pub use outcome::{Outcome, Verdict};
pub use receipt::{ReceiptBody, StepReport, StoreReport};
pub use session::{Proof, SessionKind, SessionStatus};
pub use subject::{Subject, SubjectPattern};
pub use tier::Tier;
