//! Environments of real processes.

use exeunt_engine::reported::{Environments, is_secret_name, look};
use exeunt_host::reported::LinuxEnvironments;

use crate::homes::Home;
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
