//! The fourth stage: lock, freeze, clear, end, quarantine, unlink.
//!
//! It refuses to stop at a failure: every error is kept for the receipt, and the rest goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use exeunt_catalogue::{Action, Base};
use exeunt_domain::{Outcome, StepReport, Tier};

use crate::agents::{Agent, Flushed, sheltered};
use crate::bounds::Target;
use crate::plan::ArmedPlan;
use crate::ports::{
    Entry, Files, FilesError, Holder, Host, Identity, JournalRecord, KeychainError, Name, Process,
    ProcessId,
};
use crate::record::Recorder;
use crate::survey::{Row, Store};
use crate::{keyrings, survey::Item};

/// How long the ended processes get to be gone.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(2);
/// How often the account's processes are listed again for newcomers while freezing.
const FREEZE_ROUNDS: usize = 4;
/// At most so many files of one store are looked for in processes' open files.
const IDENTITIES_PER_TARGET: usize = 2048;

/// What was done, not yet looked at again.
pub struct Execution<F: Files> {
    pub(crate) armed: ArmedPlan<F::Dir>,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) quarantines: Vec<F::Quarantine>,
    /// Which files each store was, for finding who still holds it.
    pub(crate) identities: Vec<(Row, Identity)>,
    /// Who held what when holders were ended.
    pub(crate) holders: Vec<Holder>,
    /// Frozen and not ended: to be thawed once the stores are out of reach.
    pub(crate) frozen: Vec<ProcessId>,
    /// Ended, and still alive when the wait was over.
    pub(crate) alive: Vec<ProcessId>,
    /// Unlinked, and still there under names that were not ours to unlink.
    pub(crate) outlived: Vec<Identity>,
    /// Per keychain item, why it was not cleared.
    pub(crate) item_errors: Vec<(Item, KeychainError)>,
    /// Per agent of the plan, what became of it.
    pub(crate) flushed: Vec<Flushed>,
    pub(crate) remarks: Vec<String>,
}

impl<D: Clone + Send + Sync> ArmedPlan<D> {
    /// Does what the plan says: the lock is asked for, the account's agents are told to forget, its
    /// processes are frozen, its keychain items cleared, the processes that hold a store ended, and
    /// every store renamed away and unlinked.
    ///
    /// The demand must already be in the journal, or `remarks` say that it is not.
    pub fn execute<F: Files<Dir = D>>(
        self,
        host: &Host<'_, F>,
        remarks: Vec<String>,
        earlier: Vec<StepReport>,
    ) -> Execution<F> {
        let recorder = Recorder::new(host.clock, host.observe, self.accepted_at, earlier);
        let mut run = Run { host, recorder: &recorder, order: self.demand.txn.as_str() };
        let mut done = Done { remarks, ..Done::default() };
        run.ask_lock();
        if self.plan.tier > Tier::Lock {
            let plan = &self.plan;
            run.contain(&plan.stores, &plan.items, &plan.agents, &mut done);
        }
        Execution {
            steps: recorder.into_steps(),
            armed: self,
            quarantines: done.quarantines,
            identities: done.identities,
            holders: done.holders,
            frozen: done.frozen,
            alive: done.alive,
            outlived: done.outlived,
            item_errors: done.item_errors,
            flushed: done.flushed,
            remarks: done.remarks,
        }
    }
}

/// What one pass of containment leaves behind.
pub(crate) struct Done<Q> {
    pub(crate) quarantines: Vec<Q>,
    pub(crate) identities: Vec<(Row, Identity)>,
    pub(crate) holders: Vec<Holder>,
    pub(crate) frozen: Vec<ProcessId>,
    pub(crate) alive: Vec<ProcessId>,
    pub(crate) outlived: Vec<Identity>,
    pub(crate) item_errors: Vec<(Item, KeychainError)>,
    pub(crate) flushed: Vec<Flushed>,
    pub(crate) remarks: Vec<String>,
}

