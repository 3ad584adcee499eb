//! `exeunt-warden`: verifies orders, contains, looks again, signs.
//!
//! It refuses the network: no HTTP or TLS is linked, and a filter closes every socket but local
//! ones.

mod answer;
mod change;
mod config;
mod confine;
mod contain;
mod debug;
mod deliver;
mod enrol;
mod event;
mod keeper;
mod lease;
mod ledger;
mod machine;
mod memory;
mod once;
mod order;
mod permit;
mod quorum;
mod rate;
mod returns;
mod running;
mod serve;
mod show;
mod sweep;
mod trigger;
mod warden;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Where an installed warden keeps its journal, key and quarantine.
pub(crate) const INSTALLED_STATE: &str = "/var/lib/exeunt";

/// The part of Exeunt that can delete, and has no network.
#[derive(Debug, Parser)]
#[command(name = "exeunt-warden", version, about, after_help = EXAMPLES)]
struct Cli {
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  exeunt-warden serve                              serve this machine (as root) or this user
  exeunt-warden once --home /srv/guest --survey    list what is there, touch nothing
  exeunt-warden once --home /srv/guest --json      sign that home out, print the receipt
  exeunt-warden sweep                              empty what interrupted containments left";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop.
    Serve(serve::Serve),
    /// Contain one home, once, with no service and no hub.
    Once(once::Once),
    /// Empty what interrupted containments left: before an upgrade or a removal.
    Sweep(sweep::Sweep),
    /// Install the filter and say which ways to the network are open: none should be.
    ProbeNetwork,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    memory::limit();
    let cli = Cli::parse();
    log_to_stderr(cli.log_format);
    let ended = match &cli.command {
        Command::Serve(serve) => serve::run(serve).map(|()| 0),
        Command::Once(once) => once::run(once),
        Command::Sweep(sweep) => sweep::run(sweep),
        Command::ProbeNetwork => probe_network(),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("exeunt-warden: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn probe_network() -> anyhow::Result<u8> {
    confine::drop_network()?;
    let open = confine::open_doors();
    if open.is_empty() {
        println!("no way to the network is open");
        return Ok(0);
    }
    println!("open: {}", open.join(", "));
    Ok(1)
}

/// `EXEUNT_LOG` is a level, or levels of modules: `debug`, `info,exeunt_warden=debug`.
fn log_to_stderr(format: LogFormat) {
    let wanted = std::env::var("EXEUNT_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let wanted = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(wanted);
    match format {
        LogFormat::Text => log.with(lines.with_ansi(false)).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
}
