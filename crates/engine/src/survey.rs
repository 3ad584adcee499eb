//! The first stage: what is there. It reads, and touches nothing.
//!
//! It refuses to leave out what it could not enter: that becomes a refusal with a reason.

use std::sync::Arc;

use exeunt_catalogue::{
    Action, App, AppId, Catalogue, Edit, Glob, Platform, StoreId, StoreRule, Within,
};
use exeunt_domain::receipt::Before;
use exeunt_domain::{StoreReport, Tier};

use crate::agents::{self, Agent};
use crate::bounds::{Bounds, Target};
use crate::discover::{Finder, Instance};
use crate::keyrings;
use crate::ports::{Entry, Files, Host, KeychainItem, Name, Process, Processes};

/// The platform that the adapters are for.
pub(crate) const PLATFORM: Platform = Platform::Linux;

/// What is there, in one home.
pub struct Survey<D> {
    /// Files, by app, profile and store.
    pub stores: Vec<Store<D>>,
    /// Keychain items that a rule means.
    pub items: Vec<Item>,
    /// Places that could not be entered or lie out of bounds.
    pub refusals: Vec<Refusal>,
    /// Keyrings that could not be surveyed and should have been, with the reason.
    pub keychain_errors: Vec<(exeunt_catalogue::KeyringStore, String)>,
    /// Programs that keep credentials in memory or behind a socket.
    pub agents: Vec<Agent>,
    /// Why not every agent could be found.
    pub agents_error: Option<String>,
}

/// One store: the entries of one rule in one profile.
pub struct Store<D> {
    pub(crate) app: AppId,
    pub(crate) app_name: String,
    pub(crate) profile: String,
    pub(crate) rule: StoreId,
    pub(crate) tier: Tier,
    pub(crate) action: Action,
    pub(crate) targets: Vec<Target<D>>,
    /// Entries of the rule that are out of bounds, with the reason.
    pub(crate) out_of_bounds: Vec<(String, String)>,
}

/// A keychain item and the rule that means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub(crate) app: AppId,
    pub(crate) app_name: String,
    pub(crate) rule: StoreId,
    pub(crate) tier: Tier,
    pub(crate) item: KeychainItem,
}

/// A place that could not be surveyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose place.
    pub app: AppId,
    /// Where, relative to the home when it lies beneath it.
    pub place: String,
    /// Why.
    pub why: String,
}

/// Which row of a receipt a store is: app, profile and rule.
pub(crate) type Row = Arc<(AppId, String, StoreId)>;

impl<D> Store<D> {
    pub(crate) fn row(&self) -> Row {
        Arc::new((self.app.clone(), self.profile.clone(), self.rule.clone()))
    }

    /// Same app, profile and rule: the same row of a receipt.
    pub(crate) fn is_row_of(&self, other: &Self) -> bool {
        self.app == other.app && self.profile == other.profile && self.rule == other.rule
    }

    pub(crate) fn place(&self) -> String {
        let target = self.targets.first().map(Target::place);
        let outside = || self.out_of_bounds.first().map(|(place, _)| place.clone());
        target.or_else(outside).unwrap_or_default()
    }

    /// The row as a survey shows it.
    pub(crate) fn report(&self) -> StoreReport {
        StoreReport {
            app: self.app.to_string(),
            profile: self.profile.clone(),
            store: self.rule.to_string(),
            place: self.place(),
            before: if self.targets.is_empty() { Before::Refused } else { Before::Present },
            verdict: None,
            detail: self.out_of_bounds.first().map(|(place, why)| format!("{place}: {why}")),
        }
    }
}

impl Item {
    pub(crate) fn report(&self) -> StoreReport {
        StoreReport {
            app: self.app.to_string(),
            profile: self.item.collection.clone(),
            store: self.rule.to_string(),
            place: format!("keyring:{}/{}", self.item.collection, self.item.label),
            before: Before::Present,
            verdict: None,
            detail: self.item.locked.then(|| "its keyring is locked".to_owned()),
        }
    }
}

impl Refusal {
    pub(crate) fn report(&self) -> StoreReport {
        StoreReport {
            app: self.app.to_string(),
            profile: String::new(),
            store: "all".into(),
            place: self.place.clone(),
            before: Before::Refused,
            verdict: None,
            detail: Some(self.why.clone()),
        }
    }
}

