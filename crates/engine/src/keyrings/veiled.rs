//! Items of a locked keyring, which shows at most the hashes of what they are for.
//!
//! It refuses to call an item harmless on anything but a hash that differs.

use exeunt_catalogue::{Glob, KeyringRule};
use exeunt_domain::session::hex;
use md5::{Digest as _, Md5};

use crate::ports::{HASHED, KeychainItem};

/// Whether `rule` may mean this item, by the hashes that are shown. An item that shows none may be
/// meant by every rule of its keyring.
///
/// The hashes are MD5, as gnome-keyring and KWallet write them. Someone who makes two values look
/// alike gets a refusal too many, never an item too few.
pub(super) fn may_mean(rule: &KeyringRule, item: &KeychainItem) -> bool {
    if rule.store != item.store {
        return false;
    }
    if !item.attributes.keys().any(|name| name.starts_with(HASHED)) {
        return true;
    }
    let kind = KeychainItem::schema_key(rule.store);
    let schema = rule.schema.as_ref().is_none_or(|wanted| match hash_of(item, kind) {
        Some(hash) => may_be(hash, wanted),
        None => item.attributes.get(kind) == Some(wanted),
    });
    let label = rule.label.as_ref().is_none_or(|glob| {
        hash_of(item, KeychainItem::ENTRY).is_none_or(|hash| may_match(hash, glob))
    });
    let attribute = |(name, glob): (&String, &Glob)| {
        hash_of(item, name).is_some_and(|hash| may_match(hash, glob))
    };
    schema && label && rule.attributes.iter().all(attribute)
}

fn hash_of<'i>(item: &'i KeychainItem, name: &str) -> Option<&'i str> {
    item.attributes.get(&format!("{HASHED}{name}")).map(String::as_str)
}

fn may_match(hash: &str, glob: &Glob) -> bool {
    !glob.is_literal() || may_be(hash, glob.as_str())
}

/// Whether `hash` may be that of `text`; one in another form than MD5's may be anything's.
fn may_be(hash: &str, text: &str) -> bool {
    let digest = hex(&Md5::digest(text.as_bytes()));
    hash.len() != digest.len() || hash == digest
}

#[cfg(test)]
mod tests {
    use exeunt_catalogue::{Catalogue, KeyringStore};

    use super::*;

    fn item(store: KeyringStore, attributes: &[(&str, &str)]) -> KeychainItem {
        let hashed = |&(name, value): &(&str, &str)| {
            (format!("{HASHED}{name}"), hex(&Md5::digest(value.as_bytes())))
        };
        KeychainItem {
            store,
            collection: "Login".into(),
            address: "/1".into(),
            label: String::new(),
            attributes: attributes.iter().map(hashed).collect(),
            locked: true,
        }
    }

    /// The rules of the built-in catalogue that may mean the item, opt-in ones left out.
    fn meaning(item: &KeychainItem) -> Vec<String> {
        let catalogue = Catalogue::builtin().unwrap();
        let rules =
            catalogue.apps().iter().flat_map(|app| app.keyring.iter().map(move |r| (app, r)));
        let may = rules.filter(|(_, rule)| !rule.opt_in && may_mean(rule, item));
        may.map(|(app, rule)| format!("{}/{}", app.id, rule.id)).collect()
    }

    #[test]
    fn a_hashed_schema_tells_items_apart() {
        let stored = |schema| item(KeyringStore::SecretService, &[("xdg:schema", schema)]);
        assert_eq!(meaning(&stored("org.git.Password")), ["git/libsecret"]);
        assert!(meaning(&stored("org.freedesktop.NetworkManager.Connection")).is_empty());
    }

    #[test]
    fn a_hashed_value_may_match_a_pattern_by_its_name_alone() {
        let gh = item(KeyringStore::SecretService, &[("service", "gh:github.com")]);
        assert!(meaning(&gh).contains(&"gh/token".to_owned()));
        let other = item(KeyringStore::SecretService, &[("setting-key", "psk")]);
        assert!(meaning(&other).is_empty());
    }

    #[test]
    fn an_item_that_shows_nothing_may_be_anything() {
        assert!(!meaning(&item(KeyringStore::SecretService, &[])).is_empty());
        let mut odd = item(KeyringStore::SecretService, &[]);
        odd.attributes.insert(format!("{HASHED}service"), "e84f".into());
        assert!(meaning(&odd).contains(&"gh/token".to_owned()));
    }
}
