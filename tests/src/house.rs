//! Hub, warden and agent, really running, each as the user that it should have.
//!
//! It refuses the machine's own places: sockets, state and settings are in the throwaway ground.

mod admin;
mod programs;

use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use exeunt_domain::receipt::Mode;
use rustix::process::Signal;

use crate::people::{Ground, Person, is_root};
use crate::process::{self, Started};
use crate::waiting;

pub use admin::Admin;
pub use programs::Programs;

/// The subject of every session in a house with [`Subjects::Alice`].
pub const SUBJECT: &str = "alice";

/// Whose a console session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// [`SUBJECT`]'s, whatever the account: for one person alone.
    Alice,
    /// The account's own name's.
    PerAccount,
}

const START_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(10);

/// A hub, a warden and an agent around one person's home.
#[derive(Debug)]
pub struct House {
    /// Whose home it is.
    pub alice: Person,
    /// Root warden, or user mode.
    pub mode: Mode,
    /// Where the sockets are.
    pub runtime: PathBuf,
    /// The built programs.
    pub programs: Programs,
    agent_user: Person,
    hub_user: Person,
    settings: PathBuf,
    warden_state: PathBuf,
    hub_port: u16,
    between: Option<PathBuf>,
    warden: Option<Started>,
    agent: Option<Started>,
    hub: Option<Started>,
    /// The throwaway directory; last, for what is in it must end first.
    pub ground: Ground,
}

impl House {
    /// Starts all three and leaves the device unenrolled: for the whole machine as root, else in
    /// user mode.
    ///
    /// # Errors
    /// A program is missing or ended early; the message has its log.
    pub fn open(ground: Ground, subjects: Subjects) -> Result<Self> {
        let mode = if is_root() { Mode::Installed } else { Mode::User };
        Self::open_in(ground, subjects, mode)
    }

