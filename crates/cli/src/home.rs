//! `--home`: `exeunt-warden once` as a child, whose output and exit code pass through.
//!
//! It refuses to look at a home itself: the warden's rules about whose home it may be hold here too.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::fault::Fault;
use crate::out::{Out, line};

const WARDEN: &str = "exeunt-warden";

/// Runs `exeunt-warden once` on `home` with `arguments`; returns its exit code.
///
/// # Errors
/// [`Fault`] when it cannot be started or was killed; with `--json` also when it printed nothing, so
/// that a script reads one line of JSON in every case.
pub(crate) fn once(out: Out, home: &Path, arguments: &[&str]) -> Result<u8, Fault> {
    let mut command = Command::new(warden());
    command.arg("once").arg("--home").arg(home).args(arguments);
    if !out.json {
        return exit_code(command.status().map_err(|error| not_started(&error))?);
    }
    let ran = command.arg("--json").output().map_err(|error| not_started(&error))?;
    let code = exit_code(ran.status)?;
    let printed = String::from_utf8_lossy(&ran.stdout);
    if code != 0 && printed.trim().is_empty() {
        return Err(said(&String::from_utf8_lossy(&ran.stderr)).exiting(code));
    }
    line(printed.trim_end())?;
    Ok(code)
}

fn not_started(error: &std::io::Error) -> Fault {
    Fault::unreachable("no_warden", format!("{WARDEN} cannot be started: {error}"))
        .hint(format!("install {WARDEN} beside exeunt, or put it on PATH"))
}

fn exit_code(status: ExitStatus) -> Result<u8, Fault> {
    status.code().and_then(|code| u8::try_from(code).ok()).ok_or_else(|| {
        Fault::unreachable("warden_died", format!("{WARDEN} was ended by a signal"))
            .hint("survey the home again: what was begun may not be finished")
    })
}

/// What the warden said on standard error, as a fault.
fn said(words: &str) -> Fault {
    let first = words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let first = first.trim_start_matches(&format!("{WARDEN}: ")).trim_start_matches("error: ");
    Fault::new("once_failed", if first.is_empty() { "it did not say why" } else { first })
}

/// The warden beside this very program, else the one on `PATH`.
fn warden() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join(WARDEN)))
        .filter(|path| path.is_file());
    beside.unwrap_or_else(|| WARDEN.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_warden_s_own_words_over() {
        let fault = said("\nexeunt-warden: /home/alice is your own home\n");
        assert_eq!(fault.message(), "/home/alice is your own home");
        assert_eq!(said("").message(), "it did not say why");
    }
}
