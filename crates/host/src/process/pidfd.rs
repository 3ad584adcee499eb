//! Signals and waiting through pidfds.
//!
//! It refuses a pid alone: the start time is compared after the descriptor is open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use exeunt_engine::ports::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::proc::Pinned;

/// A descriptor for one process that cannot come to mean another.
pub(super) struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens the process; `None` when it is gone.
    pub(super) fn open(id: &ProcessId) -> io::Result<Option<Self>> {
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            // EINVAL: the pid is a thread, so the process that it named is gone.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        Ok(Pinned::open_same(id)?.map(|_| Self(fd)))
    }

    /// Sends a signal; a process that is gone takes none.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether all its threads have ended, reaped or not.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        Ok(!wait(&[self], Duration::ZERO)?.is_empty())
    }
}

/// Waits until one of `pidfds` has ended or `limit` has passed; returns which have, by index.
pub(super) fn wait(pidfds: &[&Pidfd], limit: Duration) -> io::Result<Vec<usize>> {
    let until = Instant::now() + limit;
    loop {
        let mut polled: Vec<PollFd<'_>> = pidfds
            .iter()
            .map(|pidfd| PollFd::from_borrowed_fd(pidfd.0.as_fd(), PollFlags::IN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) => {
                let ended = |p: &PollFd<'_>| p.revents().contains(PollFlags::IN);
                let ended = polled.iter().enumerate().filter(|(_, p)| ended(p));
                return Ok(ended.map(|(index, _)| index).collect());
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
