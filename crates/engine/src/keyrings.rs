//! The account's keyrings: whose items some rule means, and what became of them.
//!
//! It refuses to let one keyring that fails hide what another shows.

mod veiled;

use std::collections::{BTreeMap, BTreeSet};

use exeunt_catalogue::{App, AppId, Catalogue, KeyringRule, KeyringStore, StoreId};
use exeunt_domain::receipt::Before;
use exeunt_domain::{StoreReport, Verdict};

use crate::ports::{Files, Host, KeychainError, KeychainItem, Keychains};
use crate::survey::{Item, PLATFORM};

/// Why an item is gone that its keyring withheld.
const WITH_FILE: &str = "its keyring withheld it, and does not show it any more";

/// What every keyring that was asked showed, by keyring.
pub(crate) type Shown = BTreeMap<KeyringStore, Result<Vec<KeychainItem>, KeychainError>>;

/// The items that some rule means, and the keyrings that could not be asked.
///
/// A keyring that no rule concerns is not asked at all.
pub(crate) fn survey<F: Files>(
    catalogue: &Catalogue,
    host: &Host<'_, F>,
) -> (Vec<Item>, Vec<(KeyringStore, String)>) {
    sort(catalogue, host.include, &look(catalogue, host))
}

/// What a survey of keyrings that panicked found.
pub(crate) fn panicked() -> (Vec<Item>, Vec<(KeyringStore, String)>) {
    (Vec::new(), vec![(KeyringStore::SecretService, "asking the keyrings panicked".into())])
}

/// What every keyring shows that some rule concerns.
pub(crate) fn look<F: Files>(catalogue: &Catalogue, host: &Host<'_, F>) -> Shown {
    let rules = wanted(catalogue, host.include);
    ask(host, |store| rules.iter().any(|(_, rule)| rule.store == store))
}

/// The items of `shown` that some rule means, and the keyrings that showed nothing but a fault.
pub(crate) fn sort(
    catalogue: &Catalogue,
    include: &[String],
    shown: &Shown,
) -> (Vec<Item>, Vec<(KeyringStore, String)>) {
    let rules = wanted(catalogue, include);
    let mut items = Vec::new();
    let mut errors = Vec::new();
    for (store, shown) in shown {
        match shown {
            Ok(shown) => {
                let (veiled, shown): (Vec<_>, Vec<_>) =
                    shown.iter().cloned().partition(KeychainItem::is_veiled);
                items.extend(shown.into_iter().filter_map(|item| meant(&rules, item)));
                items.extend(sealed(&rules, veiled));
            }
            Err(KeychainError::Absent) => {}
            Err(
                error @ (KeychainError::Locked
                | KeychainError::Unserved
                | KeychainError::Timeout(_)
                | KeychainError::Failed(_)),
            ) => errors.push((*store, error.to_string())),
        }
    }
    (items, errors)
}

/// One row for each keyring that hides what its items are for, where some rule may mean one: nobody
/// can say that none is meant.
fn sealed(rules: &[(&App, &KeyringRule)], veiled: Vec<KeychainItem>) -> Vec<Item> {
    let (Ok(app), Ok(row)) = (AppId::parse("keyring"), StoreId::parse("locked")) else {
        return Vec::new();
    };
    let mut collections: BTreeMap<(KeyringStore, String), Item> = BTreeMap::new();
    for item in veiled {
        let may = rules.iter().filter(|(_, rule)| veiled::may_mean(rule, &item));
        let Some(tier) = may.map(|(_, rule)| rule.tier).min() else { continue };
        let (app, rule, app_name) = (app.clone(), row.clone(), "Keyring".to_owned());
        let of = (item.store, item.collection.clone());
        let row = Item { app, app_name, rule, tier, item };
        let known = collections.entry(of).or_insert_with(|| row.clone());
        if row.tier < known.tier {
            *known = row;
        }
    }
    collections.into_values().collect()
}

/// Asks every keyring that is `concerned`, all at once.
fn ask<F: Files>(host: &Host<'_, F>, concerned: impl Fn(KeyringStore) -> bool) -> Shown {
    let asked = host.keychains.iter().filter(|keyring| concerned(keyring.store()));
    std::thread::scope(|scope| {
        let running: Vec<_> =
            asked.map(|keyring| (keyring.store(), scope.spawn(move || keyring.items()))).collect();
        let answers = running.into_iter().map(|(store, asked)| {
            let panicked = || Err(KeychainError::Failed("asking it panicked".into()));
            (store, asked.join().unwrap_or_else(|_| panicked()))
        });
        answers.collect()
    })
}

/// Deletes one item from the keyring that it is of.
pub(crate) fn clear<F: Files>(
    host: &Host<'_, F>,
    item: &KeychainItem,
) -> Result<(), KeychainError> {
    let of = |keyring: &&&dyn Keychains| keyring.store() == item.store;
    host.keychains.iter().find(of).map_or(Err(KeychainError::Absent), |k| k.clear(item))
}

/// Locks every keyring: a copy in a service's memory is of no use to whoever comes next, and is not
/// written back.
pub(crate) fn lock<F: Files>(host: &Host<'_, F>) -> Vec<String> {
    let locked = host.keychains.iter().map(|keyring| (keyring.store(), keyring.lock()));
    let failed = locked.filter_map(|(store, locked)| match locked {
        Ok(()) | Err(KeychainError::Absent) => None,
        Err(error) => Some(format!("locking {}: {error}", name(store))),
    });
    failed.collect()
}

