//! A real keyring on a desktop's own bus, holding tokens as real programs would store them.
//!
//! It refuses to run without that desktop: a keyring is started on no other bus.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::desktop::Desktop;
use crate::process::{self, Started};
use crate::waiting;

const SERVICE: &str = "org.freedesktop.secrets";

/// One item: its label and its attributes, in pairs.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// What a person sees.
    pub label: &'static str,
    /// Name, value, name, value, …
    pub attributes: &'static [&'static str],
}

/// Tokens in the form in which their programs store them.
pub const TOKENS: [Item; 3] = [
    Item {
        label: "Password for 'alice-admin' on 'gh:github.com'",
        attributes: &["service", "gh:github.com", "username", "alice-admin"],
    },
    Item {
        label: "Password for 'alice' on 'gh:github.com'",
        attributes: &["service", "gh:github.com", "username", "alice"],
    },
    Item {
        label: "Password for 'alice' on 'gh:github.example'",
        attributes: &["service", "gh:github.example", "username", "alice"],
    },
];

/// Something that no sign-out may take: a saved network password.
pub const KEPT: Item = Item {
    label: "Network secret for home",
    attributes: &["setting-name", "802-11-wireless-security", "setting-key", "psk"],
};

/// A running keyring, unlocked.
#[derive(Debug)]
pub struct Keyring {
    _daemon: Started,
}

impl Keyring {
    /// Starts one on `desktop`'s bus and unlocks it with `password`.
    ///
    /// # Errors
    /// The daemon ended early, or did not take its name.
    pub fn start(desktop: &Desktop, password: &str) -> Result<Self> {
        let (read, mut write) = std::io::pipe()?;
        let mut daemon = desktop.command("gnome-keyring-daemon");
        daemon.args(["--foreground", "--unlock", "--components=secrets"]).stdin(Stdio::from(read));
        let daemon = desktop.start_program("gnome-keyring-daemon", &mut daemon)?;
        write.write_all(password.as_bytes())?;
        drop(write);
        waiting::until("the keyring's start", Duration::from_secs(20), || {
            Ok(desktop.bus_has(SERVICE)?.then_some(()))
        })
        .with_context(|| daemon.log())?;
        Ok(Self { _daemon: daemon })
    }

    /// Stores `secret` as `item`.
    ///
    /// # Errors
    /// The keyring refused.
    pub fn store(&self, desktop: &Desktop, item: Item, secret: &str) -> Result<()> {
        let mut tool = desktop.command("secret-tool");
        tool.args(["store", "--label", item.label]).args(item.attributes);
        let mut running = tool.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = running.stdin.take().context("standard input was piped")?;
        input.write_all(secret.as_bytes())?;
        drop(input);
        let ended = running.wait_with_output()?;
        if !ended.status.success() {
            bail!("secret-tool store: {}", String::from_utf8_lossy(&ended.stderr));
        }
        Ok(())
    }

    /// How many of `items` are there, each found by its own attributes.
    ///
    /// # Errors
    /// The keyring did not answer.
    pub fn count(&self, desktop: &Desktop, items: &[Item]) -> Result<usize> {
        let mut there = 0;
        for item in items {
            let mut tool = desktop.command("secret-tool");
            let found = tool.arg("search").args(item.attributes).output()?;
            // It says nothing and succeeds when there is none; labels go to either output.
            let said = [found.stdout, found.stderr].concat();
            there += usize::from(String::from_utf8_lossy(&said).contains(item.label));
        }
        Ok(there)
    }

    /// Whether the bus still has a keyring.
    ///
    /// # Errors
    /// The bus could not be asked.
    pub fn answers(&self, desktop: &Desktop) -> Result<bool> {
        desktop.bus_has(SERVICE)
    }

    /// Everything that `secret-tool` can see of one attribute, for a failing test's message.
    ///
    /// # Errors
    /// The keyring did not answer.
    pub fn search(&self, desktop: &Desktop, attributes: &[&str]) -> Result<String> {
        process::output(desktop.command("secret-tool").args(["search", "--all"]).args(attributes))
    }
}
