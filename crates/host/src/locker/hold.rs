//! A locker that is started under a shell that waits for it, so that its end and its exit status
//! are known to a warden that is not its parent.
//!
//! It refuses to take a person's unlocking for a locker's death, and the other way round.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{io, thread};

use exeunt_engine::ports::ProcessId;
use rustix::process::geteuid;

use super::DesktopSession;
use crate::process::LinuxProcesses;

/// How long the start itself may take.
const STARTED_WITHIN: Duration = Duration::from_secs(3);
/// The inner shell belongs to whoever starts this, root's to root, and so the account cannot end it.
/// It says the locker's pid and, when the locker has ended, its status. The outer one ends at once:
/// the inner's parent is then the init process.
const SCRIPT: &str = r#"setsid sh -c '"$@" </dev/null >/dev/null 2>&1 & echo $!; wait $!; echo $?' \
sh "$@" </dev/null 2>/dev/null &"#;

/// How a locker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself and without a complaint: a person unlocked the screen, or it went to the
    /// background.
    Itself,
    /// By a signal, or with an error.
    Died(i32),
    /// Its shell is gone, so nobody knows.
    Unknown,
}

/// A locker that was started and is waited for.
#[derive(Debug)]
pub(super) struct Held {
    /// Which process it is.
    pub(super) process: ProcessId,
    ended: Receiver<Ended>,
}

impl Held {
    /// Starts `program` as the session's account.
    pub(super) fn start(
        session: &DesktopSession,
        program: &Path,
        args: &[&str],
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh"]);
        if geteuid().is_root() {
            let (uid, gid) = (session.account.uid.to_string(), session.account.gid.to_string());
            command.args(["/usr/bin/setpriv", "--reuid", &uid, "--regid", &gid]);
            command.args(["--clear-groups", "--"]);
        }
        command
            .arg(program)
            .args(args)
            .env_clear()
            .envs(session.environment())
            // Else xsecurelock draws in a compositor's overlay, where the probe cannot see it.
            .env("XSECURELOCK_NO_COMPOSITE", "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut shell = command.spawn()?;
        let out = shell.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        shell.wait()?;
        let (pids, started) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        thread::Builder::new().name("locker".into()).spawn(move || listen(out, &pids, &tell))?;
        let pid = started.recv_timeout(STARTED_WITHIN).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut,
            RecvTimeoutError::Disconnected => io::ErrorKind::InvalidData,
        })?;
        let process = LinuxProcesses::identify(pid).map_err(io::Error::other)?;
        let process = process.ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Self { process, ended })
    }

    /// Waits until it has ended, at most `limit`; `None` when it runs on.
    pub(super) fn wait(&self, limit: Duration) -> Option<Ended> {
        match self.ended.recv_timeout(limit) {
            Ok(ended) => Some(ended),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Ended::Unknown),
        }
    }

    /// Waits until it has ended.
    pub(super) fn wait_ended(&self) -> Ended {
        self.ended.recv().unwrap_or(Ended::Unknown)
    }
}

/// Passes on the two lines of the shell.
fn listen(out: ChildStdout, pids: &Sender<u32>, tell: &Sender<Ended>) {
    let mut lines = BufReader::new(out).lines();
    let mut number = || lines.next()?.ok()?.trim().parse::<i32>().ok();
    let Some(pid) = number().and_then(|pid| u32::try_from(pid).ok()) else { return };
    // Nobody waits any more when a receiver is gone.
    let _unwanted = pids.send(pid);
    let ended = match number() {
        Some(0) => Ended::Itself,
        Some(status) => Ended::Died(status),
        None => Ended::Unknown,
    };
    let _unwanted = tell.send(ended);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Account;

    const LONG: Duration = Duration::from_secs(20);

    fn session() -> DesktopSession {
        let own = Account::of_uid(geteuid().as_raw()).unwrap();
        DesktopSession::of(own)
    }

    fn ends(program: &str, args: &[&str]) -> Ended {
        Held::start(&session(), Path::new(program), args).unwrap().wait(LONG).unwrap()
    }

    #[test]
    fn tells_an_end_by_itself_from_an_error() {
        assert_eq!(ends("/bin/sh", &["-c", "sleep 0.2"]), Ended::Itself);
        assert_eq!(ends("/bin/sh", &["-c", "sleep 0.2; exit 3"]), Ended::Died(3));
    }

    #[test]
    fn tells_a_kill_and_waits_without_being_the_parent() {
        let held = Held::start(&session(), Path::new("/bin/sleep"), &["1000"]).unwrap();
        assert_eq!(held.wait(Duration::ZERO), None);
        let pid = i32::try_from(held.process.pid).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
        assert_eq!(held.wait_ended(), Ended::Died(137));
    }
}
