//! Processes in memory: who holds what, who is kept, who will not die.
//!
//! It refuses to forget: every verb it was asked is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exeunt_engine::ports::{
    Group, Groups, Holder, Identity, Process, ProcessError, ProcessId, Processes, Service,
};

use crate::FakeFiles;

/// The processes of one account, in memory. Every pid starts at tick 1.
#[derive(Debug, Default)]
pub struct FakeProcesses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    processes: BTreeMap<u32, Fake>,
    asked: Vec<String>,
    thawed_at_once: Option<Group>,
}

#[derive(Debug)]
struct Fake {
    process: Process,
    holds: BTreeSet<Identity>,
    kept: bool,
    stubborn: bool,
    pillar: bool,
    hides: bool,
    frozen: bool,
    group: Option<Group>,
    service: Option<Service>,
}

impl Fake {
    fn is_in(&self, group: &str) -> bool {
        self.group.as_ref().is_some_and(|own| own.0 == group) && !self.process.zombie
    }

    fn end(&mut self) {
        self.process.zombie = true;
        self.holds.clear();
    }
}

/// The id that a [`FakeProcesses`] gives a pid.
fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start: 1 }
}

/// Building, looking and breaking, for tests.
impl FakeProcesses {
    /// The id that a pid has here.
    #[must_use]
    pub fn id(pid: u32) -> ProcessId {
        id(pid)
    }

    /// No processes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a process that runs `exe`, or changes what an added one runs.
    #[must_use]
    pub fn process(self, pid: u32, exe: &str) -> Self {
        self.change(pid, |fake| {
            fake.process.exe = exe.as_bytes().to_vec();
            fake.process.comm = exe.rsplit('/').next().unwrap_or(exe).chars().take(15).collect();
            fake.process.args = vec![exe.as_bytes().to_vec()];
        });
        self
    }

    /// Adds an argument to a process's command line.
    #[must_use]
    pub fn arg(self, pid: u32, arg: &str) -> Self {
        self.change(pid, |fake| fake.process.args.push(arg.as_bytes().to_vec()));
        self
    }

    /// Sets a variable of a process's environment.
    #[must_use]
    pub fn env(self, pid: u32, key: &str, value: &str) -> Self {
        self.change(pid, |fake| {
            fake.process.env.insert(key.to_owned(), value.as_bytes().to_vec());
        });
        self
    }

    /// Makes a process hold a file open.
    #[must_use]
    pub fn hold(self, pid: u32, file: Identity) -> Self {
        self.change(pid, |fake| {
            fake.holds.insert(file);
        });
        self
    }

    /// Makes processes hold what [`FakeFiles::hold`] says, adding those that are missing.
    #[must_use]
    pub fn holding(self, files: &FakeFiles) -> Self {
        for (pid, identity) in files.holds() {
            self.change(pid, |fake| {
                fake.holds.insert(identity);
            });
        }
        self
    }

    /// Puts a process on the keep-list.
    #[must_use]
    pub fn keep(self, pid: u32) -> Self {
        self.change(pid, |fake| fake.kept = true);
        self
    }

    /// Makes a process one that the session hangs on.
    #[must_use]
    pub fn pillar(self, pid: u32) -> Self {
        self.change(pid, |fake| fake.pillar = true);
        self
    }

    /// Makes a process hide what it holds open.
    #[must_use]
    pub fn hide(self, pid: u32) -> Self {
        self.change(pid, |fake| fake.hides = true);
        self
    }

    /// Puts a process into a group.
    #[must_use]
    pub fn group(self, pid: u32, group: &str) -> Self {
        self.join_group(pid, group);
        self
    }

    /// Puts a process into a group while the engine is at work.
    pub fn join_group(&self, pid: u32, group: &str) {
        self.change(pid, |fake| fake.group = Some(Group(group.to_owned())));
    }

    /// Makes a process the main one of a service.
    #[must_use]
    pub fn service(self, pid: u32, service: &str) -> Self {
        self.change(pid, |fake| fake.service = Some(Service(service.to_owned())));
        self
    }

