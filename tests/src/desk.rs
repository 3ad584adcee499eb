//! Somebody who types at the X display of a container before, during and after a lock, and the wardens
//! that lock it.
//!
//! It refuses to conclude anything from silence: what was typed under a lock counts as kept out only
//! once something typed later has arrived.

use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::container::{Container, Inmate, PASSWORD};
use crate::{process, waiting};

/// How long anything in a container may take.
pub const LIMIT: Duration = Duration::from_secs(20);
const UNLOCKED_WITHIN: Duration = Duration::from_secs(30);
/// How long a locker takes over a wrong password.
const LINGERS: Duration = Duration::from_millis(2500);
/// Writes down every line that is typed into it; its first line says that it listens.
pub const LISTEN: &str =
    r#"echo listening > ~/typed; while IFS= read -r l; do echo "$l" >> ~/typed; done"#;

/// The lock of somebody's screen by a warden that ends with it, as its receipt tells.
///
/// # Errors
/// There is no receipt.
pub fn lock_once(
    container: &Container,
    who: &Inmate,
    screen: &str,
    settings: &str,
) -> Result<Value> {
    container.write("/run/warden.toml", settings)?;
    let mut once = container.command("timeout");
    once.args(["60", "exeunt-warden", "once", "--json", "--tier", "lock", "--home", &who.home()]);
    once.args(["--session", screen, "--config", "/run/warden.toml"]);
    let ended = once.output()?;
    let heard = String::from_utf8_lossy(&ended.stderr).into_owned();
    serde_json::from_slice(&ended.stdout).with_context(|| heard)
}

/// The proof of a receipt, in words.
///
/// # Errors
/// The lock was not proved.
pub fn proof(receipt: &Value) -> Result<&str> {
    ensure!(receipt["lock"]["state"] == "proved", "not proved: {}", receipt["lock"]);
    ensure!(
        receipt["outcome"].is_null() || receipt["outcome"] == "verified",
        "{}",
        receipt["outcome"]
    );
    receipt["lock"]["how"].as_str().context("no proof in words")
}

/// A word that was never typed before.
#[must_use]
pub fn word(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}{number}")
}

/// A warden that serves the whole machine, as it is installed. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Served<'a> {
    container: &'a Container,
    unit: String,
}

impl<'a> Served<'a> {
    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start(container: &'a Container, settings: &str) -> Result<Self> {
        process::output(container.command("mkdir").args(["-p", "/etc/exeunt"]))?;
        let settings = format!("agent_user = \"games\"\n{settings}");
        container.write("/etc/exeunt/warden.toml", &settings)?;
        // Each has a log of its own.
        let unit = word("exeunt-warden-");
        let mut run = container.command("systemd-run");
        run.args(["--quiet", "--collect", &format!("--unit={unit}")]);
        process::output(run.arg("/usr/local/bin/exeunt-warden").arg("serve"))?;
        let served = Self { container, unit };
        waiting::until("the warden", LIMIT, || Ok(served.log().contains("ready").then_some(())))
            .with_context(|| served.log())?;
        Ok(served)
    }

    /// An order of somebody to close at tier `lock`, and its receipt.
    ///
    /// # Errors
    /// There is no receipt.
    pub fn order(&self, who: &Inmate) -> Result<Value> {
        self.ask(Some(who), &["close", "--tier", "lock", "--yes"])
    }

    /// How somebody's lock stands: asking for one that holds changes nothing.
    ///
    /// # Errors
    /// The warden does not answer.
    pub fn lock(&self, who: &Inmate) -> Result<Value> {
        self.ask(Some(who), &["lock"])
    }

    /// Root lets the next person to somebody's screen.
    ///
    /// # Errors
    /// The warden refused.
    pub fn begin(&self, who: &Inmate) -> Result<()> {
        let uid = who.uid.to_string();
        let begin = ["session", "begin", "--subject", "next", "--uid", &uid];
        self.ask(None, &begin).map(drop)
    }

    /// What the warden wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let mut journal = self.container.command("journalctl");
        let unit = format!("--unit={}", self.unit);
        process::output(journal.args(["--no-pager", &unit])).unwrap_or_default()
    }

    fn ask(&self, who: Option<&Inmate>, arguments: &[&str]) -> Result<Value> {
        let mut ask = match who {
            Some(who) => self.container.command_as(who, "timeout"),
            None => self.container.command("timeout"),
        };
        // It must not look as if it ran on the screen: a session that is ended ends with all on it.
        ask.args(["60", "env", "-u", "DISPLAY", "exeunt", "--json"]).args(arguments);
        let ended = ask.output()?;
        let heard = String::from_utf8_lossy(&ended.stderr).into_owned();
        serde_json::from_slice(&ended.stdout).with_context(|| format!("{heard}{}", self.log()))
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let mut stop = self.container.command("systemctl");
        let _gone_with_the_container = stop.args(["stop", &self.unit]).status();
    }
}

/// How a lock is opened again.
#[derive(Clone, Copy, Debug)]
pub enum Opened {
    /// As people do.
    ByPassword,
    /// By ending the program of that name (as the kernel cuts it): it was this that kept typing out.
    ByEnding(&'static str),
}

/// The session at the X display.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The machine.
    pub container: &'a Container,
    /// The warden's settings.
    pub settings: Cell<&'static str>,
}

