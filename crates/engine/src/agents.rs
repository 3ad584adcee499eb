//! Agents from survey to verdict: found, told to forget, ended when they do not, counted again.
//!
//! It refuses to end a process that is kept, or that is more than the agent itself.

use std::collections::BTreeSet;

use exeunt_catalogue::{AgentKind, AgentRule, App, AppId, Catalogue, StoreId};
use exeunt_domain::receipt::Before;
use exeunt_domain::{StoreReport, Verdict};

use crate::execute::{GONE_WITHIN, Run};
use crate::ports::{Agents, Files, Host, LiveAgent, Process, ProcessId};

/// An agent and the rule that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub(crate) app: AppId,
    pub(crate) app_name: String,
    pub(crate) rule: StoreId,
    pub(crate) live: LiveAgent,
    /// How many credentials it keeps, or why that is unknown.
    pub(crate) held: Result<u64, String>,
}

/// What became of one agent when it was told to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Why it did not forget.
    pub(crate) error: Option<String>,
    /// Its process was ended instead.
    pub(crate) ended: bool,
}

impl Agent {
    /// Whether a person is shown it. One that keeps nothing is flushed all the same, since a
    /// locked agent says that it keeps nothing.
    pub(crate) fn is_shown(&self) -> bool {
        self.live.refused.is_some() || self.held != Ok(0)
    }

    /// The row as a survey shows it.
    pub(crate) fn report(&self) -> StoreReport {
        let refused = self.live.refused.clone();
        StoreReport {
            app: self.app.to_string(),
            profile: String::new(),
            store: self.rule.to_string(),
            place: format!("agent:{} {}", kind_name(self.live.kind), self.live.place),
            before: if refused.is_some() { Before::Refused } else { Before::Present },
            verdict: None,
            detail: refused.or_else(|| self.held.as_ref().err().cloned()),
        }
    }
}

