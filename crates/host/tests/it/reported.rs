//! Environments of real processes.

use std::thread;

use exeunt_engine::reported::{Environments, is_secret_name, look};
use exeunt_host::reported::LinuxEnvironments;
use zbus::blocking::MessageIterator;
use zbus::message::Type;
use zbus::zvariant::Value;

use crate::homes::Home;
use crate::keychain::Rig;
use crate::programs::{Started, command_as};
use exeunt_testkit::contract::files::FilesRig;

#[test]
fn tells_where_secrets_are_and_never_what_they_are() {
    const CANARY: &str = "c4n4ry-c4n4ry-c4n4ry";
    let home = Home::own();
    let account = home.owner().clone();
    let mut carrier = command_as(&account, "sleep");
    carrier.arg("60").env("DEPLOY_TOKEN", CANARY).env("EMPTY_TOKEN", "").env("HARMLESS", CANARY);
    let _carrier = Started::spawn(&mut carrier);
    let line = format!("export GITHUB_TOKEN={CANARY}\nls\n");
    for place in [
        ".bash_history",
        ".local/share/fish/fish_history",
        ".local/share/powershell/PSReadLine/ConsoleHost_history.txt",
        ".psql_history",
        ".env",
        "project/.env.local",
        "project/deep/.env",
        ".config/environment.d/10-secrets.conf",
        "project/.env.example",
    ] {
        home.put(place, line.as_bytes());
    }
    home.symlink_out("project/link");
    let environments = LinuxEnvironments::of_account(&account);
    let found = look(home.files(), &environments);
    let rows: Vec<_> =
        found.iter().map(|row| (row.kind.as_str(), row.place.as_str(), row.count)).collect();
    assert_eq!(
        rows,
        [
            ("environment", "DEPLOY_TOKEN", 1),
            ("user-environment", ".config/environment.d/10-secrets.conf", 1),
            ("shell-history", ".bash_history", 1),
            ("shell-history", ".local/share/fish/fish_history", 1),
            ("shell-history", ".local/share/powershell/PSReadLine/ConsoleHost_history.txt", 1,),
            ("shell-history", ".psql_history", 1),
            ("env-file", ".env", 1),
            ("env-file", "project/.env.local", 1),
        ]
    );
    assert!(!format!("{found:?}").contains("c4n4ry"));
    assert!(!format!("{:?}", environments.count(&is_secret_name)).contains("c4n4ry"));
}

/// Asks a stand-in for the account's service manager, which answers with `environment`.
fn asked_of_manager(environment: Value<'static>) -> Vec<String> {
    let rig = Rig::bus_only();
    let connection = rig.connect();
    connection.request_name("org.freedesktop.systemd1").unwrap();
    // It ends with the bus.
    thread::spawn(move || {
        for message in MessageIterator::from(connection.clone()) {
            let Ok(message) = message else { break };
            if message.message_type() == Type::MethodCall {
                let header = message.header();
                let asked: (String, String) = message.body().deserialize().unwrap();
                assert_eq!(asked.1, "Environment");
                // Whoever asked may have hung up.
                drop(connection.reply(&header, &environment));
            }
        }
    });
    let bus = rig.keychains_bus().unwrap();
    let environments = LinuxEnvironments::of_account(&rig.account).on_bus(bus, &rig.account);
    environments.of_manager(&is_secret_name)
}

#[test]
fn tells_which_secrets_the_service_manager_would_hand_on() {
    let set = ["DEPLOY_TOKEN=c4n4ry", "EMPTY_TOKEN=", "PATH=/bin", "ODD", "=x", "A_SECRET=a=b"];
    let set = set.map(str::to_owned).to_vec();
    assert_eq!(asked_of_manager(set.into()), ["DEPLOY_TOKEN", "A_SECRET"]);
}

#[test]
fn a_service_manager_that_answers_with_something_else_tells_nothing() {
    assert!(asked_of_manager(Value::from(7_u32)).is_empty());
}

#[test]
fn without_a_service_manager_nothing_is_told() {
    let rig = Rig::bus_only();
    let bus = rig.keychains_bus().unwrap();
    let environments = LinuxEnvironments::of_account(&rig.account).on_bus(bus, &rig.account);
    assert!(environments.of_manager(&is_secret_name).is_empty());
}
