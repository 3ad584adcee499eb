//! A locker that is started under a shell that waits for it, so that its end and its exit status
//! are known to a warden that is not its parent.
//!
//! It refuses to take a person's unlocking for a locker's death, and the other way round.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{io, thread};

use exeunt_engine::ports::{ProcessId, Processes as _};
use rustix::process::geteuid;

use super::DesktopSession;
use crate::process::{KeepList, LinuxProcesses, Pinned};

/// How long the start itself may take.
const STARTED_WITHIN: Duration = Duration::from_secs(3);
/// The inner shell belongs to whoever starts this, root's to root, and so the account cannot end it.
/// It says the locker's pid and, when the locker has ended, its status. The outer one ends at once:
/// the inner's parent is then the init process.
const SCRIPT: &str = r#"setsid sh -c '"$@" </dev/null >/dev/null 2>&1 & echo $!; wait $!; echo $?' \
sh "$@" </dev/null 2>/dev/null &"#;
/// The same for a program that says on descriptor 3, by an empty line, that it is ready.
const SCRIPT_OF_TELLER: &str = r#"setsid sh -c '"$@" </dev/null 3>&1 >/dev/null 2>&1 & echo $!; exec 3>&-; wait $!; echo $?' \
sh "$@" </dev/null 2>/dev/null &"#;
/// The descriptor that such a program is to write to.
pub(super) const TELLS_ON: &str = "3";
/// Says of a process that it descends from one locker of ours. Its value is that locker's own.
const MARK: &str = "EXEUNT_LOCKER";

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
    ready: Receiver<()>,
    session: DesktopSession,
    mark: String,
}

/// What a program that tells of its readiness came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It says that it is ready.
    Ready,
    /// It has ended before.
    Ended(Ended),
    /// It has said nothing in time.
    Silent,
}

impl Held {
    /// Starts `program` as the session's account.
    pub(super) fn start(
        session: &DesktopSession,
        program: &Path,
        args: &[&str],
    ) -> io::Result<Self> {
        Self::start_with(SCRIPT, session, program, args)
    }

    /// The same for a program that writes a line to [`TELLS_ON`] when it is ready.
    pub(super) fn start_teller(
        session: &DesktopSession,
        program: &Path,
        args: &[&str],
    ) -> io::Result<Self> {
        Self::start_with(SCRIPT_OF_TELLER, session, program, args)
    }

    fn start_with(
        script: &str,
        session: &DesktopSession,
        program: &Path,
        args: &[&str],
    ) -> io::Result<Self> {
        let mark = mark();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]);
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
            .env(MARK, &mark)
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
        let (say, ready) = mpsc::channel();
        let listen = move || listen(out, &pids, &say, &tell);
        thread::Builder::new().name("locker".into()).spawn(listen)?;
        let pid = started.recv_timeout(STARTED_WITHIN).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut,
            RecvTimeoutError::Disconnected => io::ErrorKind::InvalidData,
        })?;
        let process = LinuxProcesses::identify(pid).map_err(io::Error::other)?;
        let process = process.ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Self { process, ended, ready, session: session.clone(), mark })
    }

    /// Waits until the program says that it is ready, at most `limit`.
    pub(super) fn wait_ready(&self, limit: Duration) -> Readiness {
        match self.ready.recv_timeout(limit) {
            Ok(()) => Readiness::Ready,
            Err(RecvTimeoutError::Timeout) => Readiness::Silent,
            // The shell says how it ended, or is gone.
            Err(RecvTimeoutError::Disconnected) => Readiness::Ended(self.wait_ended()),
        }
    }

    /// Ends what a locker that has ended left behind: `xsecurelock` has helpers in sessions of their
    /// own that nobody tells. Returns how many there were.
    pub(super) fn end_leftovers(&self) -> usize {
        let processes = LinuxProcesses::of_uid(self.session.account.uid, KeepList::default());
        let left: Vec<ProcessId> = processes
            .list()
            .unwrap_or_default()
            .into_iter()
            .filter(|process| !process.zombie && self.is_marked(process.id.pid))
            .map(|process| process.id)
            .collect();
        for process in &left {
            if let Err(error) = processes.end(process) {
                tracing::warn!(pid = process.pid, %error, "a locker's helper could not be ended");
            }
        }
        left.len()
    }

    fn is_marked(&self, pid: u32) -> bool {
        let Ok(Some(pinned)) = Pinned::open(pid) else { return false };
        pinned.env(&[MARK]).get(MARK).is_some_and(|value| value == self.mark.as_bytes())
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

/// What no other locker of this process is marked with.
fn mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Passes on the lines of the shell, and the empty one of a program that is ready.
fn listen(out: ChildStdout, pids: &Sender<u32>, say: &Sender<()>, tell: &Sender<Ended>) {
    let mut lines = BufReader::new(out).lines();
    let mut number = || loop {
        let line = lines.next()?.ok()?;
        if !line.is_empty() {
            return line.trim().parse::<i32>().ok();
        }
        let _unwanted = say.send(());
    };
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
    fn tells_of_readiness_before_the_end_and_of_an_end_before_readiness() {
        let start =
            |script| Held::start_teller(&session(), Path::new("/bin/sh"), &["-c", script]).unwrap();
        let held = start("sleep 0.1; echo >&3; sleep 0.1; exit 2");
        assert_eq!(held.wait_ready(LONG), Readiness::Ready);
        assert_eq!(held.wait_ended(), Ended::Died(2));
        assert_eq!(start("sleep 0.1; exit 1").wait_ready(LONG), Readiness::Ended(Ended::Died(1)));
        let silent = start("exec sleep 1000");
        assert_eq!(silent.wait_ready(Duration::ZERO), Readiness::Silent);
        // The shell that waits for it is this account's own here, and counts.
        assert_eq!(silent.end_leftovers(), 2);
        assert_ne!(silent.wait(LONG), None);
    }

    #[test]
    fn ends_what_a_locker_left_in_a_session_of_its_own_and_no_other_lockers() {
        let start =
            |script| Held::start(&session(), Path::new("/bin/sh"), &["-c", script]).unwrap();
        let other = start("exec sleep 1000");
        let held = start("setsid sleep 1000 & sleep 0.2");
        assert_eq!(held.wait_ended(), Ended::Itself);
        assert_ne!(held.end_leftovers(), 0);
        assert_eq!(other.wait(Duration::ZERO), None);
        assert_eq!(other.end_leftovers(), 2);
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
