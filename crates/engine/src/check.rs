//! The fifth stage: look again, contain what came back, and look once more.
//!
//! It refuses to give a verdict to anything that it did not look at.

use std::time::Duration;

use exeunt_catalogue::{Action, Catalogue};
use exeunt_domain::order::Demand;
use exeunt_domain::receipt::{Before, LockReport, NotCovered};
use exeunt_domain::{StepReport, StoreReport, Tier, Timestamp, Verdict};

use crate::agents;
use crate::execute::{Done, Execution, Run};
use crate::ports::{Files, Holder, Host, KeychainError, LockState};
use crate::record::Recorder;
use crate::survey::{Item, Store, Survey};
use crate::{keyrings, residue};

/// How long the lock gets to be proved.
const LOCKED_WITHIN: Duration = Duration::from_secs(3);
/// How long the session gets to be gone where policy ends it for want of a lock.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// How often stores that come back are contained again.
const AGAIN_ROUNDS: usize = 3;

/// What was found when everything was looked at again. "Checked" is not "clean".
pub struct Checked {
    pub(crate) demand: Demand,
    pub(crate) tier: Tier,
    pub(crate) accepted: Timestamp,
    pub(crate) checked: Timestamp,
    pub(crate) stores: Vec<StoreReport>,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) lock: LockReport,
    pub(crate) not_covered: Vec<NotCovered>,
    pub(crate) remarks: Vec<String>,
}

impl Checked {
    /// For a demand that concerns nobody here: nothing was surveyed, and the remark says why.
    #[must_use]
    pub fn nothing_here(demand: Demand, now: Timestamp, remark: String) -> Self {
        Self {
            tier: demand.tier,
            demand,
            accepted: now,
            checked: now,
            stores: Vec::new(),
            steps: Vec::new(),
            lock: LockReport::NotAsked,
            not_covered: Vec::new(),
            remarks: vec![remark],
        }
    }

    /// This and another account's under the same demand, for one receipt. The worse lock counts.
    #[must_use]
    pub fn joined(mut self, other: Self) -> Self {
        self.checked = self.checked.max(other.checked);
        self.stores.extend(other.stores);
        self.steps.extend(other.steps);
        self.not_covered.extend(other.not_covered);
        self.remarks.extend(other.remarks);
        self.lock = match (self.lock, other.lock) {
            (worse @ LockReport::NotProved { .. }, _)
            | (_, worse @ LockReport::NotProved { .. }) => worse,
            (proved @ LockReport::Proved { .. }, _) | (LockReport::NotAsked, proved) => proved,
        };
        self
    }
}

impl<F: Files> Execution<F> {
    /// Surveys again, contains what appeared, proves the lock, and surveys once more.
    pub fn check(self, catalogue: &Catalogue, host: &Host<'_, F>) -> Checked {
        let Execution { mut armed, steps, mut done } = self;
        let recorder = Recorder::new(host.clock, host.observe, armed.accepted_at, steps);
        let order = armed.demand.txn.as_str();
        let run = Run { host, recorder: &recorder, order, ends_all: armed.demand.ends_all() };
        let mut look = Look { run: &run, catalogue, tier: armed.plan.tier, appeared: Vec::new() };
        look.begin_trim();
        recorder.step("residue", |_| armed.plan.look_for_residue(host));
        let not_covered = armed.plan.cannot();
        look.contain_appeared("survey-again", &armed.plan.stores, &mut done);
        run.thaw(&mut done);
        let mut lock = look.prove_lock(armed.demand.hand_over);
        let mut items = None;
        if run.ends_all {
            run.end_rest(&mut done);
            items = Some(look.judge_items(&armed.plan, &done));
        }
        if armed.demand.hand_over {
            lock = run.hand_over(lock);
        }
        look.contain_appeared("survey-last", &armed.plan.stores, &mut done);
        let items = items.unwrap_or_else(|| look.judge_items(&armed.plan, &done));
        let mut stores = look.judge(&armed.plan, items, &done);
        if armed.demand.hand_over {
            stores.extend(run.judge_hand_over());
        } else if run.ends_all {
            stores.push(run.judge_rest());
        }
        done.remarks.extend(freed(host.files.freed()));
        done.remarks.extend(host.disks.and_then(|disks| residue::trimmed(&disks.trim())));
        Checked {
            tier: armed.plan.tier,
            demand: armed.demand,
            accepted: armed.accepted,
            checked: host.clock.now(),
            stores,
            lock,
            not_covered,
            remarks: done.remarks,
            steps: recorder.into_steps(),
        }
    }
}