impl<D: Clone + Send + Sync> Survey<D> {
    /// Looks at the whole home, its live processes and its keychain. Touches nothing.
    pub fn take<F: Files<Dir = D>>(catalogue: &Catalogue, host: &Host<'_, F>) -> Self {
        let processes = host.processes.list().unwrap_or_default();
        // Whoever answers late holds up nobody else.
        let (keyrings, agents, files) = std::thread::scope(|scope| {
            let keyrings = scope.spawn(|| keyrings::survey(catalogue, host));
            let agents = scope.spawn(|| agents::survey(catalogue, host));
            let files = survey_files(catalogue, host.files, &processes);
            (keyrings.join(), agents.join(), files)
        });
        let (items, keychain_errors) = keyrings.unwrap_or_else(|_| keyrings::panicked());
        let panicked = || (Vec::new(), Some("looking for agents panicked".to_owned()));
        let (agents, agents_error) = agents.unwrap_or_else(|_| panicked());
        let (stores, refusals) = files;
        Self { stores, items, refusals, keychain_errors, agents, agents_error }
    }

    /// Only the files: for looking again without asking the keychain twice.
    pub(crate) fn files<F: Files<Dir = D>>(catalogue: &Catalogue, host: &Host<'_, F>) -> Self {
        let processes = host.processes.list().unwrap_or_default();
        let (stores, refusals) = survey_files(catalogue, host.files, &processes);
        Self {
            stores,
            items: Vec::new(),
            refusals,
            keychain_errors: Vec::new(),
            agents: Vec::new(),
            agents_error: None,
        }
    }

    /// Every row, without verdicts, as `exeunt survey` shows them.
    #[must_use]
    pub fn reports(&self) -> Vec<StoreReport> {
        let files = self.stores.iter().map(Store::report);
        let items = self.items.iter().map(Item::report);
        let agents = self.agents.iter().filter(|agent| agent.is_shown()).map(Agent::report);
        let refusals = self.refusals.iter().map(Refusal::report);
        files.chain(items).chain(agents).chain(refusals).collect()
    }
}

/// The rows of a tier whose files are there, for a watch that wants nothing else.
pub(crate) fn present<F: Files>(
    catalogue: &Catalogue,
    files: &F,
    processes: &dyn Processes,
    tier: Tier,
) -> Vec<StoreReport> {
    let (stores, _) = survey_files(catalogue, files, &processes.list().unwrap_or_default());
    let there = stores.iter().filter(|store| store.tier <= tier && !store.targets.is_empty());
    there.map(Store::report).collect()
}

fn survey_files<F: Files>(
    catalogue: &Catalogue,
    files: &F,
    processes: &[Process],
) -> (Vec<Store<F::Dir>>, Vec<Refusal>) {
    let bounds = Bounds::new(catalogue.protected(), PLATFORM);
    let mut finder = Finder::new(files, PLATFORM);
    let mut stores = Vec::new();
    for app in catalogue.apps() {
        finder.known_places(app);
        finder.live_places(app, processes);
        for rule in &app.stores {
            let mut store = empty(app, rule, String::new());
            for place in rule.at(PLATFORM) {
                let Ok(Some(base)) = files.base(place.base) else { continue };
                gather(
                    &mut finder,
                    files,
                    &bounds,
                    app,
                    &base,
                    place.path.components(),
                    &mut store,
                );
            }
            stores.push(store);
        }
        let (named, refusals) = crate::named::stores(files, &bounds, app, processes);
        stores.extend(named);
        finder.refusals.extend(refusals);
    }
    let instances = std::mem::take(&mut finder.instances);
    for instance in &instances {
        for rule in &instance.app.stores {
            let mut store = empty(instance.app, rule, instance.profile.clone());
            if let Some(start) = start_of(instance, rule.within) {
                for path in &rule.paths {
                    let components = path.components();
                    gather(
                        &mut finder,
                        files,
                        &bounds,
                        instance.app,
                        start,
                        components,
                        &mut store,
                    );
                }
            }
            stores.push(store);
        }
    }
    stores.retain(|store| !store.targets.is_empty() || !store.out_of_bounds.is_empty());
    claim_once(files, &mut stores);
    (stores, finder.refusals)
}

