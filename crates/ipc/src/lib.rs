//! Local messages between tray, CLI, agent and warden, the frames they travel in, and the check of
//! who is at the other end.
//!
//! It refuses paths: no message names a place on disk for anyone to act upon.

pub mod codec;
pub mod connect;
pub mod message;
pub mod peer;

pub use codec::{CodecError, MAX_FRAME_BYTES, read_frame, write_frame};
pub use connect::{AgentClient, Client, ConnectError, Sockets, WardenClient};
pub use peer::{Peer, PeerError};
