//! The contract of [`Keychains`].
//!
//! It refuses to see a secret.

use exeunt_engine::ports::{KeychainError, Keychains};

/// A keychain to test with, and a way to change it behind the port's back.
pub trait KeychainsRig {
    /// The implementation.
    fn keychains(&self) -> &dyn Keychains;
    /// Stores a secret under a label and with one value of [`KeychainsRig::attribute`].
    fn store(&self, label: &str, value: &str);
    /// The name of the attribute.
    fn attribute(&self) -> &'static str {
        "account"
    }
    /// Locks the collection that [`KeychainsRig::store`] stores into.
    fn lock(&self);
}

/// Runs the whole contract.
pub fn all<R: KeychainsRig>(make: impl Fn() -> R) {
    lists_and_clears_items(&make());
    withholds_what_is_locked(&make());
    withholds_everything_once_it_is_told_to_lock(&make());
}

fn lists_and_clears_items<R: KeychainsRig>(rig: &R) {
    for (label, account) in [("one", "a"), ("two", "b"), ("three", "c")] {
        rig.store(label, account);
    }
    let items = rig.keychains().items().expect("lists");
    let mut labels: Vec<_> = items.iter().map(|item| item.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["one", "three", "two"]);
    let two = items.iter().find(|item| item.label == "two").expect("is listed");
    assert_eq!(two.attributes.get(rig.attribute()).map(String::as_str), Some("b"));
    assert!(!two.locked);
    rig.keychains().clear(two).expect("clears");
    assert_eq!(rig.keychains().items().expect("lists").len(), 2);
    // Clearing again changes nothing and is no error.
    rig.keychains().clear(two).expect("is no error");
    for item in rig.keychains().items().expect("lists") {
        rig.keychains().clear(&item).expect("clears");
    }
    assert!(rig.keychains().items().expect("lists").is_empty());
}

fn withholds_what_is_locked<R: KeychainsRig>(rig: &R) {
    rig.store("one", "a");
    rig.lock();
    let items = rig.keychains().items().expect("lists");
    assert_eq!(items.len(), 1);
    assert!(items[0].locked);
    assert!(matches!(rig.keychains().clear(&items[0]), Err(KeychainError::Locked)));
    assert_eq!(rig.keychains().items().expect("lists").len(), 1);
}

fn withholds_everything_once_it_is_told_to_lock<R: KeychainsRig>(rig: &R) {
    rig.store("one", "a");
    rig.keychains().lock().expect("locks");
    let items = rig.keychains().items().expect("lists");
    assert!(items.len() == 1 && items[0].locked, "{items:?}");
    assert!(matches!(rig.keychains().clear(&items[0]), Err(KeychainError::Locked)));
}
