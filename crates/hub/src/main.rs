//! exeunt-hub: the registry, the revoke, the transmitter, the proof.
//!
//! It refuses to print a secret: the first operator's token is in a file, and only its path is
//! announced.

mod memory;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use exeunt_hub::audit::{head, judge};
use exeunt_hub::backup;
use exeunt_hub::config::{ADMIN_TOKEN_FILE, DAY_MS, KEEP_DAYS};
use exeunt_hub::store::command::DeviceLimit;
use exeunt_hub::store::sqlite::{FILE, SqliteView};
use exeunt_hub::store::{Anew, Keep, View as _};
use exeunt_hub::tls::Files;
use exeunt_hub::{Config, start};
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
  exeunt-hub serve --listen 0.0.0.0:7443 --public-url https://hub.example:7443 \\
    --tls-cert /etc/exeunt/hub.pem --tls-key /etc/exeunt/hub.key --data /var/lib/exeunt-hub
  exeunt-hub audit verify --data /var/lib/exeunt-hub --json
  exeunt-hub backup --data /var/lib/exeunt-hub --to /backup/hub-$(date +%F)
  exeunt-hub restore --from /backup/hub-2026-11-30 --data /var/lib/exeunt-hub"
)]
struct Arguments {
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
    Serve(Box<Serve>),
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Copy everything durable into one new file, keys included; the hub may be running. Guard
    /// the file like the hub's key: it holds it.
    Backup {
        /// The data directory.
        #[arg(long, env = "EXEUNT_HUB_DATA")]
        data: PathBuf,
        /// The file to make, mode 600.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a data directory of a copy. Everybody signs in again, operators included, for what
    /// was revoked since the copy is not known.
    Restore {
        /// The copy.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The data directory to make; absent or empty.
        #[arg(long, env = "EXEUNT_HUB_DATA")]
        data: PathBuf,
        /// Leave sessions at relying services alive. Sign-outs since the copy are undone then.
        #[arg(long)]
        keep_sessions: bool,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How a hub serves.
#[derive(Debug, Args)]
struct Serve {
    /// Where everything durable lives; made at first start. One process per directory.
    #[arg(long, env = "EXEUNT_HUB_DATA")]
    data: PathBuf,
    /// Where to listen. Any address but loopback needs --tls-cert and --tls-key.
    #[arg(long, env = "EXEUNT_HUB_LISTEN", default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// The certificate to show, PEM, followed by those that lead to its authority. Read again
    /// when the file changes, and at SIGHUP.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A PEM file of authorities that are believed of identity providers and stream receivers,
    /// beside those that this system knows.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_OUTBOUND_CA")]
    ca: Option<PathBuf>,
    /// The base URL that devices are told, when it is not the listening address.
    #[arg(long, env = "EXEUNT_HUB_URL")]
    public_url: Option<String>,
    /// The issuer name of this hub's SETs, fixed at first start.
    #[arg(long)]
    issuer: Option<String>,
    /// A host in a private network that this hub may call: for pushes, for transmitters' keys
    /// and for identity providers; may be given several times. Public hosts are called by
    /// https without being named; a named one by plain http, too.
    #[arg(long, alias = "allow-host")]
    stream_host: Vec<String>,
    /// A coverage hash that receipts may carry, as `exeunt catalogue list` prints it on a device;
    /// may be given several times. Any other raises an alarm. Without it, any is taken.
    #[arg(long, value_name = "HASH")]
    expect_coverage: Vec<String>,
    /// How many orders an hour a device will take on this hub's word alone, told at enrolment.
    #[arg(long, default_value_t = 6)]
    orders_per_hour: u32,
    /// How operators sign in at an identity provider: a TOML file; docs/operating.md has one.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_SIGN_IN")]
    sign_in: Option<PathBuf>,
    /// What events of other parties end: a policy file, as docs/policy.example.toml shows one; its
    /// [events] are followed. Without it every event does the usual. Read again at SIGHUP.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_POLICY")]
    policy: Option<PathBuf>,
    /// DRAFT: take `invalidate` commands of registered providers at /v1/provider-commands (OpenID
    /// Provider Commands 1.0, draft 02). The draft may change, and this with it.
    #[arg(long)]
    provider_commands: bool,
    /// Which names are one subject's, by rule: a TOML file; docs/operating.md has one.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_ALIASES")]
    aliases: Option<PathBuf>,
    /// The key that seals the credentials of identity providers; made when nothing is there. Keep it
    /// outside the data directory. Without it the systemd credential `exeunt-connectors-key` is taken,
    /// and without that no provider can be registered.
    #[arg(long, value_name = "FILE", env = "EXEUNT_HUB_CONNECTORS_KEY")]
    connectors_key: Option<PathBuf>,
    /// How many distinct devices one operator's sign-outs may reach within an hour.
    #[arg(long, default_value_t = 25)]
    devices_per_operator: u64,
    /// How many distinct devices all operators' sign-outs together may reach within an hour.
    #[arg(long, default_value_t = 100)]
    devices_per_hour: u64,
    /// How many calls a minute an operator may make.
    #[arg(long, default_value_t = 3000)]
    calls_per_minute: u32,
    /// For how many days identifiers of SETs are remembered, so that none is taken twice. Older
    /// SETs are refused, but for receipts.
    #[arg(long, value_name = "DAYS", default_value_t = KEEP_DAYS,
        value_parser = clap::value_parser!(u64).range(1..=36_500))]
    keep_seen: u64,
    /// For how many days a session that was ended by name stays refused: longer than any service
    /// lets a session live.
    #[arg(long, value_name = "DAYS", default_value_t = KEEP_DAYS,
        value_parser = clap::value_parser!(u64).range(1..=36_500))]
    keep_denials: u64,
    /// How many sign-outs an hour a device may ask for.
    #[arg(long, default_value_t = 10)]
    requests_per_hour: u64,
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
    memory::keep();
    let args = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let done = match args.command {
        Command::Serve(typed) => serve((*typed).config()),
        Command::Audit(Audit::Verify { data, json }) => verify(&data, json),
        Command::Backup { data, to, json } => copy(&data, &to, json),
        Command::Restore { from, data, keep_sessions, json } => {
            put_back(&from, &data, keep_sessions, json)
        }
    };
    done.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