/// The second and third look.
struct Look<'a, 'h, F: Files> {
    run: &'a Run<'a, 'h, F>,
    catalogue: &'a Catalogue,
    tier: Tier,
    appeared: Vec<Store<F::Dir>>,
}

impl<F: Files> Look<'_, '_, F> {
    /// Lets the disk be told what is free, beside everything that follows.
    fn begin_trim(&self) {
        if self.tier > Tier::Lock
            && let Some(disks) = self.run.host.disks
        {
            self.run.recorder.step("trim", |_| disks.begin_trim());
        }
    }

    /// Whatever a survey still finds is contained again, a few times over.
    fn contain_appeared(
        &mut self,
        name: &'static str,
        planned: &[Store<F::Dir>],
        done: &mut Done<F::Quarantine>,
    ) {
        if self.tier == Tier::Lock {
            return;
        }
        for _ in 0..AGAIN_ROUNDS {
            let found = self.run.recorder.step(name, |_| self.present());
            let (back, stuck): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|store| changed(store, planned, &self.appeared));
            if back.is_empty() && (stuck.is_empty() || name == "survey-last") {
                break;
            }
            let again: Vec<_> = back.into_iter().chain(stuck).collect();
            self.run.contain_again(&again, done);
            self.appeared.extend(again.into_iter().filter(|store| !store.targets.is_empty()));
        }
    }

    fn present(&self) -> Vec<Store<F::Dir>> {
        let mut survey = Survey::files(self.catalogue, self.run.host);
        survey.stores.retain(|store| store.tier <= self.tier && !store.targets.is_empty());
        survey.stores
    }

    /// Where the machine is handed over the session ends anyway.
    fn prove_lock(&self, hand_over: bool) -> LockReport {
        let locker = self.run.host.locker;
        let report = |errors: &mut Vec<String>, state| match state {
            LockState::Locked { how } => LockReport::Proved { how },
            LockState::NotProved { why } => {
                errors.push(why.clone());
                LockReport::NotProved { why }
            }
            LockState::NoSession => LockReport::NotAsked,
        };
        let recorder = self.run.recorder;
        let lock =
            recorder.step("prove-lock", |errors| report(errors, locker.wait_locked(LOCKED_WITHIN)));
        let LockReport::NotProved { why } = &lock else { return lock };
        if hand_over || !locker.ends_sessions() {
            return lock;
        }
        let ended =
            recorder.step("end-session", |errors| report(errors, locker.end_session(ENDED_WITHIN)));
        match ended {
            LockReport::NotProved { why: also } => {
                LockReport::NotProved { why: format!("{why}; {also}") }
            }
            LockReport::Proved { .. } => ended,
            LockReport::NotAsked => lock,
        }
    }

    /// A verdict for every planned row and for every row that appeared.
    fn judge(
        &self,
        plan: &crate::plan::Plan<F::Dir>,
        items: Vec<StoreReport>,
        done: &Done<F::Quarantine>,
    ) -> Vec<StoreReport> {
        let left = if self.tier == Tier::Lock { Vec::new() } else { self.present() };
        let held = self.held(done);
        let files: LastLook<'_, F> = LastLook {
            left: &left,
            held,
            hidden: self.hidden(done),
            stuck: !done.quarantines.is_empty(),
            isolated: self.run.host.isolated,
            done,
        };
        let mut rows: Vec<StoreReport> =
            plan.stores.iter().map(|store| files.verdict(store, Before::Present)).collect();
        for store in &self.appeared {
            let planned = plan.stores.iter().any(|other| other.is_row_of(store));
            if planned {
                let row = rows.iter_mut().find(|row| is_row(row, store));
                if let Some(row) = row.filter(|row| row.detail.is_none()) {
                    row.detail =
                        Some("came back after it was removed, and was removed again".into());
                }
            } else if !rows.iter().any(|row| is_row(row, store)) {
                rows.push(files.verdict(store, Before::Appeared));
            }
        }
        rows = keyrings::with_files(rows, items);
        rows.extend(
            plan.refusals
                .iter()
                .map(|refusal| StoreReport { verdict: Some(Verdict::Refused), ..refusal.report() }),
        );
        let errors = plan.keychain_errors.iter();
        rows.extend(errors.map(|(store, why)| keyrings::unknown_row(*store, why)));
        rows.extend(plan.agents_error.iter().map(|why| agents::unknown_row(why)));
        if self.tier > Tier::Lock {
            rows.extend(self.run.judge_agents(self.catalogue, &plan.agents, &done.flushed));
        }
        rows
    }

    /// Who still holds one of the stores' files.
    fn held(&self, done: &Done<F::Quarantine>) -> Result<Vec<Holder>, String> {
        let files: Vec<_> = done.identities.iter().map(|(_, file)| *file).collect();
        let now = self.run.host.processes.holders(&files).map_err(|error| error.to_string())?;
        // Once a store is unlinked, its inode number may be another file's: only who held it while
        // it still had its own can hold it now.
        Ok(now.into_iter().filter(|holder| done.holders.contains(holder)).collect())
    }

    /// Who could hold one of the stores' files, and hides what it holds.
    fn hidden(&self, done: &Done<F::Quarantine>) -> Option<u32> {
        let now = self.run.host.processes.hidden().unwrap_or_default();
        now.iter().find(|process| done.hidden.contains(process)).map(|process| process.pid)
    }

    /// Asks every keyring again, clears what was stored or shown meanwhile, and gives each item its
    /// verdict.
    fn judge_items(
        &self,
        plan: &crate::plan::Plan<F::Dir>,
        done: &Done<F::Quarantine>,
    ) -> Vec<StoreReport> {
        let host = self.run.host;
        if self.tier == Tier::Lock || host.keychains.is_empty() {
            return Vec::new();
        }
        let mut failed: Vec<(Item, KeychainError)> = Vec::new();
        let (mut now, errors, appeared) = self.run.recorder.step("count-keychain", |said| {
            let now = keyrings::look(self.catalogue, host);
            let (mut items, errors) = keyrings::sort(self.catalogue, host.include, &now);
            said.extend(errors.iter().map(|(_, why)| why.clone()));
            let known = |item: &Item| {
                let same = |other: &&Item| other.item.store == item.item.store;
                plan.items.iter().filter(same).any(|o| o.item.address == item.item.address)
            };
            items.retain(|item| item.tier <= self.tier && !known(item));
            (now, errors, items)
        });
        if !appeared.is_empty() {
            failed = self.run.clear_items(&appeared);
            now = keyrings::look(self.catalogue, host);
        }
        let failed: Vec<_> = done.item_errors.iter().chain(&failed).collect();
        let now = keyrings::Left::of(self.catalogue, host.include, now);
        let row = |item: &Item, before| {
            let why = failed.iter().find(|(other, _)| other == item).map(|(_, error)| error);
            now.judge(item, before, why)
        };
        let planned = plan.items.iter().map(|item| row(item, Before::Present));
        let appeared = appeared.iter().map(|item| row(item, Before::Appeared));
        let known = |store| plan.keychain_errors.iter().any(|(other, _)| *other == store);
        let unknown = errors.iter().filter(|(store, _)| !known(*store));
        let unknown = unknown.map(|(store, why)| keyrings::unknown_row(*store, why));
        planned.chain(appeared).chain(unknown).collect()
    }
}

