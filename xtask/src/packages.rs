//! The system's own packages that a task needs.
//!
//! It refuses to install before it has named them and been answered.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::Step;

/// What compiling needs.
const BUILD: [&str; 3] = ["build-essential", "pkg-config", "libwebkit2gtk-4.1-dev"];
/// What the window pages' own tests need.
const PAGES: [&str; 2] = ["chromium", "fonts-dejavu-core"];
/// What real browsers, keyrings, desktops and locks need.
const RIGS: [&str; 30] = [
    "btrfs-progs",
    "chromium",
    "dbus-bin",
    "dbus-daemon",
    "e2fsprogs",
    "firefox-esr",
    "fonts-dejavu-core",
    "gnome-keyring",
    "gpg",
    "gpg-agent",
    "i3lock",
    "keepassxc",
    "keyutils",
    "krb5-user",
    "libkf5wallet-bin",
    "libsecret-tools",
    "nginx",
    "openbox",
    "openssh-client",
    "openssl",
    "python3",
    "python3-venv",
    "sssd-kcm",
    "strace",
    "systemd-container",
    "webkit2gtk-driver",
    "x11-utils",
    "xdotool",
    "xterm",
    "xvfb",
];
/// A locker beside the first, and a desktop in a window.
const DESKTOP: [&str; 2] = ["xsecurelock", "xserver-xephyr"];
/// What is measured beside ours: a cleaner, and a Redis that starts no service.
const PEERS: [&str; 2] = ["bleachbit", "redis-tools"];

/// What a task needs installed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// To compile, no more.
    Build,
    /// To test and to show.
    Everything,
    /// To measure, beside others as well.
    Comparison,
}

impl Need {
    fn packages(self) -> Vec<&'static str> {
        let mut all = BUILD.to_vec();
        match self {
            Self::Build => {}
            Self::Everything | Self::Comparison => {
                all.extend(PAGES);
                all.extend(RIGS);
                all.extend(DESKTOP);
            }
        }
        if matches!(self, Self::Comparison) {
            all.extend(PEERS);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Who answers whether to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// It was said beforehand.
    Given,
    /// A person at this terminal.
    Ask,
}

impl Consent {
    /// `--yes`, or `CI=true` in the environment.
    pub(crate) fn given(yes: bool) -> Self {
        if yes || std::env::var("CI").is_ok_and(|value| value == "true") {
            Self::Given
        } else {
            Self::Ask
        }
    }
}

/// Makes sure that what `need` names is installed.
///
/// # Errors
/// Something is missing and was not, or could not be, installed.
pub(crate) fn ensure(need: Need, consent: Consent) -> Result<()> {
    node()?;
    let wanted = need.packages();
    if !Path::new("/usr/bin/dpkg-query").exists() {
        eprintln!(
            "This is no Debian or Ubuntu. Make sure that you have what these packages bring:"
        );
        eprintln!("  {}", wanted.join(" "));
        return Ok(());
    }
    let missing = missing(&wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing Debian packages ({} of {}):", missing.len(), wanted.len());
    eprintln!("  {}", missing.join(" "));
    if consent == Consent::Ask && !agreed()? {
        bail!("install them yourself: apt-get install {}", missing.join(" "));
    }
    install(&missing)
}

fn node() -> Result<()> {
    let said = Command::new("node").arg("--version").output();
    let said = said.context("node is missing: install Node.js 20.19 or later, with npm")?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        bail!("node says that its version is {version:?}");
    };
    if (major, minor) < (20, 19) {
        bail!("node {version} is too old: install Node.js 20.19 or later");
    }
    Ok(())
}

fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    // It fails when it does not know one of them, and still lists the others.
    let known = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"])
        .args(wanted)
        .output()
        .context("running dpkg-query")?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let installed = |name: &str| known.lines().any(|line| line == format!("{name} installed"));
    Ok(wanted.iter().copied().filter(|name| !installed(name)).collect())
}

fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        eprintln!("Nobody is here to ask; --yes or CI=true would install them.");
        return Ok(false);
    }
    eprint!("Install them with apt-get? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn install(missing: &[&str]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let apt = || {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--yes"]);
        command
    };
    Step::new("fetching the list of packages").run(apt().arg("update"))?;
    let mut install = apt();
    install.args(["--no-install-recommends", "install"]).args(missing);
    Step::new("installing packages").run(&mut install)
}
