//! `exeunt-warden serve`: one socket, a thread a connection.
//!
//! It refuses more connections than it has room for, and any peer that the kernel will not name.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use exeunt_domain::receipt::Mode;
use exeunt_host::users::Account;
use exeunt_ipc::message::{Call, Failure, VERSION, WardenAnswer, WardenRequest};
use exeunt_ipc::{CodecError, Peer, read_frame, write_frame};

use crate::answer::{Answers, Caller, answer};
use crate::config::{Config, Places};
use crate::confine::{Launcher, drop_network};
use crate::permit::Gate;
use crate::warden::Warden;

/// The file in the runtime directory that shows the device's public key.
const DEVICE_KEY_FILE: &str = "device-key.pub.json";
/// At most so many connections at once.
const MAX_CONNECTIONS: usize = 64;
/// A peer that does not take its answer within this time is dropped.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Serve until told to stop.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Serve this home only, as its own user (user mode).
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Where sockets are. Default: /run/exeunt, in user mode exeunt in XDG_RUNTIME_DIR.
    #[arg(long, value_name = "DIR", env = "EXEUNT_RUNTIME_DIR")]
    runtime_dir: Option<PathBuf>,
    /// Where the journal and the device key are. Default: /var/lib/exeunt, in user mode the user's
    /// state directory.
    #[arg(long, value_name = "DIR", env = "EXEUNT_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Settings. Default: /etc/exeunt/warden.toml when it is there.
    #[arg(long, value_name = "FILE", env = "EXEUNT_WARDEN_CONFIG")]
    config: Option<PathBuf>,
    /// Run for the own account even as root; claims no isolation.
    #[arg(long)]
    user_mode: bool,
}

/// Serves; returns only with an error.
///
/// # Errors
/// Whatever kept it from listening.
pub(crate) fn run(serve: &Serve) -> anyhow::Result<()> {
    let config = Config::load(serve.config.as_deref())?;
    let places = places(serve)?;
    let launcher = Launcher::start()?;
    drop_network()?;
    let (gate, agent_gid) = gate(&config, &places)?;
    let listener = listen(&places, agent_gid)?;
    let warden = Warden::open(config, places, launcher)?;
    if let Err(error) = show_device_key(&warden) {
        tracing::warn!(error = format!("{error:#}"), "the device key could not be shown");
    }
    warden.resume();
    crate::sweep::beside(&warden);
    warden.keep_lease()?;
    if let Err(error) = warden.start_watching() {
        tracing::error!(error = format!("{error:#}"), "nothing is watched");
    }
    tracing::info!(mode = ?gate.mode, "ready");
    notify_ready();
    // What reading the catalogue and the journal took.
    crate::memory::give_back();
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => accept(&warden, gate, stream, &open),
            Err(error) => tracing::warn!(%error, "accept"),
        }
    }
    bail!("the socket closed")
}

fn places(serve: &Serve) -> anyhow::Result<Places> {
    let root = rustix::process::geteuid().is_root();
    let mode = if root && !serve.user_mode { Mode::Installed } else { Mode::User };
    if mode == Mode::Installed && serve.home.is_some() {
        bail!("--home is for user mode: an installed warden serves the whole machine");
    }
    let own = directories::ProjectDirs::from("", "", "exeunt");
    let runtime = match (&serve.runtime_dir, mode) {
        (Some(dir), _) => dir.clone(),
        (None, Mode::Installed) => exeunt_ipc::connect::INSTALLED_DIR.into(),
        (None, Mode::User) => own
            .as_ref()
            .and_then(|dirs| dirs.runtime_dir().map(Path::to_owned))
            .context("XDG_RUNTIME_DIR is not set: name a place with --runtime-dir")?,
    };
    let state = match (&serve.state_dir, mode) {
        (Some(dir), _) => dir.clone(),
        (None, Mode::Installed) => crate::INSTALLED_STATE.into(),
        (None, Mode::User) => own
            .as_ref()
            .and_then(|dirs| dirs.state_dir().map(Path::to_owned))
            .context("no home: name a place with --state-dir")?,
    };
    Ok(Places { mode, runtime, state, home: serve.home.clone() })
}

/// Who may ask what, and the agent's group.
fn gate(config: &Config, places: &Places) -> anyhow::Result<(Gate, u32)> {
    let own = rustix::process::geteuid().as_raw();
    let (agent, gid) = match places.mode {
        Mode::User => (own, rustix::process::getegid().as_raw()),
        Mode::Installed => {
            let name = &config.agent_user;
            let account = Account::of_name(name);
            let account = account.with_context(|| format!("no account {name:?} for the agent"))?;
            (account.uid, account.gid)
        }
    };
    Ok((Gate { mode: places.mode, own, agent }, gid))
}

