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
    let mut once = Command::new("timeout");
    once.args(["--signal=KILL", LIMIT]).arg(warden);
    once.args(["once", "--json", "--home"]).arg(&scene.person.home).args(&scene.arguments);
    let ended = once.output().context("starting the warden")?;
    let heard = String::from_utf8_lossy(&ended.stderr).into_owned();
    let Some(0 | 3 | 4) = ended.status.code() else {
        bail!("the warden ended with {}:\n{heard}", ended.status);
    };
    serde_json::from_slice(&ended.stdout).with_context(|| heard)
}
