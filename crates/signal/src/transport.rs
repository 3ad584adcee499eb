//! What carries a poll to a transmitter and its answer back.
//!
//! It refuses to retry: one call is one attempt, and the receiver decides what follows.

use std::future::Future;
use std::time::Duration;

use exeunt_ssf::{PollRequest, PollResponse};

/// One way to a transmitter: HTTP, or a fake.
pub trait Transport: Send + Sync {
    /// Makes one attempt at one poll.
    ///
    /// # Errors
    /// [`TransportError`].
    fn poll(
        &self,
        request: &PollRequest,
    ) -> impl Future<Output = Result<PollResponse, TransportError>> + Send;
}

/// Why an attempt brought no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection, or no answer in time.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
    /// A connection that was there ended before the answer, as at a restart.
    #[error("the hub closed the connection")]
    Closed,
    /// The other side is there and asks for patience, or broke (429, 5xx).
    #[error("the hub answered {status}")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// How long it asks to wait (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
    },
    /// The other side does not accept this client, even with a fresh token.
    #[error("the hub does not accept this client: {0}")]
    Unauthorized(String),
    /// The other side refuses this request.
    #[error("the hub answered {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The first part of the body.
        body: String,
    },
    /// The answer is not what the specification says.
    #[error("the hub's answer cannot be read: {0}")]
    Malformed(String),
}

impl TransportError {
    /// Whether anything at all answered.
    #[must_use]
    pub fn answered(&self) -> bool {
        match self {
            TransportError::Unreachable(_) | TransportError::Closed => false,
            TransportError::Busy { .. }
            | TransportError::Unauthorized(_)
            | TransportError::Refused { .. }
            | TransportError::Malformed(_) => true,
        }
    }
}
