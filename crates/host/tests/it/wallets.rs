//! A real wallet daemon on a bus of its own, without a screen.

use std::path::PathBuf;

use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};
use exeunt_host::keychain::{KWallet, KeyringFiles};
use exeunt_testkit::contract::keychains::{KeychainsRig, all};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::blocking::Connection;
use zbus::zvariant::{DynamicType, Type};

use crate::keychain::{LIMIT, Rig, await_that};
use crate::programs::{Started, command_as, need};

const DAEMON: &str = "org.kde.kwalletd5";
const OBJECT: &str = "/modules/kwalletd5";
const WALLET: &str = "kdewallet";
/// The program that stores.
const PROGRAM: &str = "a program";

struct Wallets {
    rig: Rig,
    keychains: KWallet,
    program: Connection,
}

impl Wallets {
    /// A daemon with one open wallet.
    fn open() -> Self {
        let rig = Rig::bus_only();
        let files = KeyringFiles::open(&rig.account).unwrap();
        let keychains = KWallet::new(rig.keychains_bus(), rig.account.clone(), LIMIT, files);
        let program = rig.connect();
        let mut wallets = Self { rig, keychains, program };
        wallets.start();
        // As its PAM module does at login: the hash of a password, of this length.
        let hash: Vec<u8> = vec![7; 56];
        let _no_answer = wallets.send("pamOpen", &(WALLET, hash, 0));
        await_that("the wallet is open", || wallets.is_open());
        wallets
    }

    fn start(&mut self) {
        need("kwalletd5", "libkf5wallet-bin");
        let mut daemon = command_as(&self.rig.account, "kwalletd5");
        daemon.env("DBUS_SESSION_BUS_ADDRESS", &self.rig.bus).env("QT_QPA_PLATFORM", "offscreen");
        self.rig.daemons.push(Started::spawn(&mut daemon));
        await_that("the daemon answers", || self.ask::<_, Vec<String>>("wallets", &()).is_ok());
    }

    /// Ends the daemon with nothing said.
    fn kill(&mut self) {
        drop(self.rig.daemons.pop());
        await_that("the daemon is gone", || self.ask::<_, Vec<String>>("wallets", &()).is_err());
    }

    fn send<B: Serialize + DynamicType>(&self, method: &str, body: &B) -> zbus::Result<()> {
        let call = zbus::message::Message::method_call(OBJECT, method)?
            .with_flags(zbus::message::Flags::NoReplyExpected)?
            .destination(DAEMON)?
            .interface("org.kde.KWallet")?;
        self.program.send(&call.build(body)?)
    }

    fn ask<B, T>(&self, method: &str, body: &B) -> zbus::Result<T>
    where
        B: Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        let interface = Some("org.kde.KWallet");
        let answer = self.program.call_method(Some(DAEMON), OBJECT, interface, method, body)?;
        answer.body().deserialize()
    }

    fn is_open(&self) -> bool {
        self.ask("isOpen", &(WALLET,)).unwrap()
    }

    fn keep(&self, folder: &str, entry: &str) {
        let handle: i32 = self.ask("open", &(WALLET, 0_i64, PROGRAM)).unwrap();
        let _made: bool = self.ask("createFolder", &(handle, folder, PROGRAM)).unwrap();
        let secret = (handle, folder, entry, "s3cret", PROGRAM);
        let written: i32 = self.ask("writePassword", &secret).unwrap();
        assert_eq!(written, 0);
    }

    fn close(&self) {
        self.ask::<_, ()>("closeAllWallets", &()).unwrap();
        assert!(!self.is_open());
    }

    fn items(&self) -> Vec<KeychainItem> {
        self.keychains.items().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.rig.dir.path().join(".local/share/kwalletd/kdewallet.kwl")
    }
}

impl KeychainsRig for Wallets {
    fn keychains(&self) -> &dyn Keychains {
        &self.keychains
    }

    fn store(&self, label: &str, value: &str) {
        self.keep(value, label);
    }

    fn attribute(&self) -> &'static str {
        "folder"
    }

    fn lock(&self) {
        self.close();
    }
}

#[test]
fn kwallet_keeps_the_contract() {
    all(Wallets::open);
}

#[test]
fn a_closed_wallet_is_not_opened_and_withholds_what_its_file_holds() {
    let wallets = Wallets::open();
    wallets.keep("Slack Keys", "Slack Safe Storage");
    wallets.close();
    let items = wallets.items();
    let [item] = items.as_slice() else { panic!("{items:?}") };
    assert!(item.is_veiled() && item.collection == WALLET, "{item:?}");
    assert!(matches!(wallets.keychains.clear(item), Err(KeychainError::Locked)));
    assert!(!wallets.is_open());
}

/// What was cleared stays cleared when the daemon dies at once: its file was written.
#[test]
fn a_cleared_entry_is_gone_from_the_wallets_file_as_well() {
    let mut wallets = Wallets::open();
    wallets.keep("ksshaskpass", "git@example.org");
    wallets.keep("kept", "kept");
    let items = wallets.items();
    let prompted = items.iter().find(|item| item.label == "git@example.org").unwrap();
    wallets.keychains.clear(prompted).unwrap();
    wallets.kill();
    let items = wallets.items();
    assert_eq!(items.len(), 1, "{items:?}");
    assert!(matches!(wallets.keychains.clear(&items[0]), Err(KeychainError::Unserved)));
}

#[test]
fn an_open_wallet_that_asks_a_person_about_every_program_is_left_alone() {
    let wallets = Wallets::open();
    wallets.keep("ksshaskpass", "git@example.org");
    wallets.close();
    let settings = wallets.rig.dir.path().join(".config");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("kwalletrc"), "[Wallet]\nPrompt on Open=true\n").unwrap();
    let _no_answer = wallets.send("pamOpen", &(WALLET, vec![7_u8; 56], 0));
    await_that("the wallet is open", || wallets.is_open());
    let items = wallets.items();
    assert!(items.len() == 1 && items[0].is_veiled(), "{items:?}");
    assert!(matches!(wallets.keychains.clear(&items[0]), Err(KeychainError::Locked)));
}

/// At `purge`: locked, its file gone, nothing comes back, not with a new daemon either.
#[test]
fn a_wallet_that_was_locked_does_not_come_back_after_its_file() {
    let mut wallets = Wallets::open();
    wallets.keep("kept", "kept");
    wallets.keychains.lock().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the wallet that this very test made")]
    std::fs::remove_file(wallets.file()).unwrap();
    assert!(wallets.items().is_empty());
    wallets.kill();
    wallets.start();
    assert!(wallets.items().is_empty());
    assert!(!wallets.file().exists());
}
