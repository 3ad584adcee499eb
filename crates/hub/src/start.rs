//! Starting and stopping a hub.
//!
//! It refuses to serve a record that is shorter than its signed head.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use exeunt_api::Role;
use exeunt_domain::DeviceId;
use exeunt_signal::tls::client_config;
use exeunt_signal::{Trust, TrustError};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::aliases::{Rules, RulesError};
use crate::audit::head::{self, HeadError, HeadFile};
use crate::config::{ADMIN_TOKEN_FILE, Config, DataDir, DataError, judge_address};
use crate::events::{Events, PolicyFileError};
use crate::keys::{HubKeys, MissingKey};
use crate::publish::Shared;
use crate::sequencer::{Minter, Sequencer, Unavailable, now};
use crate::sign_in::{Settings, SettingsError, SignIn};
use crate::store::sqlite::{self, SqliteStore, SqliteView};
use crate::store::{Command, Head, Operator, Store as _, StoreError, View as _};
use crate::{Hub, access, check_api, connectors, http, oauth, ssf, tls, transmitter, views};

/// The hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory or the address.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The hub's own certificate.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The operators' identity provider.
    #[error(transparent)]
    SignIn(#[from] SettingsError),
    /// The policy file.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The rules about subjects' names.
    #[error(transparent)]
    Aliases(#[from] RulesError),
    /// The authorities that are believed of other parties.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signed head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The record ends before its signed head.
    #[error(
        "the record ends at row {rows}, and row {signed} was signed: it was cut or restored from \
         an old copy; `exeunt-hub audit verify` says more"
    )]
    RolledBack {
        /// Where the record ends.
        rows: u64,
        /// The signed head.
        signed: u64,
    },
    /// The record has rows, and no signed head lies beside it.
    #[error("the record has {rows} rows and no signed head beside it: the file audit-head is gone")]
    NoHead {
        /// How many.
        rows: u64,
    },
    /// The file of polled transmitters.
    #[error(transparent)]
    Polled(#[from] ssf::polled::PolledError),
    /// The record names a key that is not here.
    #[error(transparent)]
    Key(#[from] MissingKey),
    /// The connectors' file.
    #[error(transparent)]
    Connectors(#[from] connectors::BookError),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No thread, or no randomness.
    #[error("the system gave no {0}")]
    System(&'static str),
    /// The first commit failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A hub that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The base URL that devices are told.
    pub url: String,
    /// The issuer name of its SETs.
    pub issuer: String,
    /// Where the bootstrap token lies, when this was the first start.
    pub admin_token: Option<PathBuf>,
    reload: Arc<Notify>,
    state: Arc<Hub>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    writer: Option<JoinHandle<()>>,
    heads: tokio::task::JoinHandle<Option<Heads>>,
}

impl Running {
    /// What its requests work with.
    #[must_use]
    pub fn state(&self) -> Arc<Hub> {
        Arc::clone(&self.state)
    }

    /// Has the certificate and the policy read again. What cannot be used leaves the old one.
    pub fn reload(&self) {
        self.state.events.reload();
        self.reload.notify_one();
    }

    /// Answers parked polls empty, finishes what is being answered, writes what waits, signs the
    /// last audit head, and lets go of the data directory.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        drop(self.state);
        while self.tasks.join_next().await.is_some() {}
        if let Some(writer) = self.writer.take() {
            // The last sender went with the tasks; the writer ends when its queue is empty.
            let ended = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the writer's thread did not end well");
            }
        }
        if let Ok(Some(mut heads)) = self.heads.await {
            // The failure was logged; the older head stays beside the record.
            let _ = heads.sign();
        }
    }
}

/// Starts a hub.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: Config) -> Result<Running, StartError> {
    judge_address(&config)?;
    let sign_in = config.sign_in.as_deref().map(Settings::read).transpose()?.map(SignIn::new);
    let events = Events::open(config.policy.clone())?;
    let rules = config.aliases.as_deref().map(Rules::read).transpose()?;
    let rules = Arc::new(rules.unwrap_or_default());
    let certificate = config.tls.clone().map(tls::Certificate::open).transpose()?;
    let trust = config.ca.clone().map_or(Trust::Platform, Trust::Also);
    let outbound = Arc::new(client_config(&trust)?);
    let data = DataDir::hold(&config.data)?;
    let keys = Arc::new(HubKeys::open(&data)?);
    let path = data.file(sqlite::FILE);
    let store = SqliteStore::open(&path)?.with_rules(Arc::clone(&rules));
    let loaded = store.view()?.load()?;
    let (now_signs, before) = &loaded.hub_keys;
    keys.follow(now_signs.as_ref(), before)?;
    refuse_rollback(store.head(), head::read(data.path(), &keys.own())?)?;
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let addr = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = config.public_url.unwrap_or_else(|| format!("{scheme}://{addr}"));
    let issuer = data.issuer(config.issuer.as_deref(), &url)?;

    let shared = Arc::new(Shared::new(loaded));
    let minter = Minter::new(Arc::clone(&keys), issuer.clone());
    let (sequencer, writer) = Sequencer::start(store, minter, Arc::clone(&shared), &config.limits)
        .map_err(|_| StartError::System("thread"))?;
    let admin_token = bootstrap(&data, &shared, &sequencer).await?;
    let file = HeadFile::open(data.path(), &keys.own())?;
    let mut heads = Heads { file, keys: Arc::clone(&keys), shared: Arc::clone(&shared) };
    // Before anyone can ask, and before the disk can fill: later heads go into the same space.
    heads.sign()?;
    let tokens = oauth::Tokens::open(&data)?;
    let connectors = connectors::Book::open(&data, config.connectors_key.as_deref())?;
    let polled = ssf::polled::Book::open(&data)?;
    let reach = ssf::outbound::Reach::new(addr, config.stream_hosts, outbound);
    let providers = connectors::Http::new(&reach);
    let providers = providers.map_err(|_| StartError::System("client for identity providers"))?;
    let (stop, stopping) = watch::channel(false);
    let hub = Arc::new(Hub {
        data,
        tokens,
        keys,
        issuer: issuer.clone(),
        url: url.clone(),
        expect_coverage: config.expect_coverage,
        limits: config.limits,
        sequencer,
        shared,
        views: views::Views::new(move || {
            Ok(SqliteView::open(&path)?.with_rules(Arc::clone(&rules)))
        }),
        guards: check_api::Guards::default(),
        calls: access::Calls::default(),
        sign_in,
        events,
        provider_commands: config.provider_commands,
        connectors,
        providers,
        ssf: ssf::Ssf::new(reach, polled),
        stopping: stopping.clone(),
    });
    ssf::take_stored_signer(&hub).map_err(|_| StartError::System("key for streams"))?;
    connectors::declare(&hub).await;
    let limits = hub.limits.clone();
    let heads = tokio::spawn(sign_heads(heads, limits.head_every, stopping.clone()));
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_house(Arc::clone(&hub)));
    tasks.spawn(connectors::run(Arc::clone(&hub)));
    tasks.spawn(ssf::push::run(Arc::clone(&hub)));
    tasks.spawn(ssf::polled::run(Arc::clone(&hub)));
    let shown = certificate.as_ref().map(tls::Certificate::shown);
    let reload = Arc::new(Notify::new());
    if let Some(certificate) = certificate {
        tasks.spawn(certificate.keep(Arc::clone(&reload), stopping.clone()));
    }
    let (state, last) = (Arc::clone(&hub), Arc::clone(&hub));
    let mut lanes = http::serve(listener, hub, &limits, shown, stopping)
        .map_err(|_| StartError::System("thread"))?;
    tasks.spawn(async move {
        while lanes.join_next().await.is_some() {}
        write_settled(&last).await;
    });
    let writer = Some(writer);
    Ok(Running { addr, url, issuer, admin_token, reload, state, stop, tasks, writer, heads })
}

