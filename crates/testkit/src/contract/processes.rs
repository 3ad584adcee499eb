//! The contract of [`Processes`].
//!
//! It refuses to end a process that the rig did not start.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use exeunt_engine::ports::{Group, Identity, ProcessId, Processes};

/// A way to start processes behind the port's back.
pub trait ProcessesRig {
    /// The implementation.
    type Processes: Processes;

    /// The implementation over this rig's processes.
    fn processes(&self) -> &Self::Processes;
    /// Starts a process that holds one file open and runs until it is ended.
    fn start_holder(&self) -> (ProcessId, Identity);
    /// Starts a process in a group of its own; None where there are no groups.
    fn start_group(&self) -> Option<(Group, ProcessId)>;
}

/// Long enough for a signal to arrive, however busy the machine is.
const LONG: Duration = Duration::from_secs(10);

/// Runs the whole contract, each part with processes of its own.
pub fn all<R: ProcessesRig>(make: impl Fn() -> R) {
    lists_and_finds_a_holder(&make());
    freezes_and_thaws(&make());
    ends_and_waits(&make());
    a_reused_pid_is_another_process(&make());
    freezes_and_ends_a_group_as_one(&make());
}

fn lists_and_finds_a_holder<R: ProcessesRig>(rig: &R) {
    let (process, file) = rig.start_holder();
    let processes = rig.processes();
    let listed = processes.list().expect("lists");
    assert!(listed.iter().any(|listed| listed.id == process && !listed.zombie));
    let holders = processes.holders(&[file]).expect("searches");
    assert!(holders.iter().any(|holder| holder.process == process && holder.identity == file));
    let other = Identity { dev: file.dev, ino: u64::MAX };
    assert!(processes.holders(&[other]).expect("searches").is_empty());
    processes.end(&process).expect("ends");
}

fn freezes_and_thaws<R: ProcessesRig>(rig: &R) {
    let (process, _) = rig.start_holder();
    let processes = rig.processes();
    assert!(!processes.is_frozen(&process).expect("looks"));
    processes.freeze(&process).expect("freezes");
    assert!(becomes(|| processes.is_frozen(&process).expect("looks")));
    assert!(processes.is_running(&process).expect("looks"));
    processes.thaw(&process).expect("thaws");
    assert!(becomes(|| !processes.is_frozen(&process).expect("looks")));
    processes.end(&process).expect("ends");
}

/// Whether `state` is reached in time: nobody but a parent is told of stops, so it is watched.
fn becomes(state: impl Fn() -> bool) -> bool {
    let until = Instant::now() + LONG;
    while !state() {
        if Instant::now() > until {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn ends_and_waits<R: ProcessesRig>(rig: &R) {
    let (process, file) = rig.start_holder();
    let processes = rig.processes();
    let waited = processes.wait_gone(std::slice::from_ref(&process), Duration::ZERO);
    assert_eq!(waited.expect("waits"), std::slice::from_ref(&process));
    // A frozen process ends too.
    processes.freeze(&process).expect("freezes");
    processes.end(&process).expect("ends");
    let waited = processes.wait_gone(std::slice::from_ref(&process), LONG).expect("waits");
    assert_eq!(waited, []);
    assert!(!processes.is_running(&process).expect("looks"));
    assert!(processes.holders(&[file]).expect("searches").is_empty());
    // One that is gone answers every verb.
    processes.freeze(&process).expect("is no error");
    processes.thaw(&process).expect("is no error");
    processes.end(&process).expect("is no error");
    assert!(processes.is_frozen(&process).expect("looks"));
}

fn a_reused_pid_is_another_process<R: ProcessesRig>(rig: &R) {
    let (process, _) = rig.start_holder();
    let processes = rig.processes();
    let before = ProcessId { start: process.start.wrapping_add(1), ..process.clone() };
    processes.end(&before).expect("is no error");
    assert!(!processes.is_running(&before).expect("looks"));
    assert!(processes.is_running(&process).expect("looks"));
    processes.end(&process).expect("ends");
}

fn freezes_and_ends_a_group_as_one<R: ProcessesRig>(rig: &R) {
    let nobody = BTreeSet::new();
    let processes = rig.processes();
    let Some((group, process)) = rig.start_group() else {
        let found = processes.groups(&nobody).expect("looks");
        assert!(found.groups.is_empty() && found.none_because.is_some(), "{found:?}");
        return;
    };
    let spared = BTreeSet::from([process.clone()]);
    let among = |spared| processes.groups(spared).expect("looks").groups.contains(&group);
    assert!(among(&nobody));
    assert!(!among(&spared));
    assert!(!processes.freeze_group(&group, &spared).expect("spares"));
    assert!(!processes.is_frozen(&process).expect("looks"));
    assert!(processes.freeze_group(&group, &nobody).expect("freezes"));
    assert!(processes.is_frozen(&process).expect("looks"));
    processes.thaw_group(&group).expect("thaws");
    assert!(becomes(|| !processes.is_frozen(&process).expect("looks")));
    assert!(!processes.end_group(&group, &spared).expect("spares"));
    assert!(processes.is_running(&process).expect("looks"));
    // A frozen group ends too.
    processes.freeze_group(&group, &nobody).expect("freezes");
    assert!(processes.end_group(&group, &nobody).expect("ends"));
    let waited = processes.wait_gone(std::slice::from_ref(&process), LONG).expect("waits");
    assert_eq!(waited, []);
}
