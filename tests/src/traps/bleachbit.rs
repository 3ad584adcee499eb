//! The same home under BleachBit, run as the person.
//!
//! It refuses to run it for anybody else: it is given this scene's home and no display.

use anyhow::{Context as _, Result};

use super::scene::Scene;

/// What it is told to clean: all that it has for the sessions of these two browsers.
const CLEANERS: [&str; 7] = [
    "chromium.cookies",
    "chromium.dom",
    "chromium.session",
    "chromium.sync",
    "firefox.cookies",
    "firefox.dom",
    "firefox.session_restore",
];

/// Seconds after which it is stopped.
const LIMIT: &str = "300";

/// Cleans the home of `scene` and returns the exit code.
///
/// # Errors
/// It could not be started.
pub fn clean(scene: &Scene<'_>) -> Result<i32> {
    let mut command = scene.person.command("timeout");
    command.args(["--signal=KILL", LIMIT, "bleachbit", "--clean"]).args(CLEANERS);
    let ended = command.output().context("starting bleachbit")?;
    Ok(ended.status.code().unwrap_or(-1))
}
