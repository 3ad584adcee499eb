//! One close of a scene by the real `exeunt-warden once`.
//!
//! It refuses to wait for ever: a close that hangs is a failure of the trap.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::judge::Row;
use super::scene::Scene;

/// Seconds after which a close counts as hanging.
const LIMIT: &str = "120";

/// What the warden printed.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    /// The receipt's outcome.
    pub(super) outcome: String,
    /// Its rows.
    pub(super) stores: Vec<Row>,
    remarks: Vec<String>,
    not_covered: Vec<NotCovered>,
}

#[derive(Debug, Deserialize)]
struct NotCovered {
    what: String,
}

impl Said {
    /// Whether some sentence beside the rows has these words.
    pub(super) fn mentions(&self, words: &str) -> bool {
        let places = self.not_covered.iter().map(|place| &place.what);
        self.remarks.iter().chain(places).any(|said| said.contains(words))
    }
}

/// The warden that was built with this very program.
///
/// # Errors
/// It was not built.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("a program without a directory")?;
    let built = if dir.ends_with("deps") { dir.parent() } else { Some(dir) };
    let warden = built.context("no directory above deps")?.join("exeunt-warden");
    ensure!(warden.is_file(), "{} is missing: `cargo xtask` builds it", warden.display());
    Ok(warden)
}

/// Closes the home of `scene` at tier sign-out.
pub(super) fn close(warden: &Path, scene: &Scene<'_>) -> Result<Said> {
    let mut once = if scene.user_mode {
        // The person may not pass through where it was built; and the home must not be their own.
        let copy = scene.at("exeunt-warden");
        std::fs::copy(warden, &copy)?;
        scene.own(&copy, 0o755)?;
        let mut once = scene.person.command("timeout");
        once.env("HOME", "/").args(["--signal=KILL", LIMIT]).arg(copy);
        once
    } else {
        let mut once = Command::new("timeout");
        once.args(["--signal=KILL", LIMIT]).arg(warden);
        once
    };
    once.args(["once", "--json", "--home"]).arg(&scene.person.home).args(&scene.arguments);
    let ended = once.output().context("starting the warden")?;
    let heard = String::from_utf8_lossy(&ended.stderr).into_owned();
    let Some(0 | 3 | 4) = ended.status.code() else {
        bail!("the warden ended with {}:\n{heard}", ended.status);
    };
    serde_json::from_slice(&ended.stdout).with_context(|| heard)
}
