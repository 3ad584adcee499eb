//! Starting a locker in the account's session, as nobody's child.
//!
//! It refuses to pass on anything of ours: ids, groups, environment and descriptors.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use exeunt_engine::ports::ProcessId;

use super::{DesktopSession, LockProgram};
use crate::bounded;
use crate::process::LinuxProcesses;

/// Where programs are looked for. Only root can write there.
const PLACES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// How long the start itself may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Starts its arguments in a session of their own, says their pid, and ends: the locker's parent is
/// gone at once, so that it belongs to the init process.
const SCRIPT: &str = r#"setsid "$@" </dev/null >/dev/null 2>&1 & echo $!"#;

impl LockProgram {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xsecurelock => "xsecurelock",
            Self::I3lock => "i3lock",
            Self::Curtain => "curtain",
        }
    }

    /// Where it is installed.
    pub(super) fn find(self) -> Option<PathBuf> {
        let file = match self {
            Self::Xsecurelock | Self::I3lock => self.name(),
            Self::Curtain => "exeunt-tray",
        };
        PLACES.iter().map(|place| Path::new(place).join(file)).find(|path| path.is_file())
    }

    /// Its arguments: it must stay in the foreground.
    pub(super) fn args(self) -> &'static [&'static str] {
        match self {
            Self::Xsecurelock => &[],
            Self::I3lock => &["--nofork", "--color=10151a"],
            Self::Curtain => &["curtain"],
        }
    }
}

/// Starts `program` for the session and returns which process it is.
pub(super) fn start(session: &DesktopSession, program: LockProgram) -> io::Result<ProcessId> {
    let path = program.find().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(path)
        .args(program.args())
        .env_clear()
        .envs(session.environment())
        // Else xsecurelock draws in the overlay of a compositor, where the probe cannot see it.
        .env("XSECURELOCK_NO_COMPOSITE", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if rustix::process::geteuid().is_root() {
        // Also drops every supplementary group.
        command.uid(session.account.uid).gid(session.account.gid);
    }
    let output = bounded::run(LIMIT, move |_| command.output())
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    let pid = std::str::from_utf8(&output.stdout).ok().and_then(|text| text.trim().parse().ok());
    let pid: u32 = pid.ok_or(io::ErrorKind::InvalidData)?;
    LinuxProcesses::identify(pid)
        .map_err(io::Error::other)?
        .ok_or_else(|| io::Error::other("it ended at once"))
}
