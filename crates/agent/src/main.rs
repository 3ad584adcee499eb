//! `exeunt-agent`: carries orders down and receipts up, and can do nothing else.
//!
//! It refuses to run without a runtime directory that is there already: its owner decides who is
//! let in.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use exeunt_agent::Settings;
use exeunt_ipc::Sockets;
use exeunt_ipc::connect::INSTALLED_DIR;
use exeunt_signal::Trust;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

#[derive(Parser)]
#[command(
    name = "exeunt-agent",
    version,
    about = "Carries orders from the hub to the warden and receipts back. It can order nothing.",
    after_help = "Examples:\n  exeunt-agent serve\n  \
                  exeunt-agent serve --runtime-dir /tmp/demo/run --state-dir /tmp/demo/agent\n\n\
                  The agent starts unenrolled and waits: enrol the device with `exeunt enroll`."
)]
struct Arguments {
    /// How log lines on standard error are written.
    #[arg(long, value_enum, default_value = "text", global = true, env = "EXEUNT_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Where the sockets are and the public key goes; it must exist [default: /run/exeunt when
    /// there, else `exeunt` in the user's runtime directory].
    #[arg(long, env = "EXEUNT_RUNTIME_DIR")]
    runtime_dir: Option<PathBuf>,
    /// Where the agent keeps its key [default: /var/lib/exeunt/agent when installed, else
    /// `exeunt/agent` in the user's state directory].
    #[arg(long, env = "EXEUNT_AGENT_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// The warden's socket [default: warden.sock in the runtime directory].
    #[arg(long)]
    warden_socket: Option<PathBuf>,
    /// The agent's own socket [default: agent.sock in the runtime directory].
    #[arg(long)]
    agent_socket: Option<PathBuf>,
    /// A PEM file of the authorities that may vouch for the hub, and no others [default: those
    /// that this system knows].
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_CA")]
    ca: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    start_log(arguments.log_format);
    let Command::Serve(serve) = arguments.command;
    let settings = serve.settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        exeunt_agent::serve(&settings, stop).await
    })
}

impl Serve {
    fn settings(self) -> Result<Settings> {
        let sockets = self.runtime_dir.as_deref().map_or_else(Sockets::here, Sockets::within);
        let runtime_dir = match self.runtime_dir {
            Some(dir) => dir,
            None => sockets.agent.parent().context("a socket has a directory")?.to_owned(),
        };
        let state_dir = match self.state_dir {
            Some(dir) => dir,
            None if runtime_dir.as_os_str() == INSTALLED_DIR => "/var/lib/exeunt/agent".into(),
            None => directories::BaseDirs::new()
                .and_then(|dirs| dirs.state_dir().map(|dir| dir.join("exeunt/agent")))
                .context("no state directory: name one with --state-dir")?,
        };
        Ok(Settings {
            runtime_dir,
            state_dir,
            warden_socket: self.warden_socket.unwrap_or(sockets.warden),
            agent_socket: self.agent_socket.unwrap_or(sockets.agent),
            trust: Trust::of(self.ca),
        })
    }
}

/// `EXEUNT_LOG` is a level, or levels of modules: `debug`, `info,exeunt_agent=debug`.
fn start_log(format: LogFormat) {
    let wanted = std::env::var("EXEUNT_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let wanted = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(wanted);
    match format {
        LogFormat::Text => log.with(lines.with_ansi(false)).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
}
