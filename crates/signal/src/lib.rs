//! The receiver's side of poll delivery (RFC 8936) and the sender's side of push (RFC 8935): one
//! long poll at a time, acknowledgements carried by the next, full-jitter backoff between failures.
//!
//! It refuses to read what it carries: whether a SET is to be believed is the consumer's to judge,
//! and so is whether it has been seen before.

pub mod backoff;
pub mod http;
pub mod oauth;
pub mod receiver;
pub mod tls;
pub mod transport;
pub mod url;

pub use backoff::Backoff;
pub use http::{HttpTransport, HubClient, PushError};
pub use oauth::ClientCredentials;
pub use receiver::{Link, Receiver, ReceiverSettings};
pub use tls::{Trust, TrustError};
pub use transport::{Transport, TransportError};
pub use url::{HubUrl, InvalidHubUrl};
