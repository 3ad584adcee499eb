//! Programs that a rig starts, and their end.
//!
//! It refuses to end anything by name: a program is ended by the id it was started with, and what
//! it left behind is known by the rig's own mark in its environment.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// The variable that marks every process of a rig with its directory. A program that cleans its
/// environment keeps its home, which lies in there too.
pub const MARK: &str = "EXEUNT_RIG";

/// A program that the rig started. It is killed when this is dropped.
#[derive(Debug)]
pub struct Started {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Started {
    /// Starts `command` in a process group of its own, with its output in `log`.
    ///
    /// # Errors
    /// It could not be started; the message names it.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let (out, err) = outputs(log)?;
        command.stdout(out).stderr(err);
        Self::spawn(name, command, log)
    }

    /// Starts `command` and returns the first line that it writes to its standard output.
    ///
    /// # Errors
    /// It could not be started, or ended without writing a line.
    pub fn announce(name: &str, command: &mut Command, log: &Path) -> Result<(Self, String)> {
        let (_, err) = outputs(log)?;
        command.stdout(Stdio::piped()).stderr(err);
        let mut started = Self::spawn(name, command, log)?;
        let out = started.child.stdout.take().context("standard output was piped")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        if line.trim().is_empty() {
            bail!("{name} said nothing; its log:\n{}", started.log());
        }
        Ok((started, line.trim().to_owned()))
    }

    fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// Its state could not be read.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Asks it to end with `signal` and waits for that.
    ///
    /// # Errors
    /// It was still there after `limit`.
    pub fn end(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(pid(self.child.id())?, signal)
            .with_context(|| format!("signalling {}", self.name))?;
        self.wait(limit)
    }

    /// Waits until it ended.
    ///
    /// # Errors
    /// It was still there after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if !wait_gone(self.child.id(), limit)? {
            bail!("{} still runs after {} s:\n{}", self.name, limit.as_secs_f32(), self.log());
        }
        Ok(self.child.wait()?)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // It may have ended between the two calls, which is what is wanted.
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// It could not be started or did not succeed; the message holds what it wrote to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", program.display(), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits on the process itself, not on a poll of it; a zombie counts as gone.
///
/// # Errors
/// The kernel refused to watch it.
pub fn wait_gone(id: u32, limit: Duration) -> Result<bool> {
    let Ok(handle) = pidfd_open(pid(id)?, PidfdFlags::empty()) else {
        return Ok(true);
    };
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("the limit is too long")?;
        let mut watched = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut watched, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for a process"),
        }
    }
}

/// Kills every process with a variable in its environment that begins with `mark`, or that runs as
/// `uid`, but this one. Returns how many.
///
/// # Errors
/// `/proc` could not be read, or something could not be ended.
pub fn sweep(mark: &str, uid: Option<u32>) -> Result<usize> {
    let value = format!("={mark}");
    let is_ours =
        |variable: &[u8]| variable.windows(value.len()).any(|part| part == value.as_bytes());
    let mut ended = 0;
    for _ in 0..3 {
        let found = processes_of(&is_ours, uid)?;
        if found.is_empty() {
            return Ok(ended);
        }
        for id in &found {
            match kill_process(pid(*id)?, Signal::KILL) {
                Ok(()) => ended += 1,
                Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("ending process {id}")),
            }
        }
        for id in found {
            wait_gone(id, Duration::from_secs(5))?;
        }
    }
    Ok(ended)
}

fn processes_of(is_ours: &impl Fn(&[u8]) -> bool, uid: Option<u32>) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(id) = name.parse::<u32>() else { continue };
        if id <= 1 || id == std::process::id() {
            continue;
        }
        let Ok(status) = std::fs::read_to_string(path.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next().unwrap_or_default().to_owned())
        };
        if field("State:").as_deref() == Some("Z") {
            continue;
        }
        let owned = uid.is_some_and(|uid| field("Uid:") == Some(uid.to_string()));
        let marked = std::fs::read(path.join("environ"))
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(is_ours));
        if owned || marked {
            found.push(id);
        }
    }
    Ok(found)
}

fn outputs(log: &Path) -> Result<(Stdio, Stdio)> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    Ok((file.try_clone()?.into(), file.into()))
}

fn pid(id: u32) -> Result<Pid> {
    let raw = i32::try_from(id).context("a process id is too large")?;
    Pid::from_raw(raw).context("a process id is zero")
}