/// Every agent that the catalogue leads to, with what it keeps, and why some could not be found.
pub(crate) fn survey<F: Files>(
    catalogue: &Catalogue,
    host: &Host<'_, F>,
) -> (Vec<Agent>, Option<String>) {
    let Some(agents) = host.agents else { return (Vec::new(), None) };
    let known: Vec<(&App, &AgentRule)> = catalogue
        .apps()
        .iter()
        .flat_map(|app| app.agents.iter().map(move |rule| (app, rule)))
        .collect();
    let rules: Vec<&AgentRule> = known.iter().map(|(_, rule)| *rule).collect();
    let found = match agents.find(&rules) {
        Ok(found) => found,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let held = at_once(&found, |live| count(agents, live));
    let rows = found.into_iter().zip(held).filter_map(|(live, held)| {
        let (app, rule) = known.get(live.rule)?;
        let (app, app_name) = (app.id.clone(), app.name.clone());
        Some(Agent { app, app_name, rule: rule.id.clone(), live, held })
    });
    (rows.collect(), None)
}

/// The row that says why agents could not be looked for.
pub(crate) fn unknown_row(why: &str) -> StoreReport {
    StoreReport {
        app: "agents".into(),
        profile: String::new(),
        store: "all".into(),
        place: "agent:".into(),
        before: Before::Refused,
        verdict: Some(Verdict::Unknown),
        detail: Some(why.to_owned()),
    }
}

/// The processes that must run on until the agents have answered: whoever listens, and the children
/// that a listener asks in turn.
pub(crate) fn sheltered(agents: &[Agent], listed: &[Process]) -> BTreeSet<ProcessId> {
    let mut spared: BTreeSet<ProcessId> = agents
        .iter()
        .flat_map(|agent| &agent.live.listeners)
        .map(|listener| listener.process.clone())
        .collect();
    let helps = |process: &&Process| spared.iter().any(|parent| parent.pid == process.parent);
    let helpers: Vec<_> = listed.iter().filter(helps).map(|process| process.id.clone()).collect();
    spared.extend(helpers);
    spared
}

impl<F: Files> Run<'_, '_, F> {
    /// Tells every agent to forget, all at once; ends those of the account that do not.
    pub(crate) fn flush_agents(
        &self,
        agents: &[Agent],
        keep: &BTreeSet<ProcessId>,
    ) -> Vec<Flushed> {
        let Some(port) = self.host.agents.filter(|_| !agents.is_empty()) else {
            return Vec::new();
        };
        self.recorder.step("agents", |errors| {
            let flushed = at_once(agents, |agent| self.flush_agent(port, agent, keep));
            for (agent, flushed) in agents.iter().zip(&flushed) {
                let why = flushed.error.as_ref().map(|why| format!("{}: {why}", agent.live.place));
                errors.extend(why);
            }
            flushed
        })
    }

    fn flush_agent(&self, port: &dyn Agents, agent: &Agent, keep: &BTreeSet<ProcessId>) -> Flushed {
        let live = &agent.live;
        if live.refused.is_some() {
            return Flushed::default();
        }
        let flushed = port.flush(live).map_err(|error| error.to_string());
        let error = match flushed.and_then(|()| count(port, live)) {
            Ok(0) => return Flushed::default(),
            Ok(left) => format!("still keeps {left} after it was told to forget"),
            Err(why) => why,
        };
        if self.end_agent(live, keep) {
            return Flushed { error: None, ended: true };
        }
        Flushed { error: Some(error), ended: false }
    }

    /// Ends the agent's own processes; false when there is none to end, or one lives on.
    fn end_agent(&self, live: &LiveAgent, keep: &BTreeSet<ProcessId>) -> bool {
        let ours = live.listeners.iter().filter(|listener| listener.is_agent);
        let processes: Vec<ProcessId> = ours
            .map(|listener| listener.process.clone())
            .filter(|process| !keep.contains(process))
            .collect();
        let ended = processes.iter().all(|process| self.host.processes.end(process).is_ok());
        let gone = self.host.processes.wait_gone(&processes, GONE_WITHIN);
        !processes.is_empty() && ended && gone.is_ok_and(|alive| alive.is_empty())
    }

    /// Counts again, deals with agents that came up meanwhile, and gives every row its verdict.
    pub(crate) fn judge_agents(
        &self,
        catalogue: &Catalogue,
        planned: &[Agent],
        flushed: &[Flushed],
    ) -> Vec<StoreReport> {
        let Some(port) = self.host.agents else { return Vec::new() };
        self.recorder.step("count-agents", |errors| {
            let counts = at_once(planned, |agent| count(port, &agent.live));
            let none = Flushed::default();
            let mut rows = Vec::new();
            for (index, (agent, left)) in planned.iter().zip(counts).enumerate() {
                let done = flushed.get(index).unwrap_or(&none);
                rows.extend(judge(agent, &left, done, Before::Present));
            }
            let (found, why) = survey(catalogue, self.host);
            rows.extend(why.map(|why| {
                errors.push(why.clone());
                unknown_row(&why)
            }));
            let known =
                |agent: &Agent| planned.iter().any(|p| p.live.address == agent.live.address);
            let new: Vec<Agent> =
                found.into_iter().filter(|agent| !known(agent) && agent.is_shown()).collect();
            let keep = self.host.processes.keep_list().unwrap_or_default().into_iter().collect();
            let again = self.flush_agents(&new, &keep);
            for (index, agent) in new.iter().enumerate() {
                let done = again.get(index).unwrap_or(&none);
                rows.extend(judge(agent, &count(port, &agent.live), done, Before::Appeared));
            }
            rows
        })
    }
}

/// The row of one agent; none when it kept nothing before and keeps nothing now.
fn judge(
    agent: &Agent,
    left: &Result<u64, String>,
    flushed: &Flushed,
    before: Before,
) -> Option<StoreReport> {
    let row = agent.report();
    let (verdict, detail) = match (&agent.live.refused, left, &flushed.error) {
        (Some(why), _, _) => (Verdict::Refused, Some(why.clone())),
        (None, Err(why), _) => (Verdict::Unknown, Some(why.clone())),
        (None, Ok(0), Some(why)) => (Verdict::Residual, Some(why.clone())),
        (None, Ok(0), None) => {
            let ended = "did not forget, and was ended".to_owned();
            (Verdict::Gone, flushed.ended.then_some(ended))
        }
        (None, Ok(left), _) => (Verdict::Residual, Some(format!("still keeps {left}"))),
    };
    let shown = agent.is_shown() || verdict != Verdict::Gone;
    let before = if agent.live.refused.is_some() { Before::Refused } else { before };
    shown.then_some(StoreReport { before, verdict: Some(verdict), detail, ..row })
}

/// What an agent keeps; nobody is asked who cannot be.
fn count(agents: &dyn Agents, live: &LiveAgent) -> Result<u64, String> {
    if live.refused.is_some() {
        return Ok(0);
    }
    agents.count(live).map_err(|error| error.to_string())
}

/// Does `work` for each, on a thread of its own: one that hangs delays no other.
fn at_once<T: Sync, R: Send + From<Fault>>(each: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = each.iter().map(|one| scope.spawn(move || work(one))).collect();
        running.into_iter().map(|one| one.join().unwrap_or_else(|_| Fault.into())).collect()
    })
}

/// A thread that asked an agent panicked.
struct Fault;

impl From<Fault> for Flushed {
    fn from(_: Fault) -> Self {
        Self { error: Some("asking the agent panicked".into()), ended: false }
    }
}

impl From<Fault> for Result<u64, String> {
    fn from(_: Fault) -> Self {
        Err("asking the agent panicked".into())
    }
}

fn kind_name(kind: AgentKind) -> &'static str {
    match kind {
        AgentKind::SshAgent => "ssh-agent",
        AgentKind::GpgAgent => "gpg-agent",
        AgentKind::ControlMaster => "control-master",
        AgentKind::GitCredentialCache => "git-credential-cache",
        AgentKind::KerberosCache => "kerberos-cache",
    }
}
