//! A real KeePassXC, which offers one database by the Secret Service API, without a screen.

use std::io::Write;
use std::process::Stdio;

use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};

use crate::keychain::{Rig, await_that};
use crate::programs::{Started, command_as, need};

/// A database whose root group is offered, with one token and one password.
const DATABASE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<KeePassFile><Meta><DatabaseName>vault</DatabaseName><CustomData><Item>
<Key>FDO_SECRETS_EXPOSED_GROUP</Key><Value>{00010203-0405-0607-0809-0a0b0c0d0e0f}</Value>
</Item></CustomData></Meta><Root><Group>
<UUID>AAECAwQFBgcICQoLDA0ODw==</UUID><Name>Root</Name>
<Entry><UUID>AQEBAQEBAQEBAQEBAQEBAQ==</UUID><String><Key>Title</Key><Value>gh</Value></String>
<String><Key>service</Key><Value>gh:github.com</Value></String></Entry>
<Entry><UUID>AgICAgICAgICAgICAgICAg==</UUID><String><Key>Title</Key><Value>bank</Value></String>
</Entry></Group></Root></KeePassFile>"#;

/// The service with that database open, asking before it deletes or not.
fn running(confirms: bool) -> Rig {
    need("keepassxc", "keepassxc");
    let mut rig = Rig::bus_only();
    let at = |name: &str| rig.dir.path().join(name);
    let settings = format!(
        "[FdoSecrets]\nEnabled=true\nConfirmAccessItem={confirms}\nConfirmDeleteItem={confirms}\n"
    );
    std::fs::write(at("settings.ini"), settings).unwrap();
    std::fs::write(at("vault.xml"), DATABASE).unwrap();
    let mut import = command_as(&rig.account, "keepassxc-cli");
    import.args(["import", "-p"]).args([at("vault.xml"), at("vault.kdbx")]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(b"pw\npw\n").unwrap();
    assert!(import.wait().unwrap().success());
    let mut keeper = command_as(&rig.account, "keepassxc");
    keeper.env("DBUS_SESSION_BUS_ADDRESS", &rig.bus).env("QT_QPA_PLATFORM", "offscreen");
    keeper.arg("--config").arg(at("settings.ini")).arg("--pw-stdin").arg(at("vault.kdbx"));
    let mut keeper = Started::spawn(keeper.stdin(Stdio::piped()).stdout(Stdio::null()));
    keeper.0.stdin.take().unwrap().write_all(b"pw\n").unwrap();
    rig.daemons.push(keeper);
    await_that("the database is offered", || {
        rig.keychains.items().is_ok_and(|items| items.len() == 2)
    });
    rig
}

fn token(rig: &Rig) -> KeychainItem {
    let items = rig.keychains.items().unwrap();
    let token = items.into_iter().find(|item| item.attributes.contains_key("service"));
    token.unwrap()
}

/// It answers a deletion with a prompt to be run, even where it is told not to ask: so nothing is
/// deleted, and that is said.
#[test]
fn a_token_in_keepassxc_is_listed_and_refused_since_it_takes_a_prompt() {
    for confirms in [false, true] {
        let rig = running(confirms);
        let item = token(&rig);
        assert_eq!((item.label.as_str(), item.locked), ("gh", confirms));
        assert!(matches!(rig.keychains.clear(&item), Err(KeychainError::Locked)));
        assert_eq!(rig.keychains.items().unwrap().len(), 2);
    }
}
