//! The contract of [`Agents`].
//!
//! It refuses to see a secret.

use exeunt_catalogue::AgentRule;
use exeunt_engine::ports::{Agents, LiveAgent};

/// One running agent to test with, and a way to change it behind the port's back.
pub trait AgentsRig {
    /// The implementation.
    fn agents(&self) -> &dyn Agents;
    /// The rule that leads to the agent.
    fn rule(&self) -> AgentRule;
    /// Gives the agent one credential to keep.
    fn keep(&self);
    /// Ends the agent.
    fn stop(&self);
}

/// Runs the whole contract, each part with an agent of its own.
pub fn all<R: AgentsRig>(make: impl Fn() -> R) {
    finds_counts_and_flushes(&make());
    an_agent_that_is_gone_keeps_nothing(&make());
}

fn finds_counts_and_flushes<R: AgentsRig>(rig: &R) {
    rig.keep();
    let live = only(rig);
    assert_eq!(live.refused, None);
    assert_eq!(rig.agents().count(&live).expect("counts"), 1);
    // Looking changes nothing.
    assert_eq!(rig.agents().count(&live).expect("counts"), 1);
    rig.agents().flush(&live).expect("flushes");
    assert_eq!(rig.agents().count(&live).expect("counts"), 0);
    rig.agents().flush(&live).expect("is no error");
    rig.stop();
}

fn an_agent_that_is_gone_keeps_nothing<R: AgentsRig>(rig: &R) {
    rig.keep();
    let live = only(rig);
    rig.stop();
    assert_eq!(rig.agents().count(&live).expect("counts"), 0);
    rig.agents().flush(&live).expect("is no error");
    let rule = rig.rule();
    assert_eq!(rig.agents().find(&[&rule]).expect("looks"), []);
    assert_eq!(rig.agents().find(&[]).expect("looks"), []);
}

fn only<R: AgentsRig>(rig: &R) -> LiveAgent {
    let rule = rig.rule();
    let mut found = rig.agents().find(&[&rule]).expect("looks");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}
