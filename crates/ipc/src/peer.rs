//! Who is at the other end of a socket, as the kernel vouches for it.
//!
//! It refuses to believe anything the peer says of itself.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, PidfdFlags};

/// The process at the other end.
#[derive(Debug)]
pub struct Peer {
    /// Its effective user id when it connected (`SO_PEERCRED`).
    pub uid: u32,
    /// Its pid when it connected; may be reused later unless `pidfd` is there.
    pub pid: u32,
    /// A handle on that very process: while it is open, the pid names no other.
    pub pidfd: Option<OwnedFd>,
}

/// The kernel would not say who is there.
#[derive(Debug, thiserror::Error)]
#[error("the kernel does not say who is at the other end: {0}")]
pub struct PeerError(#[from] pub std::io::Error);

impl Peer {
    /// Asks the kernel who connected `stream` (socket(7), `SO_PEERCRED`).
    ///
    /// # Errors
    /// [`PeerError`] when it does not say.
    pub fn of(stream: &UnixStream) -> Result<Self, PeerError> {
        let credentials = rustix::net::sockopt::socket_peercred(stream.as_fd())
            .map_err(|errno| PeerError(errno.into()))?;
        let pidfd = rustix::process::pidfd_open(credentials.pid, PidfdFlags::empty()).ok();
        Ok(Self {
            uid: credentials.uid.as_raw(),
            pid: Pid::as_raw(Some(credentials.pid)).unsigned_abs(),
            pidfd,
        })
    }

    /// Whether the peer runs as root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_this_very_process_for_a_socket_pair() {
        let (one, _two) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert!(peer.pidfd.is_some());
    }
}
