//! A program of the bench's own that is asked and answers by lines of JSON.
//!
//! It refuses a line that is not the answer that was waited for.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Talk {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    /// Starts this very program under another of its names.
    pub(super) fn start(name: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let asks = child.stdin.take().context("standard input was piped")?;
        let answers = child.stdout.take().context("standard output was piped")?;
        Ok(Self { child, asks, answers: BufReader::new(answers).lines() })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn ask(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what)?;
        writeln!(self.asks, "{line}")?;
        Ok(self.asks.flush()?)
    }

    pub(super) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.answers.next().context("it ended")??;
        serde_json::from_str(&line).with_context(|| line)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What the other side was asked, line by line.
pub(super) fn asked<T: DeserializeOwned>() -> impl Iterator<Item = Result<T>> {
    std::io::stdin().lines().map(|line| Ok(serde_json::from_str(&line?)?))
}

/// Answers with one line.
pub(super) fn say(what: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(what)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
