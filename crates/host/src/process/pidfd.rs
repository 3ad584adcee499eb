//! Signals, waiting and exit statuses through pidfds.
//!
//! It refuses a pid alone: the start time is compared after the descriptor is open.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use exeunt_engine::ports::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::proc::Pinned;

/// A descriptor for one process that cannot come to mean another.
#[derive(Debug)]
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

/// A process that is watched for its end, by whoever.
#[derive(Debug)]
pub(crate) struct Watched(Pidfd);

/// How long the parent of a process that has ended gets to take note of that: only then does the kernel
/// tell others how it ended.
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// Nothing tells when.
const AGAIN: Duration = Duration::from_millis(5);

impl Watched {
    /// Watches a process from now on; `None` when it is gone.
    pub(crate) fn open(id: &ProcessId) -> io::Result<Option<Self>> {
        Ok(Pidfd::open(id)?.map(Self))
    }

    /// Waits until it has ended, at most `limit`, and says whether it has.
    pub(crate) fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        Ok(!wait(&[&self.0], limit)?.is_empty())
    }

    /// The exit status of a process that has ended, 128 and the signal's number when it was killed,
    /// as shells count. `None`: a kernel before 6.15 tells only the parent (`PIDFD_INFO_EXIT` in
    /// `linux/pidfd.h`).
    pub(crate) fn status(&self) -> Option<i32> {
        let until = Instant::now() + TOLD_WITHIN;
        loop {
            if let Some(status) = exit_status(&self.0) {
                return Some(match status & 0x7f {
                    0 => (status >> 8) & 0xff,
                    signal => 128 + signal,
                });
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(AGAIN);
        }
    }
}

/// The status as wait(2) has it.
fn exit_status(pidfd: &Pidfd) -> Option<i32> {
    // SAFETY: all zeroes is a value of this structure of numbers.
    #[expect(unsafe_code, reason = "the structure has no constructor")]
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the request carries the size of the structure that the pointer leads to, and the kernel
    // writes no more than that.
    #[expect(unsafe_code, reason = "the C library has no function for this request")]
    let answered = unsafe { libc::ioctl(pidfd.0.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    let told = answered == 0 && info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
    told.then_some(info.exit_code)
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
