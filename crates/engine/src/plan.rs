//! The second and third stage: what a tier would do, and the same with an authority behind it.
//!
//! It refuses to be executed without a demand, and never adds to what was surveyed.

use std::collections::{BTreeMap, BTreeSet};

use exeunt_catalogue::KeyringStore;
use exeunt_domain::order::Demand;
use exeunt_domain::receipt::NotCovered;
use exeunt_domain::session::hex;
use exeunt_domain::{Instant, StoreReport, Tier, Timestamp};
use sha2::{Digest, Sha256};

use crate::agents::Agent;
use crate::ports::{Clock, Files, Host, KeychainItem};
use crate::survey::{Item, Refusal, Store, Survey};
use crate::{keyrings, residue};

/// At most so many files of one target are looked for in processes' open files.
const PREVIEWED_IDENTITIES: usize = 256;

/// What a tier would do. Pure and printable.
pub struct Plan<D> {
    pub(crate) tier: Tier,
    pub(crate) stores: Vec<Store<D>>,
    pub(crate) items: Vec<Item>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) keychain_errors: Vec<(KeyringStore, String)>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) agents_error: Option<String>,
    pub(crate) residue: Vec<String>,
}

/// A plan that one of the three authorities demanded. Neither cloned nor read from anywhere.
pub struct ArmedPlan<D> {
    pub(crate) plan: Plan<D>,
    pub(crate) demand: Demand,
    pub(crate) accepted: Timestamp,
    pub(crate) accepted_at: Instant,
}

impl<D> Plan<D> {
    /// Drafts what `tier` would do to what was surveyed.
    #[must_use]
    pub fn draft(survey: Survey<D>, tier: Tier) -> Self {
        let Survey { mut stores, mut items, mut refusals, .. } = survey;
        let (mut keychain_errors, mut agents) = (survey.keychain_errors, survey.agents);
        let mut agents_error = survey.agents_error;
        stores.retain(|store| tier > Tier::Lock && store.tier <= tier);
        items.retain(|item| tier > Tier::Lock && item.tier <= tier);
        if tier == Tier::Lock {
            refusals.clear();
            keychain_errors.clear();
            agents.clear();
            agents_error = None;
        }
        let residue = Vec::new();
        Self { tier, stores, items, refusals, keychain_errors, agents, agents_error, residue }
    }

    /// Looks for what keeps old states of the home's files, so that [`Plan::cannot`] names it. Not a
    /// part of the draft: nothing that makes a store unusable waits for it.
    pub fn look_for_residue<F: Files<Dir = D>>(&mut self, host: &Host<'_, F>) {
        if self.tier > Tier::Lock {
            self.residue = residue::survey(host);
        }
    }

    /// Every row that would go, without verdicts.
    #[must_use]
    pub fn reports(&self) -> Vec<StoreReport> {
        let files = self.stores.iter().map(Store::report);
        let agents = self.shown_agents().map(Agent::report);
        files.chain(self.items.iter().map(Item::report)).chain(agents).collect()
    }

    /// The apps that would end: id, name for people, how many stores of it.
    #[must_use]
    pub fn ends(&self) -> Vec<(String, String, u64)> {
        let files = self.stores.iter().map(|store| (store.app.as_str(), store.app_name.as_str()));
        let items = self.items.iter().map(|item| (item.app.as_str(), item.app_name.as_str()));
        let mut apps: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let agents = self.shown_agents().map(|a| (a.app.as_str(), a.app_name.as_str()));
        for app in files.chain(items).chain(agents) {
            *apps.entry(app).or_default() += 1;
        }
        apps.into_iter().map(|((id, name), stores)| (id.into(), name.into(), stores)).collect()
    }

    /// What cannot be ended from here, and why.
    #[must_use]
    pub fn cannot(&self) -> Vec<NotCovered> {
        let places = self.refusals.iter().map(|r| format!("{}: {} ({})", r.app, r.place, r.why));
        let outside = self.stores.iter().flat_map(|store| {
            let app = &store.app;
            store.out_of_bounds.iter().map(move |(place, why)| format!("{app}: {place} ({why})"))
        });
        let locked = self.items.iter().filter(|item| item.item.locked).map(|item| {
            let KeychainItem { label, collection, .. } = &item.item;
            let name = if label.is_empty() { collection } else { label };
            format!("{}: \"{name}\", its keyring is locked", item.app)
        });
        let errors = self.keychain_errors.iter();
        let keychain = errors.map(|(store, why)| format!("{}: {why}", keyrings::name(*store)));
        let agents = self.agents.iter().filter_map(|agent| {
            let why = agent.live.refused.as_ref()?;
            Some(format!("{}: {} ({why})", agent.app, agent.live.place))
        });
        let unfound = self.agents_error.iter().map(|why| format!("agents: {why}"));
        places
            .chain(outside)
            .chain(locked)
            .chain(keychain)
            .chain(agents)
            .chain(unfound)
            .chain(self.residue.iter().cloned())
            .map(|what| NotCovered { what, until: None })
            .collect()
    }

    fn shown_agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.iter().filter(|agent| agent.is_shown())
    }

    /// Display names of the processes that hold what would go, and so would be closed.
    pub fn closes<F: Files<Dir = D>>(&self, host: &Host<'_, F>) -> Vec<String> {
        let targets = self.stores.iter().flat_map(|store| &store.targets);
        let files: Vec<_> = targets
            .flat_map(|target| {
                let (dir, entry) = (target.dir(), target.entry());
                host.files.identities(dir, entry, PREVIEWED_IDENTITIES).unwrap_or_default()
            })
            .collect();
        let holders = host.processes.holders(&files).unwrap_or_default();
        let names: BTreeSet<String> = host
            .processes
            .list()
            .unwrap_or_default()
            .into_iter()
            .filter(|process| holders.iter().any(|holder| holder.process == process.id))
            .map(|process| process.comm)
            .collect();
        names.into_iter().collect()
    }

    /// SHA-256, hexadecimal, over everything that would be touched and everything that cannot be.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.tier.as_str());
        for row in self.reports() {
            for text in [&row.app, &row.profile, &row.store, &row.place] {
                hasher.update((text.len() as u64).to_be_bytes());
                hasher.update(text);
            }
        }
        for cannot in self.cannot() {
            hasher.update((cannot.what.len() as u64).to_be_bytes());
            hasher.update(cannot.what);
        }
        hex(&hasher.finalize())
    }

    /// Puts an authority behind the plan; its clock starts at `accepted_at`.
    #[must_use]
    pub fn arm(self, demand: Demand, clock: &dyn Clock, accepted_at: Instant) -> ArmedPlan<D> {
        ArmedPlan { plan: self, demand, accepted: clock.now(), accepted_at }
    }
}
