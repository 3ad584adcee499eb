//! exeunt-hub: the registry, the revoke, the transmitter, the proof.
//!
//! It refuses to print a secret: the first operator's token is in a file, and only its path is
//! announced.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use exeunt_hub::audit::{head, judge};
use exeunt_hub::config::KEY_FILE;
use exeunt_hub::store::View as _;
use exeunt_hub::store::sqlite::{FILE, SqliteView};
use exeunt_hub::{Config, start};
use exeunt_ssf::{Jwks, SigningKey};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Ends every session of a person or a machine identity, everywhere, and keeps the proof.
#[derive(Debug, Parser)]
#[command(
    name = "exeunt-hub",
    version,
    about,
    after_help = "Examples:
  exeunt-hub serve --data /var/lib/exeunt-hub
  exeunt-hub audit verify --data /var/lib/exeunt-hub --json"
)]
struct Args {
    /// How log lines are written, on standard error.
    #[arg(long, value_enum, default_value_t, global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve {
        /// Where everything durable lives; made at first start. One process per directory.
        #[arg(long, env = "EXEUNT_HUB_DATA")]
        data: PathBuf,
        /// Where to listen. Loopback only: there is no TLS yet.
        #[arg(long, env = "EXEUNT_HUB_LISTEN", default_value = "127.0.0.1:7443")]
        listen: SocketAddr,
        /// The base URL that devices are told, when it is not the listening address.
        #[arg(long, env = "EXEUNT_HUB_URL")]
        public_url: Option<String>,
        /// The issuer name of this hub's SETs, fixed at first start.
        #[arg(long)]
        issuer: Option<String>,
        /// A host beyond loopback that pushes may go to and transmitters' keys come from; may be
        /// given several times. Without TLS, only name hosts on a network that you trust.
        #[arg(long)]
        stream_host: Vec<String>,
        /// How many orders an hour a device will take on this hub's word alone, told at enrolment.
        #[arg(long, default_value_t = 6)]
        orders_per_hour: u32,
        /// How many sign-outs an hour a device may ask for.
        #[arg(long, default_value_t = 10)]
        requests_per_hour: u64,
    },
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Look at every row and at the signed head beside them. Exit 0: whole; 1: not.
    Verify {
        /// The data directory; the hub may be running.
        #[arg(long, env = "EXEUNT_HUB_DATA")]
        data: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let done = match args.command {
        Command::Serve {
            data,
            listen,
            public_url,
            issuer,
            stream_host,
            orders_per_hour,
            requests_per_hour,
        } => {
            let mut config = Config { listen, public_url, issuer, ..Config::new(data) };
            config.stream_hosts =
                stream_host.iter().map(|host| host.to_ascii_lowercase()).collect();
            config.limits.orders_per_hour = orders_per_hour;
            config.limits.requests_per_hour = requests_per_hour;
            serve(config)
        }
        Command::Audit(Audit::Verify { data, json }) => verify(&data, json),
    };
    done.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async {
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let running = start(config).await?;
        tracing::info!(address = %running.addr, issuer = %running.issuer, "serving");
        if let Some(path) = &running.admin_token {
            tracing::info!("the first operator's token is in {}", path.display());
        }
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn verify(data: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let seed = std::fs::read_to_string(data.join(KEY_FILE))
        .with_context(|| format!("no hub key in {}", data.display()))?;
    let keys = Jwks::of(SigningKey::from_seed_b64(&seed)?.jwk());
    // The head first: the log may grow after it, never end before it.
    let signed = head::read(data, &keys);
    let at = signed.as_ref().ok().copied().flatten().map_or(0, |head| head.seq);
    let chain = SqliteView::open(&data.join(FILE))?.audit_chain(at)?;
    let verdict = judge(&chain, signed);
    if json {
        print(&serde_json::to_string(&verdict)?);
    } else if let Some(reason) = &verdict.reason {
        print(&format!("NOT verified: {reason}"));
    } else {
        print(&format!("verified: {} rows, signed up to row {}", verdict.rows, verdict.head_seq));
    }
    Ok(if verdict.verified { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(line: &str) {
    use std::io::Write as _;
    // A reader that went away wants nothing more.
    let _ = writeln!(std::io::stdout(), "{line}");
}