/// What the last look knows about files.
struct LastLook<'a, F: Files> {
    left: &'a [Store<F::Dir>],
    held: Result<Vec<Holder>, String>,
    /// Somebody whose open files were hidden all the time.
    hidden: Option<u32>,
    stuck: bool,
    isolated: bool,
    done: &'a Done<F::Quarantine>,
}

impl<F: Files> LastLook<'_, F> {
    fn verdict(&self, store: &Store<F::Dir>, before: Before) -> StoreReport {
        let (verdict, detail) = self.judge(store);
        let before = if store.targets.is_empty() { Before::Refused } else { before };
        StoreReport { before, verdict: Some(verdict), detail, ..store.report() }
    }

    fn judge(&self, store: &Store<F::Dir>) -> (Verdict, Option<String>) {
        if let Some((place, why)) = store.out_of_bounds.first() {
            return (Verdict::Refused, Some(format!("{place}: {why}")));
        }
        if let Some(left) = self.left.iter().find(|left| left.is_row_of(store)) {
            let stuck = left.targets.iter().any(|target| target.entry().immutable);
            let what = match &left.action {
                Action::Remove if stuck => "is immutable or append-only, and still there",
                Action::Remove => "is still there",
                Action::Edit(_) if stuck => "is immutable or append-only, and still holds it",
                Action::Edit(_) => "still holds it",
            };
            return (Verdict::Residual, Some(format!("{} {what}", left.place())));
        }
        if let Some(link) = store.targets.iter().find(|target| target.is_link()) {
            let why = "was a symbolic link: the link is gone, what it led to was not touched";
            return (Verdict::Residual, Some(format!("{} {why}", link.place())));
        }
        if self.is_outlived(store) {
            let why = "another user's file, unlinked here, keeps another name elsewhere";
            return (Verdict::Residual, Some(why.into()));
        }
        if let Some(pid) = self.would_not_end(store) {
            return (Verdict::Unknown, Some(format!("pid {pid} held it and did not end")));
        }
        match &self.held {
            Err(why) => return (Verdict::Unknown, Some(format!("who holds it is unknown: {why}"))),
            Ok(holders) => {
                if let Some(holder) = holders.iter().find(|holder| self.is_of(store, holder)) {
                    let pid = holder.process.pid;
                    return (Verdict::Residual, Some(format!("pid {pid} still holds it open")));
                }
            }
        }
        if let Some(pid) = self.hidden {
            let why = format!("pid {pid} hides what it holds open, and may hold this");
            return (Verdict::Unknown, Some(why));
        }
        if self.stuck && store.action == Action::Remove {
            return if self.isolated {
                (Verdict::Unusable, Some("out of reach, not yet erased".into()))
            } else {
                (Verdict::Residual, Some("renamed away within reach, and not erased".into()))
            };
        }
        (Verdict::Gone, None)
    }
}