impl<Q> Default for Done<Q> {
    fn default() -> Self {
        Self {
            quarantines: Vec::new(),
            identities: Vec::new(),
            holders: Vec::new(),
            frozen: Vec::new(),
            alive: Vec::new(),
            outlived: Vec::new(),
            item_errors: Vec::new(),
            flushed: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

/// One pass: the machine, the recorder, and the order's name for its quarantine.
pub(crate) struct Run<'a, 'h, F: Files> {
    pub(crate) host: &'a Host<'h, F>,
    pub(crate) recorder: &'a Recorder<'h>,
    pub(crate) order: &'a str,
}

impl<F: Files> Run<'_, '_, F> {
    fn ask_lock(&mut self) {
        self.recorder.step("lock", |errors| {
            if let Err(error) = self.host.locker.lock() {
                errors.push(error.to_string());
            }
        });
    }

    /// Freezes, clears and quarantines, in that order of urgency; unlinks when fenced. Agents are
    /// told to forget meanwhile, and are frozen last, since a frozen one cannot answer.
    fn contain(
        &mut self,
        stores: &[Store<F::Dir>],
        items: &[Item],
        agents: &[Agent],
        done: &mut Done<F::Quarantine>,
    ) {
        let keep = self.keep();
        std::thread::scope(|scope| {
            let flush = (!agents.is_empty()).then(|| {
                let run = Run { host: self.host, recorder: self.recorder, order: self.order };
                let keep = &keep;
                scope.spawn(move || run.flush_agents(agents, keep))
            });
            let still;
            (done.frozen, still) = self.freeze(&self.spared(&keep, agents));
            let keychain = (!items.is_empty()).then(|| {
                let run = Run { host: self.host, recorder: self.recorder, order: self.order };
                scope.spawn(move || run.clear_items(items))
            });
            self.fence(stores, &keep, still, done);
            if let Some(keychain) = keychain {
                match keychain.join() {
                    Ok(errors) => done.item_errors = errors,
                    Err(_) => done.remarks.push("clearing the keychain panicked".into()),
                }
            }
            if let Some(flush) = flush {
                match flush.join() {
                    Ok(flushed) => done.flushed = flushed,
                    Err(_) => done.remarks.push("flushing the agents panicked".into()),
                }
                let spared = keep.iter().chain(&done.frozen).cloned().collect();
                done.frozen.extend(self.freeze(&spared).0);
            }
        });
        self.finish(stores, done);
        self.recorder.reached(Outcome::Contained);
    }

    /// Renames the stores away and ends their holders. Where every process stands frozen, renaming
    /// comes first: nobody can write, and after it nothing surveyed is in reach.
    fn fence(
        &self,
        stores: &[Store<F::Dir>],
        keep: &BTreeSet<ProcessId>,
        still: bool,
        done: &mut Done<F::Quarantine>,
    ) {
        done.identities.extend(self.identify(stores));
        if still {
            self.quarantine(stores, done);
            self.recorder.reached(Outcome::Fenced);
        }
        let ended = self.end_holders(stores, keep, done);
        done.alive.extend(self.await_gone(&ended));
        done.frozen.retain(|process| !ended.contains(process));
        if !still {
            self.quarantine(stores, done);
            self.recorder.reached(Outcome::Fenced);
        }
        let fenced = JournalRecord::Fenced { at_ms: self.recorder.ms() };
        if let Err(error) = self.host.journal.record(&fenced) {
            done.remarks.push(error.to_string());
        }
    }

    /// Contains stores that appeared after the survey: the same, without the freeze.
    pub(crate) fn contain_again(&self, stores: &[Store<F::Dir>], done: &mut Done<F::Quarantine>) {
        let keep = self.keep();
        self.fence(stores, &keep, false, done);
        self.finish(stores, done);
    }

    fn finish(&self, stores: &[Store<F::Dir>], done: &mut Done<F::Quarantine>) {
        self.edit(stores, &mut done.outlived);
        self.unlink(&mut done.quarantines, &mut done.outlived);
    }

    /// The processes that the first freeze leaves running: those that are kept, and the agents.
    fn spared(&self, keep: &BTreeSet<ProcessId>, agents: &[Agent]) -> BTreeSet<ProcessId> {
        if agents.is_empty() {
            return keep.clone();
        }
        let listed = self.host.processes.list().unwrap_or_default();
        keep.iter().cloned().chain(sheltered(agents, &listed)).collect()
    }

    fn keep(&self) -> BTreeSet<ProcessId> {
        self.recorder.step("keep-list", |errors| match self.host.processes.keep_list() {
            Ok(keep) => keep.into_iter().collect(),
            Err(error) => {
                errors.push(error.to_string());
                BTreeSet::new()
            }
        })
    }

    /// Stops every process of the account that is not kept; lists again until none is new. Says
    /// whether all of them stand.
    fn freeze(&self, keep: &BTreeSet<ProcessId>) -> (Vec<ProcessId>, bool) {
        self.recorder.step("freeze", |errors| {
            let mut frozen: BTreeSet<ProcessId> = BTreeSet::new();
            for _ in 0..FREEZE_ROUNDS {
                let listed = self.host.processes.list().unwrap_or_else(|error| {
                    errors.push(error.to_string());
                    Vec::new()
                });
                let fresh: Vec<ProcessId> = listed
                    .into_iter()
                    .filter(|process| !process.zombie && !keep.contains(&process.id))
                    .map(|process| process.id)
                    .filter(|id| !frozen.contains(id))
                    .collect();
                if fresh.is_empty() {
                    break;
                }
                for process in fresh {
                    match self.host.processes.freeze(&process) {
                        Ok(()) => {}
                        Err(error) => errors.push(format!("pid {}: {error}", process.pid)),
                    }
                    frozen.insert(process);
                }
            }
            let stands = |process| matches!(self.host.processes.is_frozen(process), Ok(true));
            let running: Vec<_> = frozen.iter().filter(|process| !stands(process)).collect();
            errors.extend(running.iter().map(|process| format!("pid {} runs on", process.pid)));
            let still = running.is_empty();
            (frozen.into_iter().collect(), still)
        })
    }

    fn clear_items(&self, items: &[Item]) -> Vec<(Item, KeychainError)> {
        self.recorder.step("keychain", |errors| {
            let failed = items.iter().filter_map(|item| {
                let error = keyrings::clear(self.host, &item.item).err()?;
                errors.push(format!("{}: {error}", item.rule));
                Some((item.clone(), error))
            });
            failed.collect()
        })
    }

    /// Which files the stores are, by inode.
    fn identify(&self, stores: &[Store<F::Dir>]) -> Vec<(Row, Identity)> {
        self.recorder.step("identify", |errors| {
            let mut all = Vec::new();
            for (store, target) in stores.iter().flat_map(|s| s.targets.iter().map(move |t| (s, t)))
            {
                all.push((store.row(), target.entry().identity));
                let (dir, entry) = (target.dir(), target.entry());
                match self.host.files.identities(dir, entry, IDENTITIES_PER_TARGET) {
                    Ok(found) => all.extend(found.into_iter().map(|it| (store.row(), it))),
                    Err(FilesError::NotFound) => {}
                    Err(error) => errors.push(format!("{}: {error}", target.place())),
                }
            }
            all
        })
    }

    /// Ends who holds a store, and what belongs to them: descendants from the same program.
    fn end_holders(
        &self,
        stores: &[Store<F::Dir>],
        keep: &BTreeSet<ProcessId>,
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
            held.extend(self.hold_nameless(stores));
            let family = with_descendants(&held, &listed);
            let (spared, ended): (Vec<_>, Vec<_>) =
                family.into_iter().partition(|process| keep.contains(process));
            for process in spared.iter().filter(|process| held.contains(*process)) {
                let remark = format!("pid {} holds a store and is on the keep-list", process.pid);
                done.remarks.push(remark);
            }
            for process in &ended {
                if let Err(error) = self.host.processes.end(process) {
                    errors.push(format!("pid {}: {error}", process.pid));
                }
            }
            ended
        })
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

    fn await_gone(&self, ended: &[ProcessId]) -> Vec<ProcessId> {
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

    /// Renames every removable store away; where no rename reaches, unlinks in place.
    fn quarantine(&self, stores: &[Store<F::Dir>], done: &mut Done<F::Quarantine>) {
        self.recorder.step("quarantine", |errors| {
            let removable = stores.iter().filter(|store| store.action == Action::Remove);
            let mut opened: Vec<(u64, Option<F::Quarantine>)> = Vec::new();
            for target in removable.flat_map(|store| &store.targets) {
                let at = self.quarantine_for(target, &mut opened, errors);
                let place = opened.get(at).and_then(|(_, quarantine)| quarantine.as_ref());
                if let Err(error) = self.put_away(target, place) {
                    note_outlived(&error, &mut done.outlived);
                    errors.push(format!("{}: {error}", target.place()));
                }
            }
            done.quarantines.extend(opened.into_iter().filter_map(|(_, quarantine)| quarantine));
        });
    }

    /// The index of the quarantine of the target's file system; opens it at first use.
    fn quarantine_for(
        &self,
        target: &Target<F::Dir>,
        opened: &mut Vec<(u64, Option<F::Quarantine>)>,
        errors: &mut Vec<String>,
    ) -> usize {
        let dev = target.entry().identity.dev;
        if let Some(at) = opened.iter().position(|(known, _)| *known == dev) {
            return at;
        }
        let quarantine = match self.host.files.open_quarantine(target.dir(), self.order) {
            Ok(quarantine) => Some(quarantine),
            Err(error) => {
                errors.push(format!("no quarantine, unlinking in place: {error}"));
                None
            }
        };
        opened.push((dev, quarantine));
        opened.len() - 1
    }

    fn put_away(
        &self,
        target: &Target<F::Dir>,
        quarantine: Option<&F::Quarantine>,
    ) -> Result<(), FilesError> {
        let (dir, entry) = (target.dir(), target.entry());
        let moved = match quarantine {
            Some(into) => self.host.files.quarantine(dir, entry, into, &quarantine_name(entry)),
            None => Err(FilesError::OtherMount),
        };
        match moved {
            Ok(()) | Err(FilesError::NotFound) => Ok(()),
            Err(FilesError::OtherMount) => match self.host.files.erase(dir, entry) {
                Ok(_) | Err(FilesError::NotFound) => Ok(()),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn edit(&self, stores: &[Store<F::Dir>], outlived: &mut Vec<Identity>) {
        let edits: Vec<_> = stores
            .iter()
            .filter_map(|store| match &store.action {
                Action::Edit(edit) => Some((edit, &store.targets)),
                Action::Remove => None,
            })
            .collect();
        if edits.is_empty() {
            return;
        }
        self.recorder.step("edit", |errors| {
            for (edit, targets) in edits {
                for target in targets {
                    match self.host.files.edit(target.dir(), target.entry(), edit) {
                        Ok(_) | Err(FilesError::NotFound) => {}
                        Err(error) => {
                            note_outlived(&error, outlived);
                            errors.push(format!("{}: {error}", target.place()));
                        }
                    }
                }
            }
        });
    }

    fn unlink(&self, quarantines: &mut Vec<F::Quarantine>, outlived: &mut Vec<Identity>) {
        if quarantines.is_empty() {
            return;
        }
        self.recorder.step("unlink", |errors| {
            quarantines.retain(|quarantine| match self.host.files.empty_quarantine(quarantine) {
                Ok(_) => false,
                Err(error) => {
                    note_outlived(&error, outlived);
                    errors.push(error.to_string());
                    !matches!(error, FilesError::LinkedElsewhere { complete: true, .. })
                }
            });
        });
    }

    /// Lets everything that was frozen and not ended run on.
    pub(crate) fn thaw(&self, frozen: &[ProcessId]) {
        if frozen.is_empty() {
            return;
        }
        self.recorder.step("thaw", |errors| {
            for process in frozen {
                if let Err(error) = self.host.processes.thaw(process) {
                    errors.push(format!("pid {}: {error}", process.pid));
                }
            }
        });
    }
}

/// Remembers the files that an error says have outlived their unlinking.
fn note_outlived(error: &FilesError, outlived: &mut Vec<Identity>) {
    if let FilesError::LinkedElsewhere { files, .. } = error {
        outlived.extend(files);
    }
}

/// A name that no two entries of one quarantine share: the inode's number.
fn quarantine_name(entry: &Entry) -> Name {
    let text = format!("{:x}-{:x}", entry.identity.dev, entry.identity.ino);
    // Hexadecimal digits and a hyphen are always a name.
    Name::new(text.as_bytes()).unwrap_or_else(|| entry.name.clone())
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