impl<'a> Desk<'a> {
    /// The session, with the warden's usual settings.
    #[must_use]
    pub fn new(container: &'a Container) -> Self {
        Self { container, settings: Cell::new("") }
    }

    /// Opens the terminal and waits until it has the keyboard.
    ///
    /// # Errors
    /// It did not open.
    pub fn open_terminal(&self) -> Result<()> {
        self.container.write("/run/listen", LISTEN)?;
        self.container.errand("exec xterm -title typist -e sh /run/listen")?;
        waiting::until("the terminal", LIMIT, || Ok((!self.typed().is_empty()).then_some(())))?;
        let mut focus = self.xdotool(&["search", "--sync", "--onlyvisible", "--name", "typist"]);
        process::output(focus.args(["windowactivate", "--sync"])).map(drop)
    }

    /// The whole of one locker: typing before, during and after, and the proof in between.
    ///
    /// # Errors
    /// Whatever did not go as it should, with the session's log.
    pub fn keeps_typing_out(&self, setup: &str, how: &str, opened: Opened) -> Result<()> {
        eprintln!("{setup}");
        self.container.errand(setup)?;
        self.types_around(how, opened).with_context(|| {
            let log = self.container.read(&format!("{}/log", self.container.desk.home()));
            format!("{setup}; its log: {log}")
        })
    }

    fn types_around(&self, how: &str, opened: Opened) -> Result<()> {
        let (before, during, after) = (word("before"), word("during"), word("after"));
        self.type_until_seen(&before)?;
        let receipt = self.lock_when_it_listens(how)?;
        eprintln!("  {}", proof(&receipt)?);
        self.type_line(&during)?;
        match opened {
            Opened::ByPassword => self.unlock(&after)?,
            Opened::ByEnding(program) => {
                self.container.end(&self.container.desk, program)?;
                self.type_until_seen(&after)?;
            }
        }
        self.kept_out(&during)
    }

    /// What was typed under a lock has not arrived. Ask once something typed later has.
    ///
    /// # Errors
    /// It has.
    pub fn kept_out(&self, during: &str) -> Result<()> {
        let typed = self.typed();
        ensure!(!typed.iter().any(|line| line.contains(during)), "typed under the lock: {typed:?}");
        Ok(())
    }

    /// A listener says nothing when it is ready: it is there, and then gets a moment.
    fn lock_when_it_listens(&self, how: &str) -> Result<Value> {
        let container = self.container;
        if self.settings.get().is_empty() {
            self.await_listener()?;
        }
        let receipt = lock_once(container, &container.desk, ":0", self.settings.get())?;
        let said = proof(&receipt)?;
        ensure!(said.contains(how), "locked by another: {said}");
        Ok(receipt)
    }

    /// Waits until a program that locks when it is told to runs and listens.
    ///
    /// # Errors
    /// None does.
    pub fn await_listener(&self) -> Result<()> {
        let programs = ["xss-lock", "light-locker", "xscreensaver", "mate-screensave"];
        waiting::until("the listener", LIMIT, || {
            let running = |name: &&str| !self.container.pids(&self.container.desk, name).is_empty();
            Ok(programs.iter().find(|name| running(name)).map(drop))
        })?;
        process::output(self.container.command("sleep").arg("1")).map(drop)
    }

    /// Types the password until typing arrives again. A locker takes seconds over a wrong one, and
    /// may lose what is typed meanwhile: `during` was one, and so is `after` as long as it is locked.
    ///
    /// # Errors
    /// It stays locked.
    pub fn unlock(&self, after: &str) -> Result<()> {
        let arrives = || {
            waiting::until("a line", LINGERS, || {
                Ok(self.typed().iter().any(|line| line == after).then_some(()))
            })
        };
        waiting::until("the unlocking", UNLOCKED_WITHIN, || {
            let _not_yet = arrives();
            self.type_line(PASSWORD)?;
            let _not_yet = arrives();
            self.type_line(after)?;
            Ok(arrives().ok())
        })
    }

    /// A program on the session's display.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.container.command_as(&self.container.desk, program)
    }

    fn xdotool(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("timeout");
        command.args(["10", "xdotool"]).args(arguments);
        command
    }

    /// Types `word` and Return, whoever has the keyboard.
    ///
    /// # Errors
    /// The keys could not be sent.
    pub fn type_line(&self, word: &str) -> Result<()> {
        process::output(&mut self.xdotool(&["type", "--delay", "12", word]))?;
        process::output(&mut self.xdotool(&["key", "Return"])).map(drop)
    }

    /// Types `word` until it arrives.
    ///
    /// # Errors
    /// It never arrived.
    pub fn type_until_seen(&self, word: &str) -> Result<()> {
        let arrived = waiting::until(&format!("the arrival of {word:?}"), LIMIT, || {
            self.type_line(word)?;
            Ok(self.typed().iter().any(|line| line == word).then_some(()))
        });
        arrived.with_context(|| format!("so far: {:?}", self.typed()))
    }

    /// The lines that arrived.
    #[must_use]
    pub fn typed(&self) -> Vec<String> {
        let text = self.container.read(&format!("{}/typed", self.container.desk.home()));
        text.lines().map(str::to_owned).collect()
    }
}
