//! Agents in memory.
//!
//! It refuses to keep anything but a count, as the port must.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exeunt_catalogue::{AgentKind, AgentRule};
use exeunt_engine::ports::{AgentError, Agents, Listener, LiveAgent, ProcessId, Processes};

use crate::FakeProcesses;

/// ssh agents in memory, each listening in one process.
#[derive(Debug, Default)]
pub struct FakeAgents {
    agents: Mutex<Vec<Fake>>,
}

#[derive(Clone, Debug)]
struct Fake {
    pid: u32,
    keys: u64,
    manner: Manner,
}

/// How an agent takes it when it is told to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Obeys,
    Lies,
    Locked,
    Hangs,
    OutOfReach,
}

/// Building and breaking, for tests.
impl FakeAgents {
    /// No agent at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An agent in process `pid` (start time 1) that keeps `keys` and forgets when told.
    #[must_use]
    pub fn agent(self, pid: u32, keys: u64) -> Self {
        self.with(pid, keys, Manner::Obeys)
    }

    /// One that says that it forgot, and did not.
    #[must_use]
    pub fn liar(self, pid: u32, keys: u64) -> Self {
        self.with(pid, keys, Manner::Lies)
    }

    /// One that shows nothing and forgets nothing until it is unlocked.
    #[must_use]
    pub fn locked(self, pid: u32, keys: u64) -> Self {
        self.with(pid, keys, Manner::Locked)
    }

    /// One that never answers.
    #[must_use]
    pub fn hanging(self, pid: u32, keys: u64) -> Self {
        self.with(pid, keys, Manner::Hangs)
    }

    /// One that is known of and cannot be asked.
    #[must_use]
    pub fn out_of_reach(self, pid: u32) -> Self {
        self.with(pid, 1, Manner::OutOfReach)
    }

    fn with(self, pid: u32, keys: u64, manner: Manner) -> Self {
        self.add(pid, keys, manner);
        self
    }

    fn add(&self, pid: u32, keys: u64, manner: Manner) {
        self.state().push(Fake { pid, keys, manner });
    }

    /// Starts another obedient agent while the engine is at work.
    pub fn start(&self, pid: u32, keys: u64) {
        self.add(pid, keys, Manner::Obeys);
    }

    /// Gives every agent `keys` to keep.
    pub fn remember(&self, keys: u64) {
        self.state().iter_mut().for_each(|fake| fake.keys = keys);
    }

    /// Ends the agent of a process, as when the process was ended.
    pub fn end(&self, pid: u32) {
        self.state().retain(|fake| fake.pid != pid);
    }

    /// Ends every agent.
    pub fn stop(&self) {
        self.state().clear();
    }

    /// These agents, each gone once its process is.
    pub fn living_in<'a>(&'a self, processes: &'a FakeProcesses) -> impl Agents + 'a {
        Living { agents: self, processes }
    }

    /// What every agent really keeps, whatever it says.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.state().iter().map(|fake| fake.keys).sum()
    }

    fn state(&self) -> MutexGuard<'_, Vec<Fake>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agents for FakeAgents {
    fn find(&self, rules: &[&AgentRule]) -> Result<Vec<LiveAgent>, AgentError> {
        let Some(rule) = rules.iter().position(|rule| rule.kind == AgentKind::SshAgent) else {
            return Ok(Vec::new());
        };
        let live = |fake: &Fake| LiveAgent {
            rule,
            kind: AgentKind::SshAgent,
            address: fake.pid.to_string().into_bytes(),
            place: format!("runtime:agent.{}", fake.pid),
            listeners: vec![Listener {
                process: ProcessId { pid: fake.pid, start: 1 },
                is_agent: true,
            }],
            refused: (fake.manner == Manner::OutOfReach).then(|| "out of reach".to_owned()),
        };
        Ok(self.state().iter().map(live).collect())
    }

    fn flush(&self, agent: &LiveAgent) -> Result<(), AgentError> {
        let mut state = self.state();
        let Some(fake) = state.iter_mut().find(|fake| is(fake, agent)) else { return Ok(()) };
        match fake.manner {
            Manner::Obeys => {
                fake.keys = 0;
                Ok(())
            }
            Manner::Lies => Ok(()),
            Manner::Locked => Err(AgentError::Refused("it is locked".to_owned())),
            Manner::Hangs | Manner::OutOfReach => Err(AgentError::Timeout(Duration::ZERO)),
        }
    }

    fn count(&self, agent: &LiveAgent) -> Result<u64, AgentError> {
        let state = self.state();
        let Some(fake) = state.iter().find(|fake| is(fake, agent)) else { return Ok(0) };
        match fake.manner {
            Manner::Obeys | Manner::Lies => Ok(fake.keys),
            Manner::Locked => Ok(0),
            Manner::Hangs | Manner::OutOfReach => Err(AgentError::Timeout(Duration::ZERO)),
        }
    }
}

/// Agents that end with their processes.
struct Living<'a> {
    agents: &'a FakeAgents,
    processes: &'a FakeProcesses,
}

impl Living<'_> {
    fn agents(&self) -> &FakeAgents {
        let runs = |pid| self.processes.is_running(&FakeProcesses::id(pid)).is_ok_and(|runs| runs);
        self.agents.state().retain(|fake| runs(fake.pid));
        self.agents
    }
}

impl Agents for Living<'_> {
    fn find(&self, rules: &[&AgentRule]) -> Result<Vec<LiveAgent>, AgentError> {
        self.agents().find(rules)
    }

    fn flush(&self, agent: &LiveAgent) -> Result<(), AgentError> {
        self.agents().flush(agent)
    }

    fn count(&self, agent: &LiveAgent) -> Result<u64, AgentError> {
        self.agents().count(agent)
    }
}

fn is(fake: &Fake, agent: &LiveAgent) -> bool {
    agent.address == fake.pid.to_string().into_bytes()
}