/// The keyring's name as the catalogue writes it.
pub(crate) fn name(store: KeyringStore) -> &'static str {
    match store {
        KeyringStore::SecretService => "secret-service",
        KeyringStore::KWallet => "kwallet",
        KeyringStore::Kernel => "kernel",
        KeyringStore::Keychain => "keychain",
        KeyringStore::CredentialManager => "credential-manager",
    }
}

/// What the keyrings show at the end.
pub(crate) struct Left {
    shown: Shown,
    /// Collections that hide items which some rule may mean.
    hiding: BTreeSet<(KeyringStore, String)>,
}

impl Left {
    pub(crate) fn of(catalogue: &Catalogue, include: &[String], shown: Shown) -> Self {
        let rules = wanted(catalogue, include);
        let veiled = shown.values().flatten().flatten().filter(|item| item.is_veiled());
        let may = |item: &&KeychainItem| rules.iter().any(|(_, r)| veiled::may_mean(r, item));
        let hiding = veiled.filter(may).map(|item| (item.store, item.collection.clone())).collect();
        Self { shown, hiding }
    }

    /// The row of one item, from what its keyring shows now and why it was not cleared.
    pub(crate) fn judge(
        &self,
        item: &Item,
        before: Before,
        failed: Option<&KeychainError>,
    ) -> StoreReport {
        let absent = Err(KeychainError::Absent);
        let now = self.shown.get(&item.item.store).unwrap_or(&absent);
        let withheld = item.item.locked
            || matches!(failed, Some(KeychainError::Locked | KeychainError::Unserved));
        let of = (item.item.store, item.item.collection.clone());
        let listed =
            |left: &[KeychainItem]| left.iter().any(|left| left.address == item.item.address);
        let (verdict, detail) = match (now, failed) {
            (Err(KeychainError::Absent), Some(KeychainError::Locked)) => {
                let why = "its keyring was locked, and does not run any more";
                (Verdict::Refused, Some(why.to_owned()))
            }
            // Only its file showed it, and the file is gone: nothing else that is locked is cleared.
            (Err(KeychainError::Absent), None | Some(KeychainError::Unserved)) if withheld => {
                (Verdict::Gone, Some(WITH_FILE.to_owned()))
            }
            (Err(error), _) => (Verdict::Unknown, Some(error.to_string())),
            (Ok(left), _) if !listed(left) && self.hiding.contains(&of) => {
                let why = "its keyring hides what it holds, and may hold it";
                (Verdict::Refused, Some(why.to_owned()))
            }
            (Ok(left), _) if !listed(left) => {
                (Verdict::Gone, withheld.then(|| WITH_FILE.to_owned()))
            }
            (Ok(_), Some(error @ (KeychainError::Locked | KeychainError::Unserved))) => {
                (Verdict::Refused, Some(error.to_string()))
            }
            (Ok(_), error) => (Verdict::Residual, error.map(ToString::to_string)),
        };
        StoreReport { before, verdict: Some(verdict), detail, ..item.report() }
    }
}

/// Adds the items' rows to those of files. Where a locked keyring's file was removed, the item says
/// so; it stays refused as long as its service still lists it, which may have read the file.
pub(crate) fn with_files(
    mut files: Vec<StoreReport>,
    mut items: Vec<StoreReport>,
) -> Vec<StoreReport> {
    let is_file = |row: &StoreReport| ["keyring-files", "wallet-files"].contains(&&*row.store);
    let removed = files.iter().any(|row| is_file(row) && row.verdict == Some(Verdict::Gone));
    for row in items.iter_mut().filter(|_| removed) {
        let said = match row.verdict {
            Some(Verdict::Refused) => "its keyring is locked; the keyring's file was removed",
            Some(Verdict::Gone) if row.detail.is_some() => {
                "its keyring withheld it, and went with the keyring's file"
            }
            Some(_) | None => continue,
        };
        row.detail = Some(said.to_owned());
    }
    files.extend(items);
    files
}

/// The row that says why a keyring could not be surveyed.
pub(crate) fn unknown_row(store: KeyringStore, why: &str) -> StoreReport {
    StoreReport {
        app: "keyring".into(),
        profile: name(store).into(),
        store: "all".into(),
        place: "keyring:".into(),
        before: Before::Refused,
        verdict: Some(Verdict::Unknown),
        detail: Some(why.to_owned()),
    }
}

/// The rules that apply: those that nobody must ask for, and those that were asked for.
fn wanted<'c>(catalogue: &'c Catalogue, include: &[String]) -> Vec<(&'c App, &'c KeyringRule)> {
    let rules =
        catalogue.apps().iter().flat_map(|app| app.keyring.iter().map(move |rule| (app, rule)));
    let asked_for =
        |app: &App, rule: &KeyringRule| include.contains(&format!("{}/{}", app.id, rule.id));
    let here = |rule: &KeyringRule| rule.store.platform() == PLATFORM;
    rules.filter(|(app, rule)| here(rule) && (!rule.opt_in || asked_for(app, rule))).collect()
}

/// The item under the first rule that means it.
fn meant(rules: &[(&App, &KeyringRule)], item: KeychainItem) -> Option<Item> {
    let (app, rule) = rules.iter().find(|(_, rule)| item.matches(rule))?;
    let (app, app_name) = (app.id.clone(), app.name.clone());
    Some(Item { app, app_name, rule: rule.id.clone(), tier: rule.tier, item })
}
