//! `exeunt doctor`: everything a close depends on, and what to do about what is missing.
//!
//! It refuses to change anything, and to unlock or prompt for a keyring.

use std::path::PathBuf;

use exeunt_domain::receipt::Mode;
use exeunt_ipc::message::{HubLink, WardenAnswer, WardenRequest, WardenStatus};
use serde::Serialize;
use serde_json::json;

use crate::device::{ask, hub_link, not_that};
use crate::fault::{EXIT_PARTIAL, Fault};
use crate::out::Out;

/// The lockers that a warden can start.
const LOCKERS: [&str; 2] = ["xsecurelock", "i3lock"];

/// How one thing stands.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    next: Option<String>,
}

impl Check {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into(), next: None }
    }

    fn bad(name: &'static str, detail: impl Into<String>, next: &str) -> Self {
        Self { name, ok: false, detail: detail.into(), next: Some(next.to_owned()) }
    }
}

/// Looks; exits 3 when something is missing.
pub(crate) fn run(out: Out) -> Result<u8, Fault> {
    let status = match ask(WardenRequest::Status) {
        Ok(WardenAnswer::Status(status)) => Ok(status),
        Ok(other) => Err(not_that(other)),
        Err(fault) => Err(fault),
    };
    let link = hub_link();
    let mut checks = warden(&status);
    checks.extend(hub(&link));
    checks.push(locker());
    checks.push(keyring());
    let ok = checks.iter().all(|check| check.ok);
    out.answer(json!({ "ok": ok, "checks": checks }), || words(&checks))?;
    Ok(if ok { 0 } else { EXIT_PARTIAL })
}

fn words(checks: &[Check]) -> String {
    let lines = checks.iter().map(|check| {
        let mark = if check.ok { "ok     " } else { "MISSING" };
        let next = check.next.as_deref().map(|n| format!("\n                     → {n}"));
        format!("{mark}  {:<10} {}{}", check.name, check.detail, next.unwrap_or_default())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn warden(status: &Result<WardenStatus, Fault>) -> Vec<Check> {
    let status = match status {
        Ok(status) => status,
        Err(fault) => {
            let next = "start `exeunt-warden serve`; installed, `systemctl status exeunt-warden`";
            return vec![Check::bad("warden", fault.message(), next)];
        }
    };
    let mode = match status.mode {
        Mode::Installed => "answers, as root for the whole machine",
        Mode::User => "answers, in user mode: no isolation from this account is claimed",
    };
    let enrolled = match (&status.hub, &status.device) {
        (Some(hub), Some(device)) => Check::good("enrolment", format!("{device} at {hub}")),
        (None | Some(_), None) | (None, Some(_)) => Check::bad(
            "enrolment",
            "this device is not enrolled: a close ends nothing elsewhere",
            "an operator runs `exeunt admin device token`; root here runs `exeunt enroll`",
        ),
    };
    let session = if status.sessions.is_empty() {
        let next =
            "say whose it is with `exeunt session begin --subject S`, or by the warden's policy";
        Check::bad("session", "nobody is signed in at this console", next)
    } else {
        let who: Vec<String> = status.sessions.iter().map(|s| s.subject.to_string()).collect();
        Check::good("session", who.join(", "))
    };
    vec![Check::good("warden", mode), enrolled, session]
}

fn hub(link: &Result<HubLink, Fault>) -> Vec<Check> {
    let link = match link {
        Ok(link) => link,
        Err(fault) => {
            let next = "start `exeunt-agent serve`; installed, `systemctl status exeunt-agent`";
            return vec![Check::bad("agent", fault.message(), next)];
        }
    };
    let agent = Check::good("agent", "answers");
    let hub = match (&link.hub, link.reachable) {
        (None, _) => Check::bad("hub", "none: this device is not enrolled", "see enrolment"),
        (Some(hub), true) => Check::good("hub", format!("{hub} answers")),
        (Some(hub), false) => Check::bad(
            "hub",
            format!("{hub} does not answer; {} messages wait", link.waiting),
            "is the hub running and this machine connected? What waits goes out by itself",
        ),
    };
    vec![agent, hub]
}

fn locker() -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = LOCKERS.iter().find(|name| dirs.iter().any(|dir| dir.join(name).is_file()));
    match found {
        Some(name) => Check::good("locker", format!("{name} is installed")),
        None => Check::bad(
            "locker",
            "neither xsecurelock nor i3lock is installed: no screen can be locked",
            "install one, for example `apt install xsecurelock`",
        ),
    }
}

/// Looks for a Secret Service without asking it for anything.
fn keyring() -> Check {
    let has_bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|dir| PathBuf::from(dir).join("bus").exists());
    if has_bus {
        Check::good("keyring", "a session bus is there; its keyring is looked at on every close")
    } else {
        Check::bad(
            "keyring",
            "this process has no session bus: a keyring could not be seen from here",
            "run doctor inside the desktop session",
        )
    }
}
