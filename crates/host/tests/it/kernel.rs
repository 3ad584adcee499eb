//! The kernel's keyrings of a user id that no account has.

use std::process::Stdio;

use exeunt_catalogue::KeyringStore;
use exeunt_engine::ports::{KeychainItem, Keychains};
use exeunt_host::keychain::KernelKeyrings;
use exeunt_host::users::Account;

use crate::homes::is_root;
use crate::programs::{command_as, need};

/// Keys of a user id of this test's own.
struct Rig {
    account: Account,
    keyrings: KernelKeyrings,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new(offset: u32) -> Option<Self> {
        if !is_root("another account's keyrings") {
            return None;
        }
        need("keyctl", "keyutils");
        let uid = 2_100_000_000 + std::process::id() % 100_000 * 10 + offset;
        let dir = tempfile::tempdir().unwrap();
        let account = Account { uid, gid: uid, name: "k".into(), home: dir.path().to_owned() };
        let keyrings = KernelKeyrings::of(&account).unwrap();
        Some(Self { account, keyrings, _dir: dir })
    }

    /// What a shell of the account prints.
    fn shell(&self, script: &str) -> String {
        let mut shell = command_as(&self.account, "sh");
        let output = shell.args(["-ec", script]).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn items(&self) -> Vec<KeychainItem> {
        let items = self.keyrings.items().unwrap();
        assert!(items.iter().all(|item| item.store == KeyringStore::Kernel));
        items
    }

    fn clear(&self, label: &str) {
        let items = self.items();
        let item = items.iter().find(|item| item.label == label).unwrap();
        self.keyrings.clear(item).unwrap();
    }

    fn labels(&self) -> Vec<String> {
        self.items().into_iter().map(|item| item.label).collect()
    }
}

#[test]
fn an_account_without_keys_shows_none_and_gets_no_keyring() {
    let Some(rig) = Rig::new(0) else { return };
    assert_eq!(rig.labels(), Vec::<String>::new());
    let keys = std::fs::read_to_string("/proc/keys").unwrap();
    assert!(!keys.contains(&format!("_persistent.{}", rig.account.uid)));
}

#[test]
fn keys_of_the_user_keyring_are_listed_without_their_payload_and_go() {
    let Some(rig) = Rig::new(1) else { return };
    rig.shell("keyctl add user 'one; two' s3cret-payload @u && keyctl add user other x @u");
    let items = rig.items();
    assert_eq!(items.len(), 2);
    assert!(!format!("{items:?}").contains("s3cret"));
    assert_eq!(items[0].attributes.get("type").map(String::as_str), Some("user"));
    rig.clear("one; two");
    assert_eq!(rig.labels(), ["other"]);
    // Clearing again changes nothing and is no error.
    rig.keyrings.clear(items.iter().find(|item| item.label == "one; two").unwrap()).unwrap();
    assert_eq!(rig.labels(), ["other"]);
    rig.clear("other");
}

#[test]
fn tickets_in_the_persistent_keyring_go_with_their_keyring() {
    let Some(rig) = Rig::new(2) else { return };
    // As a Kerberos library does: _persistent.UID holds _krb, which holds a cache.
    let made = "keyctl session - sh -ec 'p=$(keyctl get_persistent @s); \
        k=$(keyctl newring _krb $p); keyctl add user ticket s3cret $k'";
    rig.shell(made);
    let mut labels = rig.labels();
    labels.sort();
    assert_eq!(labels, ["_krb", "ticket"]);
    rig.clear("_krb");
    assert_eq!(rig.labels(), Vec::<String>::new());
}

#[test]
fn leaves_a_key_that_took_anothers_place() {
    let Some(rig) = Rig::new(3) else { return };
    rig.shell("keyctl add user kept x @u");
    let item = KeychainItem { label: "gone".into(), ..rig.items().remove(0) };
    assert!(rig.keyrings.clear(&item).is_err());
    assert_eq!(rig.labels(), ["kept"]);
    rig.clear("kept");
}

#[test]
fn a_throwaway_home_has_no_kernel_keyrings_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let own = Account::of_uid(rustix::process::geteuid().as_raw()).unwrap();
    assert!(KernelKeyrings::of(&Account { home: dir.path().to_owned(), ..own.clone() }).is_none());
    assert!(KernelKeyrings::of(&own).is_some());
}