fn refuse_rollback(stored: Head, signed: Option<Head>) -> Result<(), StartError> {
    match signed {
        Some(signed) if signed.seq > stored.seq => {
            Err(StartError::RolledBack { rows: stored.seq, signed: signed.seq })
        }
        Some(_) => Ok(()),
        // The first row is written before the first head; every later one after it.
        None if stored.seq > 1 => Err(StartError::NoHead { rows: stored.seq }),
        None => Ok(()),
    }
}

/// At first start, an operator's token in a file that only the hub's user reads.
async fn bootstrap(
    data: &DataDir,
    shared: &Shared,
    sequencer: &Sequencer,
) -> Result<Option<PathBuf>, StartError> {
    if shared.has_operator() {
        return Ok(None);
    }
    let token = exeunt_ssf::random_token().map_err(|_| StartError::System("randomness"))?;
    let path = data.write_secret(ADMIN_TOKEN_FILE, &format!("{token}\n"))?;
    let operator = Operator {
        token: oauth::hash(&token),
        name: "bootstrap".into(),
        roles: vec![Role::Administrator],
        expires: None,
    };
    let command = Command::AddOperator { actor: "hub".into(), operator };
    // Nothing refuses an operator.
    let _ = sequencer.submit(command).await?.reply;
    Ok(Some(path))
}

