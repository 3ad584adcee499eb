//! One program that a task executes, announced on standard error.
//!
//! It refuses to let a program's chatter onto standard output, which is for results.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// A named step.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    begun: Instant,
}

impl Step {
    /// Announces it.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        eprintln!("=> {name}");
        Self { name, begun: Instant::now() }
    }

    /// Executes `command` with its output on standard error.
    ///
    /// # Errors
    /// It could not be started, or did not succeed.
    pub(crate) fn run(self, command: &mut Command) -> Result<()> {
        let status = command
            .stdout(Stdio::from(std::io::stderr()))
            .status()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        self.judge(status)
    }

    /// Executes `command`, shows what it writes and hands each line of its output to `seen`.
    ///
    /// # Errors
    /// It could not be started. Its failure is the caller's to judge.
    pub(crate) fn watch(
        self,
        command: &mut Command,
        mut seen: impl FnMut(&str),
    ) -> Result<ExitStatus> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let output = child.stdout.take().context("standard output was piped")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            seen(&line);
        }
        let status = child.wait()?;
        self.took();
        Ok(status)
    }

    fn judge(self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("{}: {status}", self.name);
        }
        self.took();
        Ok(())
    }

    fn took(&self) {
        let seconds = self.begun.elapsed().as_secs();
        if seconds >= 1 {
            eprintln!("   {}: {seconds} s", self.name);
        }
    }
}
