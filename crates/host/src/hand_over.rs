//! Ending an account's whole presence: login sessions, services, every process, the runtime directory.
//!
//! It refuses to end the account that it runs under, and to remove anything: who made the runtime
//! directory takes it away, or it is reported.

mod logins;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use exeunt_engine::ports::{HandOver, HandOverError, Left, Process, ProcessError, Processes as _};

use crate::process::{KeepList, LinuxProcesses, Tree, lineage};

/// logind and the kernel tell of an end by events that may be lost: how long to wait before looking
/// again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long everything gets to end in good order once logind was told.
const BY_ITSELF: Duration = Duration::from_secs(3);
/// How long the greeter gets to come up.
const GREETER_WITHIN: Duration = Duration::from_secs(5);

/// One account, for root to end.
#[derive(Clone, Debug)]
pub struct LinuxHandOver {
    uid: u32,
    processes: LinuxProcesses,
}

impl LinuxHandOver {
    /// The account of `uid`; None where it is this process's own, or this is not root.
    #[must_use]
    pub fn of(uid: u32) -> Option<Self> {
        let own = rustix::process::geteuid();
        let may = own.is_root() && own.as_raw() != uid;
        may.then(|| Self { uid, processes: LinuxProcesses::of_uid(uid, KeepList::default()) })
    }

    fn runtime_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/user/{}", self.uid))
    }

    /// The account's slice, which systemd names after the user id (user@.service(5)).
    fn slice(&self) -> String {
        format!("user-{}.slice", self.uid)
    }

    fn live(&self) -> Result<Vec<Process>, ProcessError> {
        let mut listed = self.processes.list()?;
        listed.retain(|process| !process.zombie);
        Ok(listed)
    }

    fn refuse_own(&self) -> Result<(), HandOverError> {
        let text = std::fs::read_to_string("/proc/self/cgroup").map_err(os("read"))?;
        let slice = self.slice();
        if text.lines().any(|line| line.split('/').any(|part| part == slice)) {
            return Err(HandOverError::Own);
        }
        let above = lineage().map_err(os("read"))?;
        let own = self.live()?.iter().any(|process| above.contains(&process.id));
        if own { Err(HandOverError::Own) } else { Ok(()) }
    }

    /// Looks until nothing is left or the time is up.
    fn wait(&self, limit: Duration) -> Result<Left, HandOverError> {
        let until = Instant::now() + limit;
        loop {
            let left = self.left()?;
            if left.is_nothing() || Instant::now() >= until {
                return Ok(left);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends what did not end by itself: the account's slice as a whole, and each process outside it.
    fn end_by_force(&self) -> Result<(), HandOverError> {
        if let Some(tree) = Tree::find().map_err(os("read"))? {
            let slice = tree.group(&format!("/user.slice/{}", self.slice()));
            // The slice is the account's whoever works in it: a display manager's helper too.
            let ended = slice.map_or(Ok(false), |slice| tree.end(&slice, |pid| Ok(pid != 0)));
            ended.map_err(os("cgroup.kill"))?;
        }
        for process in self.live()? {
            self.processes.end(&process.id)?;
        }
        Ok(())
    }
}

impl HandOver for LinuxHandOver {
    fn end_all(&self, deadline: Duration) -> Result<(), HandOverError> {
        self.refuse_own()?;
        let seated = logins::is_seated(self.uid);
        let until = Instant::now() + deadline;
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let told =
            logins::terminate(self.uid).map_err(|error| HandOverError::Logins(error.to_string()));
        if matches!(told, Ok(true)) {
            self.wait(left(until).min(BY_ITSELF))?;
        }
        loop {
            self.end_by_force()?;
            let now = self.wait(left(until).min(BY_ITSELF))?;
            if now.is_nothing() || left(until).is_zero() {
                break;
            }
            if now.processes.is_empty() {
                // Only what others take away is left to be waited for.
                self.wait(left(until))?;
                break;
            }
        }
        if seated {
            logins::await_greeter(left(until).min(GREETER_WITHIN), LOOK_AGAIN);
        }
        told.map(drop)
    }

    fn left(&self) -> Result<Left, HandOverError> {
        let logins =
            logins::of(self.uid).map_err(|error| HandOverError::Logins(error.to_string()))?;
        let processes = self.live()?.into_iter().map(|process| (process.id.pid, process.comm));
        let runtime_dir = self.runtime_dir();
        Ok(Left {
            logins,
            processes: processes.collect(),
            has_runtime_dir: runtime_dir.symlink_metadata().is_ok(),
            runtime_dir: runtime_dir.display().to_string(),
            screen: logins::greeter(),
        })
    }
}

fn os(op: &'static str) -> impl Fn(std::io::Error) -> HandOverError {
    move |source| HandOverError::Os { op, source }
}