/// Signs the audit's end.
#[derive(Debug)]
struct Heads {
    file: HeadFile,
    keys: Arc<HubKeys>,
    shared: Arc<Shared>,
}

impl Heads {
    /// Signs the last row that is published.
    fn sign(&mut self) -> Result<(), HeadError> {
        let head = *self.shared.head().borrow();
        self.file
            .write(&self.keys.now(), &head, now())
            .inspect_err(|error| tracing::error!(%error, "the audit head was not signed"))
    }
}

/// Signs the head when it moved, at most every `every`. Gives the file back for the last head,
/// which is signed when nothing writes any more.
async fn sign_heads(
    mut heads: Heads,
    every: std::time::Duration,
    mut stopping: watch::Receiver<bool>,
) -> Option<Heads> {
    let mut head = heads.shared.head();
    head.mark_changed();
    loop {
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return Some(heads) },
            _ = stopping.wait_for(|stopping| *stopping) => return Some(heads),
        }
        let signing = move || (heads.sign().is_ok(), heads);
        let (signed, back) = tokio::task::spawn_blocking(signing).await.ok()?;
        heads = back;
        if !signed {
            head.mark_changed();
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return Some(heads),
        }
    }
}

/// Marks overdue orders, and signs them again for devices that wait in a poll now; the others
/// get theirs when they poll.
async fn keep_house(hub: Arc<Hub>) {
    let mut stopping = hub.stopping.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(hub.limits.housekeeping) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        hub.sequencer.tidy();
        write_settled(&hub).await;
        match hub.views.read(|view| view.overdue(now(), 256)).await {
            Ok(overdue) => mark(&hub, overdue).await,
            Err(error) => tracing::error!(%error, "overdue orders cannot be looked for"),
        }
        match hub.views.read(|view| view.expired(now(), 1000)).await {
            Ok(over) if over.is_empty() => {}
            Ok(over) => {
                if let Err(error) = hub.sequencer.submit(Command::Expire(over)).await {
                    tracing::error!(%error, "sessions whose time is over were not ended");
                }
            }
            Err(error) => tracing::error!(%error, "expired sessions cannot be looked for"),
        }
        for device in hub.shared.owing() {
            if hub.shared.mail.is_parked(&device)
                && let Err(error) = transmitter::resign(&hub, &device).await
            {
                tracing::warn!(%device, ?error, "an overdue order was not signed again");
            }
        }
    }
}

async fn write_settled(hub: &Hub) {
    if let Err(error) = transmitter::write_settled(hub).await {
        tracing::warn!(%error, "acknowledgements were not written: what they are of is sent again");
    }
}

async fn mark(hub: &Hub, overdue: Vec<(exeunt_domain::Txn, DeviceId)>) {
    for (txn, device) in overdue {
        tracing::warn!(%txn, %device, "no receipt before the order's deadline");
        if let Err(error) = hub.sequencer.submit(Command::Overdue { txn, device }).await {
            tracing::error!(%error, "an overdue order was not marked");
            return;
        }
    }
}