    /// Makes a process the child of another.
    #[must_use]
    pub fn child_of(self, pid: u32, parent: u32) -> Self {
        self.change(pid, |fake| fake.process.parent = parent);
        self
    }

    /// Lets somebody thaw a group as soon as it is frozen, as its owner can.
    #[must_use]
    pub fn thawed_at_once(self, group: &str) -> Self {
        self.state().thawed_at_once = Some(Group(group.to_owned()));
        self
    }

    /// Makes a process outlive every signal, as one in an uninterruptible wait does.
    #[must_use]
    pub fn stubborn(self, pid: u32) -> Self {
        self.change(pid, |fake| fake.stubborn = true);
        self
    }

    /// Makes a process dead but not yet reaped.
    #[must_use]
    pub fn zombie(self, pid: u32) -> Self {
        self.change(pid, |fake| fake.process.zombie = true);
        self
    }

    /// Starts a process while the engine is at work.
    pub fn start(&self, pid: u32, holds: &[Identity]) {
        self.change(pid, |fake| fake.holds.extend(holds));
    }

    /// Starts a process of a parent while the engine is at work.
    pub fn start_below(&self, pid: u32, parent: u32, holds: &[Identity]) {
        self.change(pid, |fake| {
            fake.process.parent = parent;
            fake.holds.extend(holds);
        });
    }

    /// Whether a process lives.
    #[must_use]
    pub fn lives(&self, pid: u32) -> bool {
        self.answer(&id(pid), false, |_| true)
    }

    /// Every signal that was sent, as `verb pid`, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, pid: u32, change: impl FnOnce(&mut Fake)) {
        let mut state = self.state();
        change(state.processes.entry(pid).or_insert_with(|| Fake {
            process: Process {
                id: id(pid),
                parent: 1,
                uid: 1000,
                exe: b"/usr/bin/fake".to_vec(),
                exe_root_owned: true,
                comm: "fake".to_owned(),
                args: vec![b"fake".to_vec()],
                env: BTreeMap::new(),
                zombie: false,
            },
            holds: BTreeSet::new(),
            kept: false,
            stubborn: false,
            pillar: false,
            hides: false,
            frozen: false,
            group: None,
            service: None,
        }));
    }

    fn send(&self, verb: &str, process: &ProcessId, effect: impl FnOnce(&mut Fake)) {
        let mut state = self.state();
        state.asked.push(format!("{verb} {}", process.pid));
        if let Some(fake) = state.processes.get_mut(&process.pid)
            && fake.process.id == *process
            && !fake.stubborn
        {
            effect(fake);
        }
    }

    /// Does something to everybody in a group, unless it holds somebody of `spared`.
    fn send_group(
        &self,
        verb: &str,
        group: &Group,
        spared: &BTreeSet<ProcessId>,
        effect: impl Fn(&mut Fake),
    ) -> bool {
        let mut state = self.state();
        let mut members = state.processes.values().filter(|fake| fake.is_in(&group.0));
        if members.any(|fake| spared.contains(&fake.process.id)) {
            return false;
        }
        state.asked.push(format!("{verb} {}", group.0));
        let members = state.processes.values_mut().filter(|fake| fake.is_in(&group.0));
        members.filter(|fake| !fake.stubborn).for_each(effect);
        true
    }

    fn ids(&self, wanted: impl Fn(&Fake) -> bool) -> Vec<ProcessId> {
        let state = self.state();
        let live = state.processes.values().filter(|fake| !fake.process.zombie && wanted(fake));
        live.map(|fake| fake.process.id.clone()).collect()
    }

    fn answer(&self, process: &ProcessId, if_gone: bool, ask: impl FnOnce(&Fake) -> bool) -> bool {
        let state = self.state();
        let found = state.processes.get(&process.pid).filter(|fake| fake.process.id == *process);
        found.filter(|fake| !fake.process.zombie).map_or(if_gone, ask)
    }
}

impl Processes for FakeProcesses {
    fn list(&self) -> Result<Vec<Process>, ProcessError> {
        Ok(self.state().processes.values().map(|fake| fake.process.clone()).collect())
    }

