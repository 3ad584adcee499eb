//! Security event tokens (RFC 8417): reading, signing and verifying them, and the bodies that carry
//! them (RFC 8935, RFC 8936).
//!
//! It refuses I/O and clocks: keys, times and bytes are handed in.

pub mod approval;
pub mod change;
pub mod command;
pub mod discovery;
pub mod enrol;
pub mod key;
pub mod lease;
pub mod logout;
pub mod normalise;
pub mod peer;
pub mod poll;
pub mod rsa;
pub mod set;
pub mod stream;
pub mod verify;

pub use approval::{NoQuorum, agreed, approve, approver};
pub use change::ChangeEvent;
pub use command::{ProviderCommand, verify_command};
pub use enrol::{EnrolEvent, EnrolToken, EnrolledEvent, InvalidToken};
pub use key::{Jwks, KeyError, PublicJwk, SigningKey, new_id, random_token};
pub use lease::{InForce, LeaseAsked, LeaseEvent};
pub use logout::{LOGOUT_EVENT, Logout, verify_logout};
pub use peer::{PeerKeys, verify_peer};
pub use poll::{ErrBody, PollRequest, PollResponse, SetErr};
pub use rsa::{RsaError, RsaSigner};
pub use set::{Set, SetError};
pub use verify::{Expected, VerifiedSet, read_unverified, verify, verify_jwt};
