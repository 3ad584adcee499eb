//! The port to agents: programs that keep credentials in memory or behind a socket.
//!
//! It refuses to carry a secret: an agent is asked how many it keeps, and to forget them.

use std::time::Duration;

use exeunt_catalogue::{AgentKind, AgentRule};

use super::ProcessId;

/// An agent of the account that keeps, or may keep, credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAgent {
    /// Which of the rules that [`Agents::find`] was given led to it.
    pub rule: usize,
    /// What it is, as its listener shows: the socket of one kind may belong to another.
    pub kind: AgentKind,
    /// Where it is, as the adapter addresses it: the path of a socket or of a ticket cache.
    pub address: Vec<u8>,
    /// The same for people: `runtime:keyring/ssh`, `home:.ssh/agent/s.1`, `/tmp/ssh-x/agent.7`.
    pub place: String,
    /// The processes that hold the socket.
    pub listeners: Vec<Listener>,
    /// Why it cannot be asked from here, when it cannot.
    pub refused: Option<String>,
}

/// A process that holds an agent's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Which process.
    pub process: ProcessId,
    /// It runs the agent's own program, so that ending it ends the agent and nothing else.
    pub is_agent: bool,
}

/// Why an agent did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It answered that it will not.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    /// What it answered is no answer in its protocol.
    #[error("the agent answered out of protocol: {0}")]
    Protocol(&'static str),
    /// There are more sockets than are looked at.
    #[error("more than {0} agents; the rest was not looked at")]
    TooMany(usize),
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

/// The account's agents, asked with the account's own rights.
pub trait Agents: Sync {
    /// The agents that `rules` lead to. Starts none, and asks none to forget anything.
    ///
    /// # Errors
    /// [`AgentError::TooMany`] or [`AgentError::Os`] when not every place could be looked at.
    fn find(&self, rules: &[&AgentRule]) -> Result<Vec<LiveAgent>, AgentError>;

    /// Makes an agent forget everything. Its probe is [`Agents::count`].
    ///
    /// # Errors
    /// [`AgentError`]; an agent that is gone is no error.
    fn flush(&self, agent: &LiveAgent) -> Result<(), AgentError>;

    /// How many credentials an agent keeps; 0 when it is gone. A connection that stays signed in
    /// counts as one.
    ///
    /// # Errors
    /// [`AgentError`].
    fn count(&self, agent: &LiveAgent) -> Result<u64, AgentError>;
}
