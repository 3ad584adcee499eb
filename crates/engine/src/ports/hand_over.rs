//! Leaving the machine to the next person.
//!
//! It refuses to call anything left behind that was not looked for.

use std::time::Duration;

/// What is left of an account on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Its login sessions by their ids; None where nothing on this machine counts them.
    pub logins: Option<Vec<String>>,
    /// Its live processes: pid and command name.
    pub processes: Vec<(u32, String)>,
    /// Where its runtime directory is, or would be.
    pub runtime_dir: String,
    /// Whether that is still there.
    pub has_runtime_dir: bool,
    /// What stands on its screen now, in words, where that can be told.
    pub screen: Option<String>,
}

impl Left {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.logins.as_ref().is_none_or(Vec::is_empty)
            && self.processes.is_empty()
            && !self.has_runtime_dir
    }
}

/// Why an account was not ended, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// This program would end with it.
    #[error("this program runs in a session of that account itself")]
    Own,
    /// What counts the login sessions failed.
    #[error("logind: {0}")]
    Logins(String),
    /// The processes could not be listed or ended.
    #[error(transparent)]
    Processes(#[from] super::ProcessError),
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

/// The whole presence of an account: login sessions, every process, the runtime directory.
pub trait HandOver: Sync {
    /// Ends every login session and every process of the account, those that a lock stands on too,
    /// and waits until nothing is left or `deadline` has passed. Its probe is [`HandOver::left`].
    ///
    /// # Errors
    /// [`HandOverError`]; what could be ended was.
    fn end_all(&self, deadline: Duration) -> Result<(), HandOverError>;

    /// What is left now.
    ///
    /// # Errors
    /// [`HandOverError`]: then nobody knows.
    fn left(&self) -> Result<Left, HandOverError>;
}
