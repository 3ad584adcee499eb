//! The tasks, each a sequence of steps.
//!
//! It refuses to select crates one by one: every step compiles the same workspace with the same
//! features, so that nothing is compiled twice.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::packages::{self, Consent, Need};
use crate::step::Step;

/// The tray carries its pages instead of asking a development server for them.
const FEATURES: [&str; 2] = ["--features", "exeunt-tray/custom-protocol"];

/// The story.
pub(crate) fn demo(consent: Consent, flags: &[&str]) -> Result<ExitCode> {
    packages::ensure(Need::Everything, consent)?;
    pages()?;
    Step::new("building").run(cargo("build").args(["--workspace", "--bins"]).args(FEATURES))?;
    execute("debug", "exeunt-demo", flags)
}

/// Every test.
pub(crate) fn test(consent: Consent, filter: Option<&str>) -> Result<ExitCode> {
    packages::ensure(Need::Everything, consent)?;
    pages()?;
    install("the OpenID provider of the tests", &root().join("tests/op"))?;
    // The end-to-end tests start these.
    Step::new("building").run(cargo("build").args(["--workspace", "--bins"]).args(FEATURES))?;
    let mut counts = Counts::default();
    let mut crates = cargo("test");
    crates.args(["--workspace", "--no-fail-fast"]).args(FEATURES);
    if let Some(filter) = filter {
        crates.args(["--", filter]);
    }
    let crates = Step::new("testing the crates, real browsers included")
        .watch(&mut crates, |line| counts.add(Counts::of_cargo(line)))?;
    let mut pages_pass = true;
    if filter.is_none() {
        Step::new("checking the window pages' types").run(npm().args(["run", "check"]))?;
        let mut tests = npm();
        tests.arg("test").env("NO_COLOR", "1").env("CI", "true");
        pages_pass = Step::new("testing the window pages")
            .watch(&mut tests, |line| counts.add(Counts::of_vitest(line)))?
            .success();
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    if counts.passed + counts.failed == 0 {
        bail!("no test was executed");
    }
    let passed = crates.success() && pages_pass && counts.failed == 0;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lockers of whole desktops, which no other run includes.
pub(crate) fn desktops(consent: Consent) -> Result<ExitCode> {
    packages::ensure(Need::Everything, consent)?;
    pages()?;
    Step::new("building").run(cargo("build").args(["--workspace", "--bins"]).args(FEATURES))?;
    let mut tests = cargo("test");
    tests.args(["--workspace", "--test", "desktops"]).args(FEATURES);
    // One at a time: each is a machine of its own.
    tests.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
    Step::new("locking whole desktops").run(&mut tests)?;
    Ok(ExitCode::SUCCESS)
}

/// The hub, killed under load again and again.
pub(crate) fn kills(consent: Consent, rounds: u32) -> Result<ExitCode> {
    packages::ensure(Need::Everything, consent)?;
    pages()?;
    let mut tests = cargo("test");
    tests.args(["--workspace", "--test", "it"]).args(FEATURES);
    tests.args(["--", "--nocapture", "a_hub_that_is_killed_under_load"]);
    tests.env("EXEUNT_KILL_ROUNDS", rounds.to_string());
    Step::new(format!("killing a hub {rounds} times")).run(&mut tests)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that can be judged without executing it.
pub(crate) fn lint(consent: Consent, deep: bool) -> Result<ExitCode> {
    packages::ensure(Need::Build, consent)?;
    pages()?;
    Step::new("formatting").run(cargo_alone("fmt").args(["--all", "--check"]))?;
    let mut clippy = cargo("clippy");
    clippy.args(["--workspace", "--all-targets"]).args(FEATURES).args(["--", "-D", "warnings"]);
    Step::new("lints").run(&mut clippy)?;
    Step::new("types of the window pages").run(npm().args(["run", "check"]))?;
    let layering = ["--workspace", "--test", "layering"];
    Step::new("layering").run(cargo("test").args(FEATURES).args(layering))?;
    let generated = ["--workspace", "--bin", "exeunt-tray", "bindings"];
    Step::new("generated files").run(cargo("test").args(FEATURES).args(generated))?;
    if deep {
        licences()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The window pages.
pub(crate) fn ui() -> Result<ExitCode> {
    pages()?;
    Ok(ExitCode::SUCCESS)
}

/// A measurement.
pub(crate) fn bench(consent: Consent, name: &str, flags: &[&str]) -> Result<ExitCode> {
    packages::ensure(Need::Comparison, consent)?;
    pages()?;
    let mut build = cargo("build");
    build.args(["--release", "--workspace", "--bins"]).args(FEATURES);
    Step::new("building for release").run(&mut build)?;
    let arguments: Vec<_> = [name].iter().chain(flags).copied().collect();
    execute("release", "exeunt-bench", &arguments)
}

fn pages() -> Result<()> {
    install("what the window pages need", &root().join("ui"))?;
    Step::new("building the window pages").run(npm().args(["run", "build"]))
}

/// Installs by the lockfile in `dir`, unless that was done since it changed.
fn install(what: &str, dir: &Path) -> Result<()> {
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let installed = changed(&dir.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < changed(&dir.join("package-lock.json")) {
        Step::new(format!("installing {what}")).run(npm().arg("ci").current_dir(dir))?;
    }
    Ok(())
}

fn licences() -> Result<()> {
    let there = cargo_alone("deny").arg("--version").output().is_ok_and(|it| it.status.success());
    if !there {
        bail!("cargo-deny is missing; `cargo install cargo-deny --locked` compiles it");
    }
    Step::new("licences and advisories").run(cargo_alone("deny").arg("check"))
}

/// Executes a program of the workspace; its standard output and its exit code are the task's.
fn execute(profile: &str, program: &str, arguments: &[&str]) -> Result<ExitCode> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let path = metadata.target_directory.join(profile).join(program);
    let status =
        Command::new(&path).args(arguments).status().with_context(|| format!("starting {path}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn cargo(task: &str) -> Command {
    let mut command = cargo_alone(task);
    command.arg("--locked");
    command
}

fn cargo_alone(task: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(task).current_dir(root());
    command
}

fn npm() -> Command {
    let mut command = Command::new("npm");
    command.current_dir(root().join("ui"));
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    fn add(&mut self, other: Option<Self>) {
        if let Some(other) = other {
            self.passed += other.passed;
            self.failed += other.failed;
        }
    }

    /// `test result: ok. 4 passed; 0 failed; …`
    fn of_cargo(line: &str) -> Option<Self> {
        Some(Self::before_words(line.strip_prefix("test result: ")?))
    }

    /// `      Tests  1 failed | 11 passed (12)`
    fn of_vitest(line: &str) -> Option<Self> {
        Some(Self::before_words(line.trim_start().strip_prefix("Tests ")?))
    }

    fn before_words(line: &str) -> Self {
        let words: Vec<_> = line.split([' ', ';', '|']).filter(|word| !word.is_empty()).collect();
        let before = |name: &str| {
            let counted = words.windows(2).find(|pair| pair[1] == name);
            counted.and_then(|pair| pair[0].parse().ok()).unwrap_or_default()
        };
        Self { passed: before("passed"), failed: before("failed") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_cargo_says() {
        let line = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured";
        assert_eq!(Counts::of_cargo(line), Some(Counts { passed: 4, failed: 2 }));
        assert_eq!(Counts::of_cargo("test result_of_x ... ok"), None);
    }

    #[test]
    fn counts_what_vitest_says() {
        let line = "      Tests  1 failed | 11 passed (12)";
        assert_eq!(Counts::of_vitest(line), Some(Counts { passed: 11, failed: 1 }));
        assert_eq!(Counts::of_vitest(" Test Files  2 passed (2)"), None);
    }
}