impl<F: Files> LastLook<'_, F> {
    /// The pid of a process that held this very store and is still alive after it was ended.
    fn would_not_end(&self, store: &Store<F::Dir>) -> Option<u32> {
        let held = self.done.holders.iter().filter(|holder| self.is_of(store, holder));
        let mut pids = held.map(|holder| &holder.process);
        pids.find(|process| self.done.alive.contains(process)).map(|process| process.pid)
    }

    /// Whether a file of the store is still there under another name. One that cannot be assigned
    /// counts for every store.
    fn is_outlived(&self, store: &Store<F::Dir>) -> bool {
        let row = store.row();
        let identities = &self.done.identities;
        self.done.outlived.iter().any(|file| {
            let mut rows = identities.iter().filter(|(_, of)| of == file).map(|(row, _)| row);
            rows.clone().next().is_none() || rows.any(|of| *of == row)
        })
    }

    fn is_of(&self, store: &Store<F::Dir>, holder: &Holder) -> bool {
        let row = store.row();
        self.done.identities.iter().any(|(of, file)| *file == holder.identity && *of == row)
    }
}

/// What a reader must know of flags that an administrator may have set on purpose.
fn freed(files: u64) -> Option<String> {
    let what = "immutable or append-only: the flag was taken from";
    match files {
        0 => None,
        1 => Some(format!("1 file or directory was {what} it")),
        _ => Some(format!("{files} files or directories were {what} them")),
    }
}

/// Whether a row that is there now is not just the very entries that could not be moved.
fn changed<D>(now: &Store<D>, planned: &[Store<D>], appeared: &[Store<D>]) -> bool {
    let known = planned.iter().chain(appeared).filter(|store| store.is_row_of(now));
    let identities: Vec<_> =
        known.flat_map(|store| store.targets.iter().map(|t| t.entry().identity)).collect();
    now.targets.iter().any(|target| !identities.contains(&target.entry().identity))
}

fn is_row<D>(row: &StoreReport, store: &Store<D>) -> bool {
    row.app == store.app.as_str()
        && row.profile == store.profile
        && row.store == store.rule.as_str()
}