    /// Starts all three in `mode`.
    ///
    /// # Errors
    /// As [`Self::open`]; and only root can install.
    pub fn open_in(ground: Ground, subjects: Subjects, mode: Mode) -> Result<Self> {
        let programs = Programs::install(&ground)?;
        let alice = ground.person("alice")?;
        let (agent_user, hub_user) = match mode {
            Mode::Installed => (ground.person("agent")?, ground.person("hub")?),
            Mode::User => (alice.clone(), alice.clone()),
        };
        let runtime = ground.dir("sockets", 0o755)?;
        let warden_state = ground.dir("warden", 0o700)?;
        match mode {
            Mode::Installed => {
                // The agent makes its socket here, and the sticky bit keeps it off the warden's.
                chown(&runtime, Some(0), Some(agent_user.gid))?;
                std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o1775))?;
            }
            Mode::User => {
                for dir in [&runtime, &warden_state] {
                    chown(dir, Some(alice.uid), Some(alice.gid))?;
                }
            }
        }
        let settings = ground.path().join("warden.toml");
        let agent_name = &agent_user.name;
        let subject = match subjects {
            Subjects::Alice => format!("subject_fixed = \"{SUBJECT}\"\n"),
            Subjects::PerAccount => "subject = \"{user}\"\n".to_owned(),
        };
        let text = format!("{subject}agent_user = \"{agent_name}\"\n");
        std::fs::write(&settings, text)?;
        let hub_port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut house = Self {
            alice,
            mode,
            runtime,
            programs,
            agent_user,
            hub_user,
            settings,
            warden_state,
            hub_port,
            between: None,
            warden: None,
            agent: None,
            hub: None,
            ground,
        };
        house.start_hub()?;
        house.start_agent()?;
        house.start_warden()?;
        Ok(house)
    }

    /// Enrols the device under `name` with a one-time token, and waits until the hub knows it.
    ///
    /// # Errors
    /// The hub gave no token or the device did not take it.
    pub fn enrol(&self, name: &str) -> Result<()> {
        let said =
            process::output(self.operator()?.args(["device", "token", "--json", "--name", name]))?;
        let token: serde_json::Value = serde_json::from_str(&said)?;
        let token = token["token"].as_str().context("no token")?;
        let mut enrol = self.command(&self.programs.cli);
        enrol.args(["enroll", "--token", token]);
        process::output(&mut enrol).map(drop)
    }

    /// `exeunt admin`, with an operator's token.
    ///
    /// # Errors
    /// The hub's first token cannot be read.
    pub fn operator(&self) -> Result<Command> {
        let mut command = self.command(&self.programs.cli);
        command.arg("admin").env("EXEUNT_ADMIN_TOKEN", self.admin_token()?);
        Ok(command)
    }

    /// `exeunt`, typed by `person`.
    #[must_use]
    pub fn typed_by(&self, person: &Person, arguments: &[&str]) -> Command {
        let mut command = person.command(&self.programs.cli);
        command.args(arguments).env("EXEUNT_RUNTIME_DIR", &self.runtime);
        command
    }

    /// The user that the agent runs as.
    #[must_use]
    pub fn agent_user(&self) -> &Person {
        &self.agent_user
    }

    /// A command given by whoever runs this, for the sockets of this house.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.ground.path())
            .env(process::MARK, self.ground.mark())
            .env("EXEUNT_RUNTIME_DIR", &self.runtime)
            .env("EXEUNT_HUB", self.hub_url())
            .stdin(std::process::Stdio::null());
        command
    }

    /// The hub's address.
    #[must_use]
    pub fn hub_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.hub_port)
    }

    /// An operator's way into the hub.
    ///
    /// # Errors
    /// The hub's first token cannot be read.
    pub fn admin(&self) -> Result<Admin> {
        Admin::new(&self.hub_url(), &self.admin_token()?)
    }

    fn admin_token(&self) -> Result<String> {
        let path = self.hub_data().join("admin-token");
        let token = std::fs::read_to_string(&path);
        Ok(token.with_context(|| format!("reading {}", path.display()))?.trim().to_owned())
    }

    /// Starts the hub, on the port that it had before.
    ///
    /// # Errors
    /// It ended early or does not listen.
    pub fn start_hub(&mut self) -> Result<()> {
        let mut hub = self.hub_user.command(&self.programs.hub);
        hub.args(["serve", "--data"]).arg(self.hub_data());
        hub.args(["--listen", &format!("127.0.0.1:{}", self.hub_port)]);
        // Tests and benches order more often than a person would.
        hub.args(["--orders-per-hour", "10000", "--devices-per-operator", "10000"]);
        hub.args(["--devices-per-hour", "10000", "--calls-per-minute", "100000"]);
        let hub = Started::start("exeunt-hub", &mut hub, &self.log("hub"))?;
        let port = self.hub_port;
        self.hub = Some(ready("the hub", hub, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?);
        Ok(())
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// It ended early or does not listen.
    pub fn start_agent(&mut self) -> Result<()> {
        let mut agent = self.agent_user.command(&self.programs.agent);
        agent.arg("serve").arg("--runtime-dir").arg(&self.runtime);
        agent.arg("--state-dir").arg(self.agent_user.runtime.join("agent"));
        if let Some(between) = &self.between {
            agent.arg("--warden-socket").arg(between);
        }
        let agent = Started::start("exeunt-agent", &mut agent, &self.log("agent"))?;
        let socket = self.runtime.join("agent.sock");
        self.agent = Some(ready("the agent", agent, || UnixStream::connect(&socket).is_ok())?);
        Ok(())
    }

    /// Puts a socket between agent and warden, from the agent's next start on.
    pub fn listen_between(&mut self, socket: PathBuf) {
        self.between = Some(socket);
    }

    /// Starts the warden: as root for the whole machine, else for the one home.
    ///
    /// # Errors
    /// It ended early or does not listen.
    pub fn start_warden(&mut self) -> Result<()> {
        let mut warden = match self.mode {
            Mode::Installed => self.command(&self.programs.warden),
            Mode::User => self.alice.command(&self.programs.warden),
        };
        warden.arg("serve").arg("--runtime-dir").arg(&self.runtime);
        warden.arg("--state-dir").arg(&self.warden_state).arg("--config").arg(&self.settings);
        if self.mode == Mode::User {
            warden.arg("--user-mode");
            if !is_root() {
                // Beside a person's own work: a home that is not the account's.
                warden.arg("--home").arg(&self.alice.home);
            }
        }
        let warden = Started::start("exeunt-warden", &mut warden, &self.log("warden"))?;
        let socket = self.runtime.join("warden.sock");
        self.warden = Some(ready("the warden", warden, || UnixStream::connect(&socket).is_ok())?);
        Ok(())
    }

    /// Ends the hub with `signal`.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop_hub(&mut self, signal: Signal) -> Result<()> {
        stop(&mut self.hub, signal)
    }

    /// Ends the agent with `signal`.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop_agent(&mut self, signal: Signal) -> Result<()> {
        stop(&mut self.agent, signal)
    }

    /// Ends the warden with `signal`.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop_warden(&mut self, signal: Signal) -> Result<()> {
        stop(&mut self.warden, signal)
    }

    /// Process ids of warden and agent, while they run.
    #[must_use]
    pub fn ids(&self) -> (Option<u32>, Option<u32>) {
        (self.warden.as_ref().map(Started::id), self.agent.as_ref().map(Started::id))
    }

    /// What the three wrote, for a failing test's message.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |name: &str| std::fs::read_to_string(self.log(name)).unwrap_or_default();
        format!("hub:\n{}\nagent:\n{}\nwarden:\n{}", log("hub"), log("agent"), log("warden"))
    }

    /// What the agent wrote, from its byte `after` on.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn agent_log(&self, after: u64) -> Result<String> {
        let mut log = std::fs::File::open(self.log("agent"))?;
        log.seek(SeekFrom::Start(after))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The hub's directory.
    #[must_use]
    pub fn hub_data(&self) -> PathBuf {
        self.hub_user.runtime.join("hub")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.ground.path().join(format!("{name}.log"))
    }
}

fn ready(what: &str, mut started: Started, listens: impl Fn() -> bool) -> Result<Started> {
    waiting::until(&format!("the start of {what}"), START_LIMIT, || {
        anyhow::ensure!(started.is_running()?, "{what} ended:\n{}", started.log());
        Ok(listens().then_some(()))
    })
    .with_context(|| started.log())?;
    Ok(started)
}

fn stop(running: &mut Option<Started>, signal: Signal) -> Result<()> {
    let mut running = running.take().context("it does not run")?;
    running.end(signal, END_LIMIT).map(drop)
}
