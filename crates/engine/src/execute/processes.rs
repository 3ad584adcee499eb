//! Stopping, ending and letting go of processes.
//!
//! It refuses to take a signal that was sent for one that arrived: what was stopped or ended is looked
//! at afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use exeunt_catalogue::Base;

use super::{Done, Run};
use crate::agents::{Agent, sheltered};
use crate::ports::{Files, Group, Groups, Identity, Name, Process, ProcessId, Service};
use crate::survey::Store;

/// How long the ended processes get to be gone.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(2);
/// How often the account's processes are listed again for newcomers while freezing.
const FREEZE_ROUNDS: usize = 4;
/// How often processes that start while everything is ended are ended too.
const END_ROUNDS: usize = 4;

/// What stands still until it is let go.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    /// One by one.
    pub(crate) processes: BTreeSet<ProcessId>,
    /// As a whole. Their processes are among the former.
    pub(crate) groups: BTreeSet<Group>,
}

impl Frozen {
    pub(crate) fn extend(&mut self, more: Self) {
        self.processes.extend(more.processes);
        self.groups.extend(more.groups);
    }
}

/// Who is left alone in one pass.
pub(crate) struct Spared<'a> {
    /// Neither stopped nor ended.
    pub(crate) keep: &'a BTreeSet<ProcessId>,
    /// Not stopped: those, and agents that must answer.
    pub(crate) running: &'a BTreeSet<ProcessId>,
    /// Everybody else stands.
    pub(crate) still: bool,
}

impl<F: Files> Run<'_, '_, F> {
    /// The processes that the first freeze leaves running: those that are kept, and the agents.
    pub(super) fn spared(
        &self,
        keep: &BTreeSet<ProcessId>,
        agents: &[Agent],
    ) -> BTreeSet<ProcessId> {
        if agents.is_empty() {
            return keep.clone();
        }
        let listed = self.host.processes.list().unwrap_or_default();
        keep.iter().cloned().chain(sheltered(agents, &listed)).collect()
    }

    pub(crate) fn keep(&self) -> BTreeSet<ProcessId> {
        self.recorder.step("keep-list", |errors| match self.host.processes.keep_list() {
            Ok(keep) => keep.into_iter().collect(),
            Err(error) => {
                errors.push(error.to_string());
                BTreeSet::new()
            }
        })
    }

    /// Stops every process of the account that is not spared: whole groups where they are its own, else
    /// one by one; lists again until none is new. A group may be the account's to thaw, so each is
    /// looked at, and who runs is stopped by signal. Says whether all of them stand.
    pub(super) fn freeze(&self, spared: &BTreeSet<ProcessId>) -> (Frozen, bool) {
        self.recorder.step_told("freeze", |errors, told| {
            let groups = self.freeze_groups(spared, errors, told);
            let mut frozen = Frozen { processes: BTreeSet::new(), groups };
            for _ in 0..FREEZE_ROUNDS {
                let fresh: Vec<ProcessId> = self
                    .live(spared, errors)
                    .into_iter()
                    .map(|process| process.id)
                    .filter(|id| !frozen.processes.contains(id))
                    .collect();
                if fresh.is_empty() {
                    break;
                }
                self.stop(fresh.iter(), errors);
                frozen.processes.extend(fresh);
            }
            self.stop(frozen.processes.iter(), errors);
            let running = frozen.processes.iter().filter(|process| !self.stands(process));
            let running: Vec<String> =
                running.map(|process| format!("pid {} runs on", process.pid)).collect();
            let still = running.is_empty();
            errors.extend(running);
            (frozen, still)
        })
    }

