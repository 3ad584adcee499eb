//! Telling a disk which blocks are free (`FITRIM`), on a thread of its own.
//!
//! It refuses to be waited for by what it follows, and to trim one file system twice at once.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exeunt_engine::ports::Trim;
use rustix::fs::{Mode, OFlags, openat, syncfs};

use crate::mounts::Mount;

/// `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: libc::Ioctl = 0xC018_5879;

/// File systems that are being trimmed, by device.
static BUSY: Mutex<BTreeSet<(u32, u32)>> = Mutex::new(BTreeSet::new());
static ENDED: Condvar = Condvar::new();

/// Waits until every trimming of this process has ended, or `limit` has passed: for a program that
/// would end them by ending. Says whether they have.
pub fn await_trims(limit: Duration) -> bool {
    let busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = ENDED.wait_timeout_while(busy, limit, |busy| !busy.is_empty());
    let (busy, _) = ended.unwrap_or_else(PoisonError::into_inner);
    busy.is_empty()
}

/// One trimming, begun or not.
#[derive(Debug, Default)]
pub(super) struct Trimmer {
    state: Arc<Mutex<Option<Trim>>>,
}

impl Trimmer {
    /// Begins to trim the file system of `dir`, once.
    pub(super) fn begin(&self, dir: impl AsFd) {
        let mut state = lock(&self.state);
        if state.is_none() {
            *state = Some(self.start(dir).unwrap_or_else(|error| failed(&error)));
        }
    }

    pub(super) fn state(&self) -> Trim {
        lock(&self.state).clone().unwrap_or(Trim::NotBegun)
    }

    fn start(&self, dir: impl AsFd) -> io::Result<Trim> {
        let mount = Mount::of(&Mount::table()?, &dir)?;
        if mount.has("discard") || mount.has("ro") || !mount.is_on_disk() {
            return Ok(Trim::NotNeeded);
        }
        if !rustix::process::geteuid().is_root() {
            return Ok(Trim::NotAllowed);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(dir, c".", flags, Mode::empty())?;
        let Some(turn) = Turn::take(mount.device) else { return Ok(Trim::Running) };
        let state = Arc::clone(&self.state);
        std::thread::Builder::new().name("trim".into()).spawn(move || {
            let ended = trim(&dir);
            *lock(&state) = Some(ended);
            drop(turn);
        })?;
        Ok(Trim::Running)
    }
}

/// The only trimming of one file system.
struct Turn((u32, u32));

impl Turn {
    fn take(device: (u32, u32)) -> Option<Self> {
        let mut busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(device).then_some(Self(device))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        BUSY.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        ENDED.notify_all();
    }
}

fn lock(state: &Mutex<Option<Trim>>) -> MutexGuard<'_, Option<Trim>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trim(dir: &OwnedFd) -> Trim {
    // Blocks are free only when the unlinking itself is on the disk.
    match syncfs(dir).map_err(io::Error::from).and_then(|()| fitrim(dir)) {
        Ok(bytes) => Trim::Done { bytes },
        Err(error) => match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EINVAL) => Trim::NotNeeded,
            Some(_) | None => failed(&error),
        },
    }
}

fn failed(error: &io::Error) -> Trim {
    Trim::Failed { why: error.to_string() }
}

/// Trims everything; returns how many bytes, as the kernel counts them.
#[expect(unsafe_code, reason = "no safe interface has this call")]
fn fitrim(dir: &OwnedFd) -> io::Result<u64> {
    // struct fstrim_range: start, length, least extent; the kernel answers in the length.
    let mut range: [u64; 3] = [0, u64::MAX, 0];
    // SAFETY: the descriptor is open, and the call reads and writes exactly these three numbers.
    let answer = unsafe { libc::ioctl(dir.as_raw_fd(), FITRIM, range.as_mut_ptr()) };
    if answer == 0 { Ok(range[1]) } else { Err(io::Error::last_os_error()) }
}
