//! Somebody who types into a terminal that writes down what arrives: the proof of a lock.
//!
//! It refuses to conclude anything from silence: what was typed under a lock counts as kept out only
//! once something typed later has arrived.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::desktop::Desktop;
use crate::process::{self, Started};
use crate::waiting;

const LIMIT: Duration = Duration::from_secs(15);
const TITLE: &str = "typist";
/// Its first line says that it listens.
const LISTEN: &str = r#"echo listening > "$1"
while IFS= read -r line; do printf '%s\n' "$line" >> "$1"; done"#;

/// A terminal that writes down each line typed into it.
#[derive(Debug)]
pub struct Typist {
    record: PathBuf,
    _terminal: Started,
}

impl Typist {
    /// Opens the terminal and waits until it has the keyboard.
    ///
    /// # Errors
    /// It did not open.
    pub fn open(desktop: &Desktop) -> Result<Self> {
        let record = desktop.person.runtime.join("typed");
        let mut terminal = desktop.command("xterm");
        terminal.args(["-title", TITLE, "-e", "/bin/sh", "-c", LISTEN, "listen"]).arg(&record);
        let terminal = desktop.start_program("xterm", &mut terminal)?;
        let typist = Self { record, _terminal: terminal };
        waiting::until("the terminal's start", LIMIT, || {
            Ok((!typist.lines().is_empty()).then_some(()))
        })?;
        let mut focus = desktop.command("xdotool");
        focus.args(["search", "--sync", "--onlyvisible", "--name", TITLE]);
        process::output(focus.args(["windowactivate", "--sync"]))?;
        Ok(typist)
    }

    /// Types `word` and Return, whoever has the keyboard.
    ///
    /// # Errors
    /// The keys could not be sent.
    pub fn type_line(&self, desktop: &Desktop, word: &str) -> Result<()> {
        let mut keys = desktop.command("xdotool");
        process::output(keys.args(["type", "--delay", "8", word]))?;
        process::output(desktop.command("xdotool").args(["key", "Return"])).map(drop)
    }

    /// Types `word` until it arrives: a keyboard that was just freed may lose the first keys.
    ///
    /// # Errors
    /// It never arrived.
    pub fn type_until_seen(&self, desktop: &Desktop, word: &str) -> Result<()> {
        waiting::until(&format!("the arrival of {word:?}"), LIMIT, || {
            self.type_line(desktop, word)?;
            let arrived = waiting::until("a line", Duration::from_secs(1), || {
                Ok(self.lines().iter().any(|line| line == word).then_some(()))
            });
            Ok(arrived.ok())
        })
        .with_context(|| format!("so far: {:?}", self.lines()))
    }

    /// The lines that arrived, without the first, which is the terminal's own.
    #[must_use]
    pub fn typed(&self) -> Vec<String> {
        self.lines().into_iter().skip(1).collect()
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.record).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
