//! `--home`: `exeunt-warden once` as a child, whose output and exit code pass through.
//!
//! It refuses to look at a home itself: the warden's rules about whose home it may be hold here too.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fault::Fault;

const WARDEN: &str = "exeunt-warden";

/// Runs `exeunt-warden once` on `home` with `arguments`; returns its exit code.
///
/// # Errors
/// [`Fault`] when it cannot be started or was killed.
pub(crate) fn once(home: &Path, arguments: &[&str], json: bool) -> Result<u8, Fault> {
    let mut command = Command::new(warden());
    command.arg("once").arg("--home").arg(home).args(arguments);
    if json {
        command.arg("--json");
    }
    let status = command.status().map_err(|error| {
        Fault::unreachable("no_warden", format!("{WARDEN} cannot be started: {error}"))
            .hint(format!("install {WARDEN} beside exeunt, or put it on PATH"))
    })?;
    status.code().and_then(|code| u8::try_from(code).ok()).ok_or_else(|| {
        Fault::unreachable("warden_died", format!("{WARDEN} was ended by a signal"))
            .hint("survey the home again: what was begun may not be finished")
    })
}

/// The warden beside this very program, else the one on `PATH`.
fn warden() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join(WARDEN)))
        .filter(|path| path.is_file());
    beside.unwrap_or_else(|| WARDEN.into())
}
