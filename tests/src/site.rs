//! The relying service: a small real site where an account signs in with a password.
//!
//! It refuses everybody whose session its gate refuses, at each request, and never trusts a cookie
//! by itself.

mod gate;
mod pages;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use exeunt_domain::SessionKind;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use gate::Gate;
use gate::{Announced, Watch};

/// The cookie that outlives the browser.
pub const PERSISTENT_COOKIE: &str = "sid";
/// The cookie that a browser should forget when it is closed, and does not when it restores tabs.
pub const SESSION_COOKIE: &str = "tab";

/// What to serve, and to whom.
#[derive(Debug)]
pub struct Options {
    /// The account that can sign in.
    pub user: String,
    /// Its password.
    pub password: String,
    /// A key that opens `/whoami`, if there is one.
    pub api_key: Option<String>,
    /// Which sessions are still good.
    pub gate: Gate,
    /// Where to listen; port 0 finds a free one.
    pub listen: SocketAddr,
}

/// What a page saw in its browser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The answer to the sign-in, where one was tried.
    pub login_status: Option<u16>,
    /// The answer to `GET /me`.
    pub me_status: u16,
    /// The browser sent the cookie that outlives it.
    pub persistent_cookie: bool,
    /// The browser sent the cookie of its own session.
    pub session_cookie: bool,
    /// What localStorage held.
    pub local_storage: Option<String>,
    /// What IndexedDB held.
    pub indexed_db: Option<String>,
    /// What the Cache API held.
    pub cache_api: Option<String>,
    /// What the origin-private file system held.
    pub opfs: Option<String>,
    /// Whether a service worker is registered.
    pub service_worker: Option<String>,
    /// What the rig's extension remembers, when it runs.
    pub extension: Option<String>,
    /// What failed in the page, by name.
    pub errors: HashMap<String, String>,
}

impl Report {
    /// The names of everything that the browser brought back.
    #[must_use]
    pub fn replayed(&self) -> Vec<&'static str> {
        [
            ("persistent_cookie", self.persistent_cookie),
            ("session_cookie", self.session_cookie),
            ("local_storage", self.local_storage.is_some()),
            ("indexed_db", self.indexed_db.is_some()),
            ("cache_api", self.cache_api.is_some()),
            ("opfs", self.opfs.is_some()),
            ("service_worker", self.service_worker.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
    }

    /// Everything that [`Self::replayed`] can name.
    pub const ALL: [&'static str; 7] = [
        "persistent_cookie",
        "session_cookie",
        "local_storage",
        "indexed_db",
        "cache_api",
        "opfs",
        "service_worker",
    ];
}

/// A running site. It stops when this is dropped.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Site {
    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start(options: Options) -> Result<Self> {
        let listener = std::net::TcpListener::bind(options.listen)
            .with_context(|| format!("listening on {}", options.listen))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (opened, opening) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("site".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let shared = Arc::new(Shared::open(options).await?);
                let routes = pages::routes(Arc::clone(&shared));
                let listener = tokio::net::TcpListener::from_std(listener)?;
                opened.send(shared).context("nobody wants the site any more")?;
                tokio::select! {
                    served = axum::serve(listener, routes) => served?,
                    _ = stopped => {}
                }
                Ok(())
            })
        })?;
        match opening.recv() {
            Ok(shared) => Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) }),
            // It went away without opening, and knows why.
            Err(_closed) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => bail!("the site did not open"),
            },
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it fails.
    ///
    /// # Errors
    /// Why it failed.
    pub fn serve(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(served)) => served,
            None | Some(Err(_)) => bail!("the site panicked"),
        }
    }

    /// The address of its page for `run`; the name is needed, for only `localhost` counts as secure.
    #[must_use]
    pub fn page(&self, run: &str) -> String {
        format!("http://localhost:{}/page?run={run}", self.address.port())
    }

    /// The address of a page that signs in once, as `client`, and plants `canary` everywhere.
    #[must_use]
    pub fn login_page(&self, run: &str, client: &str, canary: &str) -> String {
        let login = Login { client: client.to_owned(), canary: canary.to_owned() };
        self.shared.state().logins.insert(run.to_owned(), login);
        self.page(run)
    }

    /// Waits for the report of `run`.
    ///
    /// # Errors
    /// None came within `limit`.
    pub fn report(&self, run: &str, limit: Duration) -> Result<Report> {
        let end = Instant::now() + limit;
        let mut state = self.shared.state();
        loop {
            if let Some(report) = state.reports.remove(run) {
                return Ok(report);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no page reported for {run} within {} s", limit.as_secs());
            }
            let woken = self.shared.reported.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The values of the cookies that the session of `client` was given.
    #[must_use]
    pub fn cookies_of(&self, client: &str) -> Option<String> {
        let state = self.shared.state();
        let session = state.sessions.values().find(|session| session.client == client)?;
        Some(format!("{PERSISTENT_COOKIE}={}", session.id))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The other end is gone when the server already failed.
            let _stopped = stop.send(());
        }
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => eprintln!("the site failed: {error:#}"),
            Some(Err(_panic)) => eprintln!("the site panicked"),
        }
    }
}

#[derive(Debug)]
struct Shared {
    user: String,
    password: String,
    api_key: Option<String>,
    watch: Watch,
    state: Mutex<State>,
    reported: Condvar,
}

#[derive(Debug, Default)]
struct State {
    logins: HashMap<String, Login>,
    sessions: HashMap<String, Session>,
    reports: HashMap<String, Report>,
}

#[derive(Clone, Debug)]
struct Login {
    client: String,
    canary: String,
}

#[derive(Clone, Debug)]
struct Session {
    id: String,
    client: String,
    seq: u64,
}

impl Shared {
    async fn open(options: Options) -> Result<Self> {
        let Options { user, password, api_key, gate, listen: _ } = options;
        let watch = Watch::open(&gate).await?;
        let (state, reported) = Default::default();
        let shared = Self { user, password, api_key, watch, state, reported };
        if let Some(key) = &shared.api_key {
            shared.begin(key.clone(), SessionKind::ApiKey, "API key").await?;
        }
        Ok(shared)
    }

    /// Begins a session, if the hub lets it.
    async fn begin(&self, id: String, kind: SessionKind, client: &str) -> Result<()> {
        let announced = Announced {
            account: self.user.clone(),
            id: id.clone(),
            kind,
            label: client.to_owned(),
        };
        let seq = self.watch.register(&announced).await?;
        let session = Session { id: id.clone(), client: client.to_owned(), seq };
        self.state().sessions.insert(id, session);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
