//! The processes of the contained account, one by one and in groups.
//!
//! It refuses a pid alone, and a signal without a look at what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Identity;

/// One process, named so that a reused pid is never mistaken for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The pid.
    pub pid: u32,
    /// Start time in clock ticks after boot (`/proc/PID/stat` field 22).
    pub start: u64,
}

/// What is known of a process of the contained account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which process.
    pub id: ProcessId,
    /// Its parent's pid.
    pub parent: u32,
    /// Its real user id.
    pub uid: u32,
    /// Its executable, as the kernel resolves it; empty when hidden.
    pub exe: Vec<u8>,
    /// The executable is owned by root and not writable by others.
    pub exe_root_owned: bool,
    /// Command name, at most 15 bytes; for display only.
    pub comm: String,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// Those of `HOME`, `XDG_CONFIG_HOME`, `XDG_CACHE_HOME`, `XDG_DATA_HOME` that it has.
    pub env: BTreeMap<String, Vec<u8>>,
    /// A zombie: dead, not yet reaped by its parent.
    pub zombie: bool,
}

/// Processes that the kernel stops and ends as one, by the name that the adapter has for them: on
/// Linux a control group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub String);

/// Something that the account's service manager runs, by the name that it has there: on Linux a unit
/// of systemd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(pub String);

/// The groups that are the account's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Each of them.
    pub groups: Vec<Group>,
    /// Why there can be none here, in words.
    pub none_because: Option<String>,
}

/// Who holds a file open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The process.
    pub process: ProcessId,
    /// The file or directory that it has open, mapped, or stands in.
    pub identity: Identity,
}

/// Why a process operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The operating system refused.
    #[error("{op}: {source}")]
    Os {
        /// The operation, as a system-call name.
        op: &'static str,
        /// Its error.
        #[source]
        source: std::io::Error,
    },
}

/// The processes of the contained account. A process that is gone answers every verb with `Ok`.
pub trait Processes: Sync {
    /// Every process of the account, zombies included.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn list(&self) -> Result<Vec<Process>, ProcessError>;

    /// Which of the account's processes hold one of `files` open: descriptors, mappings, working
    /// directories. Sorted and without repeats.
    ///
    /// # Errors
    /// [`ProcessError::Os`]; a process that vanishes meanwhile is no error.
    fn holders(&self, files: &[Identity]) -> Result<Vec<Holder>, ProcessError>;

    /// Files without a name that processes still hold, by the path that they had. An adapter that
    /// cannot tell answers with none.
    ///
    /// # Errors
    /// [`ProcessError::Os`]; a process that vanishes meanwhile is no error.
    fn nameless(&self) -> Result<Vec<(ProcessId, Vec<u8>)>, ProcessError> {
        Ok(Vec::new())
    }

    /// Processes that must be spared: our own, the bus, the keyring daemon, the compositor or X
    /// server, the locker, the tray with its children. By pid, start time and executable.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn keep_list(&self) -> Result<Vec<ProcessId>, ProcessError>;

    /// What the account's session hangs on: its service manager and its session manager. They are
    /// frozen with the rest, and ended last, since what is kept would end with them.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn pillars(&self) -> Result<Vec<ProcessId>, ProcessError> {
        Ok(Vec::new())
    }

    /// Live processes of the account whose open files are hidden from here: nobody can say what they
    /// hold. Those that are known to hide for their own good are left out.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn hidden(&self) -> Result<Vec<ProcessId>, ProcessError> {
        Ok(Vec::new())
    }

    /// The groups that hold processes of the account, and nobody of `spared` nor of anyone else.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn groups(&self, _spared: &BTreeSet<ProcessId>) -> Result<Groups, ProcessError> {
        Ok(Groups::default())
    }

    /// Freezes a group with all that its processes start; false, and it runs on, when it holds
    /// somebody of `spared` by now. A process in it then [is frozen](Processes::is_frozen).
    ///
    /// # Errors
    /// [`ProcessError::Os`]; the group may run on.
    fn freeze_group(
        &self,
        _group: &Group,
        _spared: &BTreeSet<ProcessId>,
    ) -> Result<bool, ProcessError> {
        Ok(false)
    }

    /// Lets a frozen group run on.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn thaw_group(&self, _group: &Group) -> Result<(), ProcessError> {
        Ok(())
    }

    /// Ends everything in a group at once; false, and it lives on, when it holds somebody of `spared`
    /// by now. Its probe is [`Processes::is_running`].
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn end_group(
        &self,
        _group: &Group,
        _spared: &BTreeSet<ProcessId>,
    ) -> Result<bool, ProcessError> {
        Ok(false)
    }

    /// The service as whose main process the account's service manager runs this one; it would start
    /// it again.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn service_of(&self, _process: &ProcessId) -> Result<Option<Service>, ProcessError> {
        Ok(None)
    }

    /// Tells the account's service manager to stop a service and not to start it again. Its probe is
    /// [`Processes::is_running`].
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn stop_service(&self, _service: &Service) -> Result<(), ProcessError> {
        Ok(())
    }

    /// Stops a process from running on. Its probe is [`Processes::is_frozen`].
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn freeze(&self, process: &ProcessId) -> Result<(), ProcessError>;

    /// Whether a process is stopped or gone.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn is_frozen(&self, process: &ProcessId) -> Result<bool, ProcessError>;

    /// Lets a frozen process run on.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn thaw(&self, process: &ProcessId) -> Result<(), ProcessError>;

    /// Ends a process at once (`SIGKILL` through a pidfd). Its probe is [`Processes::is_running`].
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn end(&self, process: &ProcessId) -> Result<(), ProcessError>;

    /// Whether a process is alive; a zombie is not.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn is_running(&self, process: &ProcessId) -> Result<bool, ProcessError>;

    /// Waits until all of `processes` are gone or `deadline` has passed; returns those still alive.
    ///
    /// # Errors
    /// [`ProcessError::Os`].
    fn wait_gone(
        &self,
        processes: &[ProcessId],
        deadline: Duration,
    ) -> Result<Vec<ProcessId>, ProcessError>;
}
