//! The fourth stage: lock, freeze, clear, end, quarantine, unlink.
//!
//! It refuses to stop at a failure: every error is kept for the receipt, and the rest goes on.

mod processes;

use std::collections::{BTreeMap, BTreeSet};

use exeunt_catalogue::Action;
use exeunt_domain::{Outcome, StepReport, Tier};

use self::processes::Spared;
pub(crate) use self::processes::{Frozen, GONE_WITHIN};
use crate::agents::Flushed;
use crate::bounds::Target;
use crate::plan::{ArmedPlan, Plan};
use crate::ports::{
    Entry, Files, FilesError, Holder, Host, Identity, JournalRecord, KeychainError, Name,
    ProcessId, Service,
};
use crate::record::Recorder;
use crate::survey::{Row, Store};
use crate::{keyrings, survey::Item};

/// At most so many files of one store are looked for in processes' open files.
const IDENTITIES_PER_TARGET: usize = 2048;

/// What was done, not yet looked at again.
pub struct Execution<F: Files> {
    pub(crate) armed: ArmedPlan<F::Dir>,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) done: Done<F::Quarantine>,
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
        let order = self.demand.txn.as_str();
        let mut run = Run { host, recorder: &recorder, order, ends_all: self.demand.ends_all() };
        let mut done = Done { remarks, ..Done::default() };
        run.ask_lock();
        if self.plan.tier > Tier::Lock {
            let plan = &self.plan;
            run.contain(plan, &mut done);
        }
        Execution { steps: recorder.into_steps(), armed: self, done }
    }
}