impl Serve {
    fn config(self) -> Config {
        let mut config = Config::new(self.data);
        config.listen = self.listen;
        config.ca = self.ca;
        config.public_url = self.public_url;
        config.issuer = self.issuer;
        config.sign_in = self.sign_in;
        config.policy = self.policy;
        config.provider_commands = self.provider_commands;
        config.aliases = self.aliases;
        config.connectors_key = self.connectors_key.or_else(credential);
        config.tls = self.tls_cert.zip(self.tls_key).map(|(cert, key)| Files { cert, key });
        config.stream_hosts =
            self.stream_host.iter().map(|host| host.to_ascii_lowercase()).collect();
        config.expect_coverage =
            self.expect_coverage.iter().map(|hash| hash.to_ascii_lowercase()).collect();
        config.limits.devices =
            DeviceLimit { each: self.devices_per_operator, in_all: self.devices_per_hour };
        config.limits.calls_per_minute = self.calls_per_minute;
        config.limits.orders_per_hour = self.orders_per_hour;
        config.limits.requests_per_hour = self.requests_per_hour;
        config.limits.keep =
            Keep { seen_ms: self.keep_seen * DAY_MS, session_ms: self.keep_denials * DAY_MS };
        config
    }
}

/// The connectors' key as systemd passes it on (`LoadCredential=`, `LoadCredentialEncrypted=`).
fn credential() -> Option<PathBuf> {
    let dir = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(Path::new(&dir).join("exeunt-connectors-key")).filter(|path| path.exists())
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async {
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hup = signal(SignalKind::hangup())?;
        let running = start(config).await?;
        tracing::info!(address = %running.addr, url = running.url, issuer = %running.issuer, "serving");
        if let Some(path) = &running.admin_token {
            tracing::info!("the first operator's token is in {}", path.display());
        }
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hup.recv() => running.reload(),
            }
        }
        tracing::info!("stopping");
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn verify(data: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let keys = exeunt_hub::keys::beside(data)?;
    anyhow::ensure!(!keys.keys.is_empty(), "no hub key in {}", data.display());
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

fn copy(data: &Path, to: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let copied = backup::backup(data, to)?;
    let (rows, seq) = (copied.rows, copied.head.seq);
    print(&if json {
        serde_json::json!({ "v": exeunt_api::VERSION, "taken": copied.taken, "rows": rows,
            "head_seq": seq })
        .to_string()
    } else {
        format!("copied and verified: {rows} rows, up to row {seq}")
    });
    Ok(ExitCode::SUCCESS)
}

fn put_back(from: &Path, data: &Path, keep: bool, json: bool) -> anyhow::Result<ExitCode> {
    let Anew { rows_to, seq, sessions_ended } = backup::restore(from, data, keep)?;
    print(&if json {
        serde_json::json!({ "v": exeunt_api::VERSION, "rows_to": rows_to, "seq": seq,
            "sessions_ended": sessions_ended })
        .to_string()
    } else {
        format!(
            "restored up to row {rows_to}; the audit goes on at row {seq}; {sessions_ended} \
             sessions were ended. Every operator's token is void: the next start writes a new one \
             into {}",
            data.join(ADMIN_TOKEN_FILE).display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn print(line: &str) {
    use std::io::Write as _;
    // A reader that went away wants nothing more.
    let _ = writeln!(std::io::stdout(), "{line}");
}