    fn freeze_groups(
        &self,
        spared: &BTreeSet<ProcessId>,
        errors: &mut Vec<String>,
        told: &mut Vec<String>,
    ) -> BTreeSet<Group> {
        let found = self.host.processes.groups(spared).unwrap_or_else(|error| {
            errors.push(error.to_string());
            Groups::default()
        });
        let mut frozen = BTreeSet::new();
        for group in found.groups {
            match self.host.processes.freeze_group(&group, spared) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => errors.push(format!("group {}: {error}", group.0)),
            }
            frozen.insert(group);
        }
        told.push(match found.none_because {
            Some(why) => format!("by signal: {why}"),
            None => format!("{} control groups, the rest by signal", frozen.len()),
        });
        frozen
    }

    /// Stops by signal whoever does not stand.
    fn stop<'p>(&self, processes: impl Iterator<Item = &'p ProcessId>, errors: &mut Vec<String>) {
        for process in processes.filter(|process| !self.stands(process)) {
            if let Err(error) = self.host.processes.freeze(process) {
                errors.push(format!("pid {}: {error}", process.pid));
            }
        }
    }

    fn stands(&self, process: &ProcessId) -> bool {
        matches!(self.host.processes.is_frozen(process), Ok(true))
    }

    /// The account's live processes but for `spared`.
    fn live(&self, spared: &BTreeSet<ProcessId>, errors: &mut Vec<String>) -> Vec<Process> {
        let mut listed = self.host.processes.list().unwrap_or_else(|error| {
            errors.push(error.to_string());
            Vec::new()
        });
        listed.retain(|process| !process.zombie && !spared.contains(&process.id));
        listed
    }

    /// Ends who holds a store, and what belongs to them: descendants from the same program. Where all
    /// is to end, everybody who stands, but for what the session hangs on.
    pub(super) fn end_holders(
        &self,
        stores: &[Store<F::Dir>],
        spared: &Spared<'_>,
        done: &mut Done<F::Quarantine>,
    ) -> Vec<ProcessId> {
        self.recorder.step("end", |errors| {
            let files: Vec<Identity> = done.identities.iter().map(|(_, file)| *file).collect();
            let holders = self.host.processes.holders(&files).unwrap_or_else(|error| {
                errors.push(error.to_string());
                Vec::new()
            });
            let listed = self.host.processes.list().unwrap_or_default();
            let mut held: BTreeSet<ProcessId> = holders.iter().map(|h| h.process.clone()).collect();
            done.holders.extend(holders);
            done.hidden.extend(self.host.processes.hidden().unwrap_or_default());
            held.extend(self.hold_nameless(stores));
            let mut family = with_descendants(&held, &listed);
            family.extend(self.relaunchers(&held, &listed, done));
            let last = self.ended_last(spared.running);
            if self.ends_all {
                family.extend(self.live(&last, errors).into_iter().map(|process| process.id));
            }
            let (kept, ended): (Vec<_>, Vec<_>) =
                family.into_iter().partition(|process| spared.keep.contains(process));
            for process in kept.iter().filter(|process| held.contains(*process)) {
                let remark = format!("pid {} holds a store and is on the keep-list", process.pid);
                done.remarks.push(remark);
            }
            // Which service it is can only be told while it lives.
            done.services.extend(self.services_of(&ended));
            if self.ends_all {
                self.end_groups(&done.frozen.groups, &last, errors);
            }
            self.end_each(&ended, errors);
            ended
        })
    }

    /// Who started a holder, and started one again when the first was ended.
    fn relaunchers(
        &self,
        held: &BTreeSet<ProcessId>,
        listed: &[Process],
        done: &mut Done<F::Quarantine>,
    ) -> BTreeSet<ProcessId> {
        let pillars = self.ended_last(&BTreeSet::new());
        let parents: BTreeSet<u32> = listed
            .iter()
            .filter(|process| held.contains(&process.id))
            .map(|process| process.parent)
            .collect();
        let launchers: BTreeSet<ProcessId> = listed
            .iter()
            .map(|process| &process.id)
            .filter(|id| parents.contains(&id.pid) && !pillars.contains(id) && !held.contains(id))
            .cloned()
            .collect();
        let again: BTreeSet<_> = launchers.intersection(&done.launchers).cloned().collect();
        for process in &again {
            let pid = process.pid;
            done.remarks
                .push(format!("pid {pid} started the holder of a store again, and was ended"));
        }
        done.launchers.extend(launchers);
        again
    }

    fn services_of(&self, processes: &[ProcessId]) -> BTreeSet<Service> {
        let service = |id| self.host.processes.service_of(id).ok().flatten();
        processes.iter().filter_map(service).collect()
    }

    /// Ends what started since, and what could not be ended before: everybody but `keep`, until nobody
    /// is new. Only where all is to end.
    pub(crate) fn end_rest(&self, done: &mut Done<F::Quarantine>) {
        let spared = self.ended_last(&self.keep());
        self.recorder.step("end-rest", |errors| {
            for _ in 0..END_ROUNDS {
                let rest: Vec<ProcessId> =
                    self.live(&spared, errors).into_iter().map(|process| process.id).collect();
                if rest.is_empty() {
                    return;
                }
                done.services.extend(self.services_of(&rest));
                self.end_each(&rest, errors);
                let alive = self.host.processes.wait_gone(&rest, GONE_WITHIN);
                if alive.is_ok_and(|alive| !alive.is_empty()) {
                    return;
                }
                self.stop_services(&mut done.services, errors);
            }
        });
    }

    /// Who of the account lives on, but for what its session stands on.
    ///
    /// # Errors
    /// In words, why nobody knows.
    pub(crate) fn rest(&self) -> Result<Vec<Process>, String> {
        let keep = self.host.processes.keep_list().map_err(|error| error.to_string())?;
        let spared = self.ended_last(&keep.into_iter().collect());
        let mut listed = self.host.processes.list().map_err(|error| error.to_string())?;
        listed.retain(|process| !process.zombie && !spared.contains(&process.id));
        Ok(listed)
    }

    fn ended_last(&self, spared: &BTreeSet<ProcessId>) -> BTreeSet<ProcessId> {
        let pillars = self.host.processes.pillars().unwrap_or_default();
        spared.iter().cloned().chain(pillars).collect()
    }

    fn end_groups(
        &self,
        groups: &BTreeSet<Group>,
        spared: &BTreeSet<ProcessId>,
        errors: &mut Vec<String>,
    ) {
        for group in groups {
            if let Err(error) = self.host.processes.end_group(group, spared) {
                errors.push(format!("group {}: {error}", group.0));
            }
        }
    }

    fn end_each(&self, processes: &[ProcessId], errors: &mut Vec<String>) {
        for process in processes {
            if let Err(error) = self.host.processes.end(process) {
                errors.push(format!("pid {}: {error}", process.pid));
            }
        }
    }

    /// Who holds a file that had its name beside or beneath a store: something else removed it
    /// under a program that still has it.
    fn hold_nameless(&self, stores: &[Store<F::Dir>]) -> BTreeSet<ProcessId> {
        let files = self.host.files;
        let bases = [Base::Home, Base::Config, Base::Cache, Base::Data, Base::State];
        let too_wide: Vec<Vec<Name>> = bases
            .into_iter()
            .filter_map(|base| files.base(base).ok().flatten())
            .map(|base| files.place(&base))
            .collect();
        let beside: BTreeSet<Vec<Name>> = stores
            .iter()
            .flat_map(|store| &store.targets)
            .map(|target| files.place(target.dir()))
            .filter(|place| !too_wide.contains(place))
            .collect();
        let was_beside = |path: &[u8]| {
            // What held it may be gone as well: the nearest directory that is left counts.
            let ends = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
            let mut above = ends.filter_map(|(end, _)| path.get(..end));
            let dir = above.find_map(|above| files.beneath_home(above).ok().flatten());
            dir.is_some_and(|dir| {
                let place = files.place(&dir);
                beside.iter().any(|store| place.starts_with(store))
            })
        };
        let nameless = self.host.processes.nameless().unwrap_or_default();
        let held = nameless.into_iter().filter(|(_, path)| was_beside(path));
        held.map(|(process, _)| process).collect()
    }

    pub(super) fn await_gone(&self, ended: &[ProcessId]) -> Vec<ProcessId> {
        self.recorder.step("await-end", |errors| {
            match self.host.processes.wait_gone(ended, GONE_WITHIN) {
                Ok(alive) => {
                    errors.extend(alive.iter().map(|p| format!("pid {} is still alive", p.pid)));
                    alive
                }
                Err(error) => {
                    errors.push(error.to_string());
                    ended.to_vec()
                }
            }
        })
    }

    /// Lets everything that was frozen and not ended run on, but for the services whose main process
    /// was ended: their manager would start them again.
    pub(crate) fn thaw(&self, done: &mut Done<F::Quarantine>) {
        let frozen = std::mem::take(&mut done.frozen);
        if !frozen.processes.is_empty() || !frozen.groups.is_empty() {
            self.recorder.step("thaw", |errors| {
                for process in &frozen.processes {
                    if let Err(error) = self.host.processes.thaw(process) {
                        errors.push(format!("pid {}: {error}", process.pid));
                    }
                }
                for group in &frozen.groups {
                    if let Err(error) = self.host.processes.thaw_group(group) {
                        errors.push(format!("group {}: {error}", group.0));
                    }
                }
            });
        }
        if !done.services.is_empty() {
            self.recorder
                .step("stop-services", |errors| self.stop_services(&mut done.services, errors));
        }
    }

    fn stop_services(&self, services: &mut BTreeSet<Service>, errors: &mut Vec<String>) {
        for service in std::mem::take(services) {
            if let Err(error) = self.host.processes.stop_service(&service) {
                errors.push(format!("service {}: {error}", service.0));
            }
        }
    }
}