/// What one pass of containment leaves behind.
pub(crate) struct Done<Q> {
    pub(crate) quarantines: Vec<Q>,
    /// Which files each store was, for finding who still holds it.
    pub(crate) identities: Vec<(Row, Identity)>,
    /// Who held what when holders were ended.
    pub(crate) holders: Vec<Holder>,
    /// Whose open files were hidden then.
    pub(crate) hidden: BTreeSet<ProcessId>,
    /// Who had started those holders.
    pub(crate) launchers: BTreeSet<ProcessId>,
    /// Frozen and not ended: to be thawed once the stores are out of reach.
    pub(crate) frozen: Frozen,
    /// Services whose main process was ended.
    pub(crate) services: BTreeSet<Service>,
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

impl<Q> Default for Done<Q> {
    fn default() -> Self {
        Self {
            quarantines: Vec::new(),
            identities: Vec::new(),
            holders: Vec::new(),
            hidden: BTreeSet::new(),
            launchers: BTreeSet::new(),
            frozen: Frozen::default(),
            services: BTreeSet::new(),
            alive: Vec::new(),
            outlived: Vec::new(),
            item_errors: Vec::new(),
            flushed: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

/// Which of the quarantines each entry is in.
#[derive(Default)]
struct Away(BTreeMap<Identity, usize>);

/// One pass: the machine, the recorder, and the order's name for its quarantine.
pub(crate) struct Run<'a, 'h, F: Files> {
    pub(crate) host: &'a Host<'h, F>,
    pub(crate) recorder: &'a Recorder<'h>,
    pub(crate) order: &'a str,
    /// Every process ends, and not only who holds a store.
    pub(crate) ends_all: bool,
}

// Only references and a flag, whatever the machine is.
impl<F: Files> Clone for Run<'_, '_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Files> Copy for Run<'_, '_, F> {}

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
    fn contain(&mut self, plan: &Plan<F::Dir>, done: &mut Done<F::Quarantine>) {
        let Plan { tier, stores, items, agents, .. } = plan;
        let run = *self;
        let keep = self.keep();
        std::thread::scope(|scope| {
            let keep = &keep;
            let flush =
                (!agents.is_empty()).then(|| scope.spawn(move || run.flush_agents(agents, keep)));
            let spared = self.spared(keep, agents);
            let still;
            (done.frozen, still) = self.freeze(&spared);
            let whole = *tier == Tier::Purge && !self.host.keychains.is_empty();
            let keychain = (!items.is_empty() || whole).then(|| {
                scope.spawn(move || {
                    let failed = run.clear_items(items);
                    if whole {
                        run.lock_keyrings();
                    }
                    failed
                })
            });
            self.fence(stores, &Spared { keep, running: &spared, still }, done);
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
                let spared = keep.iter().chain(&done.frozen.processes).cloned().collect();
                done.frozen.extend(self.freeze(&spared).0);
            }
        });
        self.finish(stores, done);
        self.recorder.reached(Outcome::Contained);
    }

    /// Renames the stores away and ends their holders. Where every process stands frozen, renaming
    /// comes first: nobody can write, and after it nothing surveyed is in reach. Only then are the
    /// files counted whose holders are looked for, since that takes the longer the more there are.
    fn fence(&self, stores: &[Store<F::Dir>], spared: &Spared<'_>, done: &mut Done<F::Quarantine>) {
        let mut away = Away::default();
        if spared.still {
            away = self.quarantine(stores, done);
            self.recorder.reached(Outcome::Fenced);
        }
        let found = self.identify(stores, &away, &done.quarantines);
        done.identities.extend(found);
        let ended = self.end_holders(stores, spared, done);
        done.alive.extend(self.await_gone(&ended));
        done.frozen.processes.retain(|process| !ended.contains(process));
        if !spared.still {
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
        self.fence(stores, &Spared { keep: &keep, running: &keep, still: false }, done);
        self.finish(stores, done);
    }

    fn finish(&self, stores: &[Store<F::Dir>], done: &mut Done<F::Quarantine>) {
        self.edit(stores, &mut done.outlived);
        self.unlink(&mut done.quarantines, &mut done.outlived);
    }

    pub(crate) fn clear_items(&self, items: &[Item]) -> Vec<(Item, KeychainError)> {
        if items.is_empty() {
            return Vec::new();
        }
        self.recorder.step("keychain", |errors| {
            let failed = items.iter().filter_map(|item| {
                let error = keyrings::clear(self.host, &item.item).err()?;
                errors.push(format!("{}: {error}", item.rule));
                Some((item.clone(), error))
            });
            failed.collect()
        })
    }

    /// At `purge` the keyrings' files go: what a service has of them in memory must not come back.
    fn lock_keyrings(&self) {
        self.recorder.step("lock-keychain", |errors| errors.extend(keyrings::lock(self.host)));
    }

    /// Which files the stores are, by inode: where they lie, or in the quarantine that they are in
    /// by now.
    fn identify(
        &self,
        stores: &[Store<F::Dir>],
        away: &Away,
        quarantines: &[F::Quarantine],
    ) -> Vec<(Row, Identity)> {
        self.recorder.step("identify", |errors| {
            let mut all = Vec::new();
            for (store, target) in stores.iter().flat_map(|s| s.targets.iter().map(move |t| (s, t)))
            {
                let (dir, entry) = (target.dir(), target.entry());
                all.push((store.row(), entry.identity));
                let files = self.host.files;
                let place = away.0.get(&entry.identity).and_then(|at| quarantines.get(*at));
                let found = match place {
                    Some(place) => {
                        files.quarantined(place, &quarantine_name(entry), IDENTITIES_PER_TARGET)
                    }
                    None => files.identities(dir, entry, IDENTITIES_PER_TARGET),
                };
                match found {
                    Ok(found) => all.extend(found.into_iter().map(|it| (store.row(), it))),
                    Err(FilesError::NotFound) => {}
                    Err(error) => errors.push(format!("{}: {error}", target.place())),
                }
            }
            all
        })
    }

    /// Renames every removable store away; where no rename reaches, unlinks in place. Tells what went
    /// where.
    fn quarantine(&self, stores: &[Store<F::Dir>], done: &mut Done<F::Quarantine>) -> Away {
        self.recorder.step("quarantine", |errors| {
            let mut away = Away::default();
            let mut opened: Vec<(u64, Option<usize>)> = Vec::new();
            let removable = stores.iter().filter(|store| store.action == Action::Remove);
            for (store, target) in removable.flat_map(|s| s.targets.iter().map(move |t| (s, t))) {
                let at = self.quarantine_for(target, &mut opened, &mut done.quarantines, errors);
                let place = at.and_then(|at| done.quarantines.get(at));
                match self.put_away(store, target, place, &mut done.identities) {
                    Ok(true) => {
                        away.0.extend(at.map(|at| (target.entry().identity, at)));
                    }
                    Ok(false) => {}
                    Err(error) => {
                        note_outlived(&error, &mut done.outlived);
                        errors.push(format!("{}: {error}", target.place()));
                    }
                }
            }
            away
        })
    }

    /// Which quarantine is for the target's file system; opens it at first use. None: there is none.
    fn quarantine_for(
        &self,
        target: &Target<F::Dir>,
        opened: &mut Vec<(u64, Option<usize>)>,
        quarantines: &mut Vec<F::Quarantine>,
        errors: &mut Vec<String>,
    ) -> Option<usize> {
        let dev = target.entry().identity.dev;
        if let Some((_, at)) = opened.iter().find(|(known, _)| *known == dev) {
            return *at;
        }
        let at = match self.host.files.open_quarantine(target.dir(), self.order) {
            Ok(quarantine) => {
                quarantines.push(quarantine);
                Some(quarantines.len() - 1)
            }
            Err(error) => {
                errors.push(format!("no quarantine, unlinking in place: {error}"));
                None
            }
        };
        opened.push((dev, at));
        at
    }

    /// Whether the target is in the quarantine now. One that is unlinked in place is counted first:
    /// afterwards nobody could tell who holds it.
    fn put_away(
        &self,
        store: &Store<F::Dir>,
        target: &Target<F::Dir>,
        quarantine: Option<&F::Quarantine>,
        identities: &mut Vec<(Row, Identity)>,
    ) -> Result<bool, FilesError> {
        let (dir, entry, files) = (target.dir(), target.entry(), self.host.files);
        let moved = match quarantine {
            Some(into) => files.quarantine(dir, entry, into, &quarantine_name(entry)),
            None => Err(FilesError::OtherMount),
        };
        match moved {
            Ok(()) => Ok(true),
            Err(FilesError::NotFound) => Ok(false),
            Err(FilesError::OtherMount) => {
                let found = files.identities(dir, entry, IDENTITIES_PER_TARGET);
                identities
                    .extend(found.unwrap_or_default().into_iter().map(|it| (store.row(), it)));
                match files.erase(dir, entry) {
                    Ok(_) | Err(FilesError::NotFound) => Ok(false),
                    Err(error) => Err(error),
                }
            }
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
                    if let Some(holder) = self.holder_of(target.entry().identity) {
                        errors.push(format!("{}: not edited: {holder}", target.place()));
                        continue;
                    }
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

    /// Who holds a file open that is about to be edited; a database under a living process would be
    /// cut under its feet.
    fn holder_of(&self, file: Identity) -> Option<String> {
        match self.host.processes.holders(&[file]) {
            Ok(holders) => {
                holders.first().map(|holder| format!("pid {} holds it open", holder.process.pid))
            }
            Err(error) => Some(format!("who holds it is unknown: {error}")),
        }
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
