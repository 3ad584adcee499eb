//! The account's keyrings: whose items some rule means, and what became of them.
//!
//! It refuses to let one keyring that fails hide what another shows.

use std::collections::BTreeMap;

use exeunt_catalogue::{App, AppId, Catalogue, KeyringRule, KeyringStore, StoreId};
use exeunt_domain::receipt::Before;
use exeunt_domain::{StoreReport, Tier, Verdict};

use crate::ports::{Files, Host, KeychainError, KeychainItem, Keychains};
use crate::survey::Item;

/// What every keyring that was asked showed, by keyring.
pub(crate) type Shown = BTreeMap<KeyringStore, Result<Vec<KeychainItem>, KeychainError>>;

/// The items that some rule means, and the keyrings that could not be asked.
///
/// A keyring that no rule concerns is not asked at all.
pub(crate) fn survey<F: Files>(
    catalogue: &Catalogue,
    host: &Host<'_, F>,
) -> (Vec<Item>, Vec<(KeyringStore, String)>) {
    let rules: Vec<(&App, &KeyringRule)> = wanted(catalogue, host.include);
    let concerned = |store| rules.iter().any(|(_, rule)| rule.store == store);
    let mut items = Vec::new();
    let mut errors = Vec::new();
    for (store, shown) in ask(host, concerned) {
        match shown {
            Ok(shown) => {
                let (veiled, shown): (Vec<_>, Vec<_>) =
                    shown.into_iter().partition(KeychainItem::is_veiled);
                items.extend(shown.into_iter().filter_map(|item| meant(&rules, item)));
                items.extend(sealed(veiled));
            }
            Err(KeychainError::Absent) => {}
            Err(
                error @ (KeychainError::Locked
                | KeychainError::Timeout(_)
                | KeychainError::Failed(_)),
            ) => errors.push((store, error.to_string())),
        }
    }
    (items, errors)
}

/// One row for each keyring that hides what its items are for: nobody can say that none is meant.
fn sealed(veiled: Vec<KeychainItem>) -> Vec<Item> {
    let collections: BTreeMap<String, KeychainItem> =
        veiled.into_iter().map(|item| (item.collection.clone(), item)).collect();
    let (Ok(app), Ok(rule)) = (AppId::parse("keyring"), StoreId::parse("locked")) else {
        return Vec::new();
    };
    let row = |item| Item {
        app: app.clone(),
        app_name: "Keyring".into(),
        rule: rule.clone(),
        tier: Tier::SignOut,
        item,
    };
    collections.into_values().map(row).collect()
}

/// Asks every keyring that is `concerned`, all at once.
pub(crate) fn ask<F: Files>(host: &Host<'_, F>, concerned: impl Fn(KeyringStore) -> bool) -> Shown {
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

/// The row of one item, from what its keyring shows now and why it was not cleared.
pub(crate) fn judge(item: &Item, now: &Shown, failed: Option<&KeychainError>) -> StoreReport {
    let absent = Err(KeychainError::Absent);
    let now = now.get(&item.item.store).unwrap_or(&absent);
    let (verdict, detail) = match (now, failed) {
        (Err(KeychainError::Absent), Some(KeychainError::Locked)) => {
            (Verdict::Refused, Some("its keyring was locked, and does not run any more".to_owned()))
        }
        (Err(error), _) => (Verdict::Unknown, Some(error.to_string())),
        (Ok(left), failed) if !left.iter().any(|other| other.address == item.item.address) => {
            let locked = item.item.locked || matches!(failed, Some(KeychainError::Locked));
            let file = "its keyring was locked, and went with the keyring's file";
            (Verdict::Gone, locked.then(|| file.to_owned()))
        }
        (Ok(_), Some(error @ KeychainError::Locked)) => (Verdict::Refused, Some(error.to_string())),
        (Ok(_), error) => (Verdict::Residual, error.map(ToString::to_string)),
    };
    StoreReport { verdict: Some(verdict), detail, ..item.report() }
}

/// Adds the items' rows to those of files. Where a locked keyring's file was removed, the item says
/// so; it stays refused as long as its service still lists it, which may have read the file.
pub(crate) fn with_files(
    mut files: Vec<StoreReport>,
    mut items: Vec<StoreReport>,
) -> Vec<StoreReport> {
    let removed =
        files.iter().any(|row| row.store == "keyring-files" && row.verdict == Some(Verdict::Gone));
    for row in items.iter_mut().filter(|row| removed && row.verdict == Some(Verdict::Refused)) {
        row.detail = Some("its keyring is locked; the keyring's file was removed".to_owned());
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
    rules.filter(|(app, rule)| !rule.opt_in || asked_for(app, rule)).collect()
}

/// The item under the first rule that means it.
fn meant(rules: &[(&App, &KeyringRule)], item: KeychainItem) -> Option<Item> {
    let (app, rule) = rules.iter().find(|(_, rule)| item.matches(rule))?;
    let (app, app_name) = (app.id.clone(), app.name.clone());
    Some(Item { app, app_name, rule: rule.id.clone(), tier: rule.tier, item })
}