/// `roots` and every descendant of theirs that runs a program from the same directory: a browser's
/// helpers end with it, an editor started from a shell does not.
fn with_descendants(roots: &BTreeSet<ProcessId>, listed: &[Process]) -> BTreeSet<ProcessId> {
    let program_dir = |process: &Process| {
        let cut = process.exe.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
        process.exe.get(..cut).map(<[u8]>::to_vec).unwrap_or_default()
    };
    let mut family = roots.clone();
    loop {
        let grown: Vec<ProcessId> = listed
            .iter()
            .filter(|child| !family.contains(&child.id) && !child.zombie)
            .filter(|child| {
                listed.iter().any(|parent| {
                    parent.id.pid == child.parent
                        && family.contains(&parent.id)
                        && !child.exe.is_empty()
                        && program_dir(parent) == program_dir(child)
                })
            })
            .map(|child| child.id.clone())
            .collect();
        if grown.is_empty() {
            return family;
        }
        family.extend(grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn process(pid: u32, parent: u32, exe: &str) -> Process {
        Process {
            id: ProcessId { pid, start: 1 },
            parent,
            uid: 1000,
            exe: exe.as_bytes().to_vec(),
            exe_root_owned: true,
            comm: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            zombie: false,
        }
    }

    #[test]
    fn ends_a_browsers_helpers_and_spares_a_shells_children() {
        let listed = [
            process(10, 1, "/usr/lib/chromium/chromium"),
            process(11, 10, "/usr/lib/chromium/chromium"),
            process(12, 11, "/usr/lib/chromium/crashpad"),
            process(20, 1, "/usr/bin/bash"),
            process(21, 20, "/opt/editor/editor"),
        ];
        let roots = [10, 20].map(|pid| ProcessId { pid, start: 1 }).into_iter().collect();
        let pids: Vec<u32> = with_descendants(&roots, &listed).iter().map(|p| p.pid).collect();
        assert_eq!(pids, [10, 11, 12, 20]);
    }
}