/// Binds `warden.sock`. A socket that a dead warden left is taken over; a living one's is not.
fn listen(places: &Places, agent_gid: u32) -> anyhow::Result<UnixListener> {
    let dir = &places.runtime;
    if !dir.exists() {
        make_runtime_dir(dir, places.mode, agent_gid)?;
    }
    let socket = exeunt_ipc::Sockets::within(dir).warden;
    if UnixStream::connect(&socket).is_ok() {
        bail!("a warden already serves {}", socket.display());
    }
    exeunt_host::socket::remove_own(&socket)
        .with_context(|| format!("taking over {}", socket.display()))?;
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("listening at {}", socket.display()))?;
    let mode = if places.mode == Mode::Installed { 0o666 } else { 0o600 };
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// On an installed machine the agent puts its socket there too: its group may make files, and the
/// sticky bit keeps it from touching the warden's.
fn make_runtime_dir(dir: &Path, mode: Mode, agent_gid: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let bits = match mode {
        Mode::Installed => {
            std::os::unix::fs::chown(dir, None, Some(agent_gid))
                .with_context(|| format!("giving {} to the agent's group", dir.display()))?;
            0o1775
        }
        Mode::User => 0o700,
    };
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(bits))?;
    Ok(())
}

/// Shows the device's public key to whoever wants to check a receipt.
fn show_device_key(warden: &Warden) -> anyhow::Result<()> {
    let path = warden.places.runtime.join(DEVICE_KEY_FILE);
    let text = serde_json::to_vec(warden.ledger.key.jwk())?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn accept(warden: &Arc<Warden>, gate: Gate, stream: UnixStream, open: &Arc<AtomicUsize>) {
    if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
        open.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!("too many connections");
        return;
    }
    let (warden, count) = (Arc::clone(warden), Arc::clone(open));
    let spawned = std::thread::Builder::new().name("peer".into()).spawn(move || {
        if let Err(error) = converse(&warden, gate, stream) {
            tracing::debug!(%error, "a connection ended");
        }
        count.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = spawned {
        open.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(%error, "no thread for a connection");
    }
}

fn converse(warden: &Arc<Warden>, gate: Gate, mut stream: UnixStream) -> Result<(), CodecError> {
    stream.set_write_timeout(Some(WRITE_WITHIN))?;
    let peer = Peer::of(&stream).map_err(|error| error.0)?;
    let caller = Caller { uid: peer.uid, pid: peer.pid };
    loop {
        let call: Call<WardenRequest> = match read_frame(&mut stream) {
            Ok(call) => call,
            Err(CodecError::Closed) => return Ok(()),
            Err(error @ (CodecError::TooLong(_) | CodecError::Malformed(_))) => {
                tell(&mut stream, &WardenAnswer::Failed(invalid(&error.to_string())))?;
                return Err(error);
            }
            Err(error @ CodecError::Io(_)) => return Err(error),
        };
        if call.v != VERSION {
            let message = format!("this warden speaks version {VERSION}, not {}", call.v);
            tell(&mut stream, &WardenAnswer::Failed(invalid(&message)))?;
            continue;
        }
        if let Err(refused) = gate.judge(caller.uid, &call.request) {
            tracing::warn!(uid = caller.uid, code = %refused.code, "refused a request");
            tell(&mut stream, &WardenAnswer::Failed(refused))?;
            continue;
        }
        match answer(warden, caller, call.request) {
            Answers::One(answer) => tell(&mut stream, &answer)?,
            Answers::Many(answers) => {
                for answer in answers {
                    tell(&mut stream, &answer)?;
                }
            }
        }
    }
}

fn tell(stream: &mut UnixStream, answer: &WardenAnswer) -> Result<(), CodecError> {
    write_frame(stream, answer)
}

fn invalid(message: &str) -> Failure {
    Failure { code: "invalid_request".into(), message: message.into(), hint: None }
}

/// Tells systemd that it may start what waits for this service (sd_notify(3)).
fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = std::os::unix::net::UnixDatagram::unbound()
        .and_then(|socket| socket.send_to(b"READY=1", PathBuf::from(path)));
    if let Err(error) = told {
        tracing::warn!(%error, "systemd was not told");
    }
    // Whatever is buffered for people must be out before the first order.
    let _flushed = std::io::stderr().flush();
}
