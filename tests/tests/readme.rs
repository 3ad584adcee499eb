//! What the README promises to be there.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::collections::BTreeSet;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn xtask(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(ROOT).args(["run", "--quiet", "--locked", "--package", "exeunt-xtask", "--"]);
    let said = cargo.args(arguments).output().unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// The words after `cargo xtask` in the README.
fn tasks() -> BTreeSet<String> {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let after = readme.split("cargo xtask ").skip(1);
    after.map(|rest| rest.chars().take_while(char::is_ascii_lowercase).collect()).collect()
}

#[test]
fn every_task_that_the_readme_names_is_there() {
    let help = xtask(&["--help"]);
    let there: BTreeSet<_> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let named = tasks();
    assert!(named.contains("demo") && named.contains("test"), "{named:?}");
    for task in named {
        assert!(there.contains(task.as_str()), "cargo xtask {task} is not in:\n{help}");
    }
}

#[test]
fn the_readmes_first_two_commands_take_what_it_shows() {
    let demo = xtask(&["demo", "--help"]);
    for flag in ["--headless", "--json", "--yes"] {
        assert!(demo.contains(flag), "{flag} is not in:\n{demo}");
    }
    assert!(xtask(&["test", "--help"]).contains("--filter"));
}