/// An entry that two apps' rules mean, such as a named app's and the generic one's, counts once:
/// for the first.
fn claim_once<F: Files>(files: &F, stores: &mut Vec<Store<F::Dir>>) {
    let mut claimed = std::collections::BTreeSet::new();
    for store in stores.iter_mut() {
        let rows = match &store.action {
            Action::Remove => None,
            Action::Edit(_) => Some((store.app.to_string(), store.rule.to_string())),
        };
        store.targets.retain(|target| {
            let place = (files.place(target.dir()), target.entry().name.clone());
            claimed.insert((rows.clone(), place))
        });
    }
    stores.retain(|store| !store.targets.is_empty() || !store.out_of_bounds.is_empty());
}

pub(crate) fn empty<D>(app: &App, rule: &StoreRule, profile: String) -> Store<D> {
    Store {
        app: app.id.clone(),
        app_name: app.name.clone(),
        profile,
        rule: rule.id.clone(),
        tier: rule.tier,
        action: rule.action.clone(),
        targets: Vec::new(),
        out_of_bounds: Vec::new(),
    }
}

fn start_of<'i, D>(instance: &'i Instance<'_, D>, within: Within) -> Option<&'i D> {
    match within {
        Within::Profile => Some(&instance.profile_dir),
        Within::Root => instance.root_dir.as_ref(),
        Within::Cache => instance.cache_dir.as_ref(),
    }
}

/// Adds to `store` every entry that `components` match from `start`.
fn gather<F: Files>(
    finder: &mut Finder<'_, '_, F>,
    files: &F,
    bounds: &Bounds<'_>,
    app: &App,
    start: &F::Dir,
    components: &[Glob],
    store: &mut Store<F::Dir>,
) {
    let Some((last, parents)) = components.split_last() else { return };
    for dir in finder.walk(app, start, parents) {
        for entry in matching(files, &dir, last) {
            admit(files, bounds, &dir, entry, store);
        }
    }
}

fn matching<F: Files>(files: &F, dir: &F::Dir, glob: &Glob) -> Vec<Entry> {
    if glob.is_literal() {
        let name = Name::new(glob.as_str().as_bytes());
        return name.and_then(|name| files.look(dir, &name).ok().flatten()).into_iter().collect();
    }
    let mut entries = files.list(dir).unwrap_or_default();
    entries.retain(|entry| glob.matches(entry.name.as_bytes()));
    entries
}

fn admit<F: Files>(
    files: &F,
    bounds: &Bounds<'_>,
    dir: &F::Dir,
    entry: Entry,
    store: &mut Store<F::Dir>,
) {
    let name = entry.name.clone();
    let admitted = match &store.action {
        Action::Remove => bounds.admit(files, dir, entry),
        Action::Edit(edit) => {
            if !needs_edit(files, dir, &entry, edit) {
                return;
            }
            bounds.admit_edit(files, dir, entry)
        }
    };
    match admitted {
        Ok(target) => store.targets.push(target),
        Err(why) => {
            let mut place = files.place(dir);
            place.push(name);
            store.out_of_bounds.push((crate::bounds::show(&place), why.to_string()));
        }
    }
}

/// Adds an entry that a variable named. Unlike the catalogue's own places, a protected one is not
/// even edited: anybody's process may have named it.
pub(crate) fn admit_named<F: Files>(
    files: &F,
    bounds: &Bounds<'_>,
    dir: &F::Dir,
    entry: Entry,
    store: &mut Store<F::Dir>,
) {
    if let Err(why) = bounds.admit(files, dir, entry.clone()) {
        let mut place = files.place(dir);
        place.push(entry.name);
        store.out_of_bounds.push((crate::bounds::show(&place), why.to_string()));
    } else {
        admit(files, bounds, dir, entry, store);
    }
}

/// Whether the file holds anything to cut out; one that cannot be read may.
fn needs_edit<F: Files>(files: &F, dir: &F::Dir, entry: &Entry, edit: &Edit) -> bool {
    entry.kind == crate::ports::FileKind::File
        && !matches!(files.count_matches(dir, entry, edit), Ok(0))
}
