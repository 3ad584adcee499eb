//! Locking with xscreensaver 5 or 6, by its own command.
//!
//! It refuses nothing of its own: whether it locks or only blanks is for the probe of the X server
//! to see.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::DesktopSession;
use super::hold::{Ended, Held};

const DAEMON: &str = "/usr/bin/xscreensaver";
const COMMAND: &str = "/usr/bin/xscreensaver-command";
/// How long a daemon that was just started gets until it takes commands.
const READY_WITHIN: Duration = Duration::from_millis(1500);
/// Nothing tells when it does.
const AGAIN: Duration = Duration::from_millis(50);

/// The daemon, when it is installed.
pub(super) fn daemon() -> Option<PathBuf> {
    [DAEMON, COMMAND].iter().all(|path| Path::new(path).is_file()).then(|| DAEMON.into())
}

/// Tells the daemon to lock; starts it first when it does not run.
pub(super) fn lock(session: &DesktopSession) -> io::Result<()> {
    let daemon = daemon().ok_or(io::ErrorKind::NotFound)?;
    if command(session)? {
        return Ok(());
    }
    let _held = Held::start(session, &daemon, &["--no-splash"])?;
    let until = Instant::now() + READY_WITHIN;
    while Instant::now() < until {
        if command(session)? {
            return Ok(());
        }
        std::thread::sleep(AGAIN);
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Whether a daemon took the command.
fn command(session: &DesktopSession) -> io::Result<bool> {
    let held = match Held::start(session, Path::new(COMMAND), &["-lock"]) {
        Ok(held) => held,
        // It has ended before it could be identified, and has said nothing either way.
        Err(error) if error.kind() == io::ErrorKind::Other => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(held.wait(READY_WITHIN) == Some(Ended::Itself))
}