    fn holders(&self, files: &[Identity]) -> Result<Vec<Holder>, ProcessError> {
        let state = self.state();
        let mut found = BTreeSet::new();
        for fake in state.processes.values().filter(|fake| !fake.process.zombie && !fake.hides) {
            for identity in files.iter().filter(|file| fake.holds.contains(file)) {
                let process = fake.process.id.clone();
                found.insert(Holder { process, identity: *identity });
            }
        }
        Ok(found.into_iter().collect())
    }

    fn keep_list(&self) -> Result<Vec<ProcessId>, ProcessError> {
        let state = self.state();
        let kept = state.processes.values().filter(|fake| fake.kept);
        Ok(kept.map(|fake| fake.process.id.clone()).collect())
    }

    fn pillars(&self) -> Result<Vec<ProcessId>, ProcessError> {
        Ok(self.ids(|fake| fake.pillar))
    }

    fn hidden(&self) -> Result<Vec<ProcessId>, ProcessError> {
        Ok(self.ids(|fake| fake.hides))
    }

    fn groups(&self, spared: &BTreeSet<ProcessId>) -> Result<Groups, ProcessError> {
        let state = self.state();
        let all: BTreeSet<&Group> =
            state.processes.values().filter_map(|fake| fake.group.as_ref()).collect();
        let holds_spared = |group: &Group| {
            let mut members = state.processes.values().filter(|fake| fake.is_in(&group.0));
            members.any(|fake| spared.contains(&fake.process.id))
        };
        let groups = all.into_iter().filter(|group| !holds_spared(group)).cloned().collect();
        Ok(Groups { groups, none_because: None })
    }

    fn freeze_group(
        &self,
        group: &Group,
        spared: &BTreeSet<ProcessId>,
    ) -> Result<bool, ProcessError> {
        let stays = self.state().thawed_at_once.as_ref() != Some(group);
        Ok(self.send_group("freeze", group, spared, |fake| fake.frozen = stays))
    }

    fn thaw_group(&self, group: &Group) -> Result<(), ProcessError> {
        self.send_group("thaw", group, &BTreeSet::new(), |fake| fake.frozen = false);
        Ok(())
    }

    fn end_group(&self, group: &Group, spared: &BTreeSet<ProcessId>) -> Result<bool, ProcessError> {
        Ok(self.send_group("end", group, spared, Fake::end))
    }

    fn service_of(&self, process: &ProcessId) -> Result<Option<Service>, ProcessError> {
        let state = self.state();
        Ok(state.processes.get(&process.pid).and_then(|fake| fake.service.clone()))
    }

    fn stop_service(&self, service: &Service) -> Result<(), ProcessError> {
        let mut state = self.state();
        state.asked.push(format!("stop {}", service.0));
        let of = state.processes.values_mut().filter(|fake| fake.service.as_ref() == Some(service));
        of.for_each(Fake::end);
        Ok(())
    }

    fn freeze(&self, process: &ProcessId) -> Result<(), ProcessError> {
        self.send("freeze", process, |fake| fake.frozen = true);
        Ok(())
    }

    fn is_frozen(&self, process: &ProcessId) -> Result<bool, ProcessError> {
        Ok(self.answer(process, true, |fake| fake.frozen))
    }

    fn thaw(&self, process: &ProcessId) -> Result<(), ProcessError> {
        self.send("thaw", process, |fake| fake.frozen = false);
        Ok(())
    }

    fn end(&self, process: &ProcessId) -> Result<(), ProcessError> {
        self.send("end", process, Fake::end);
        Ok(())
    }

    fn is_running(&self, process: &ProcessId) -> Result<bool, ProcessError> {
        Ok(self.answer(process, false, |_| true))
    }

    fn wait_gone(
        &self,
        processes: &[ProcessId],
        _deadline: Duration,
    ) -> Result<Vec<ProcessId>, ProcessError> {
        let alive = processes.iter().filter(|process| self.answer(process, false, |_| true));
        Ok(alive.cloned().collect())
    }
}
