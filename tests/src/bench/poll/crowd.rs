//! Many devices' agents in one process, each with a TLS connection and a poll of its own.
//!
//! It refuses to share anything between them that machines would not share: no ticket of one
//! handshake shortens another.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exeunt_api::TokenResponse;
use exeunt_api::oauth::{CLIENT_CREDENTIALS, JWT_BEARER};
use exeunt_domain::Jti;
use exeunt_signal::Trust;
use exeunt_signal::tls::client_config;
use exeunt_ssf::{PollRequest, PollResponse, SigningKey};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::talk;
use crate::bench::wire::Wire;

/// Its name among the benches.
pub(crate) const NAME: &str = "poll-crowd";
/// How many of one process connect at the same time.
const IN_FLIGHT: usize = 128;
/// How long everything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(100);
/// The media type of a token request.
const FORM: &str = "application/x-www-form-urlencoded";

/// Who is in a crowd.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Crowd {
    /// The authority whose certificates are believed.
    pub(super) ca: PathBuf,
    /// The hub's base URL, for the audience of assertions.
    pub(super) hub: String,
    pub(super) devices: Vec<Member>,
}

/// One device, with its agent's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) seed: String,
    pub(super) token: String,
}

/// What a crowd is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Everyone connects from `source`, polls once for an answer, and then waits in a long poll.
    Connect { address: SocketAddr, source: Ipv4Addr },
    /// Everyone hears so many orders in all.
    Hear { orders: usize },
}

/// What a crowd tells; times are in nanoseconds of the machine's monotonic clock.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// When the last one had its first answer, and how many asked for a token.
    Connected { at: u64, tokens: usize },
    /// When each heard that order, how many never did, and the bytes of a SET.
    Heard { at: Vec<u64>, missing: usize, bytes: usize },
}

struct Device {
    id: String,
    key: SigningKey,
    token: RefCell<String>,
    acks: RefCell<Vec<Jti>>,
    /// Which orders came, when each came first, in their order.
    heard: RefCell<(HashSet<Jti>, Vec<u64>)>,
}

struct Shared {
    hub: String,
    tls: TlsConnector,
    room: Semaphore,
    answered: Cell<usize>,
    tokens: Cell<usize>,
    last: Cell<u64>,
    heard: Cell<usize>,
    bytes: Cell<usize>,
    changed: Notify,
    failed: RefCell<Option<anyhow::Error>>,
}

/// Plays the crowd until it is asked no more.
pub(crate) fn play() -> Result<()> {
    let mut first = String::new();
    std::io::stdin().read_line(&mut first)?;
    let crowd: Crowd = serde_json::from_str(&first)?;
    let (asks, mut asked) = mpsc::unbounded_channel::<Ask>();
    std::thread::spawn(move || -> Result<()> {
        for ask in talk::asked() {
            asks.send(ask?)?;
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let (shared, devices) = crowd.gather()?;
        while let Some(ask) = asked.recv().await {
            let told = match ask {
                Ask::Connect { address, source } => {
                    connect(&shared, &devices, address, source).await?
                }
                Ask::Hear { orders } => hear(&shared, &devices, orders).await,
            };
            talk::say(&told)?;
        }
        Ok(())
    })
}

impl Crowd {
    fn gather(self) -> Result<(Rc<Shared>, Vec<Rc<Device>>)> {
        let mut tls = client_config(&Trust::Only(self.ca))?;
        tls.resumption = Resumption::disabled();
        let shared = Shared {
            hub: self.hub,
            tls: TlsConnector::from(Arc::new(tls)),
            room: Semaphore::new(IN_FLIGHT),
            answered: Cell::default(),
            tokens: Cell::default(),
            last: Cell::default(),
            heard: Cell::default(),
            bytes: Cell::default(),
            changed: Notify::new(),
            failed: RefCell::default(),
        };
        let device = |member: Member| -> Result<Rc<Device>> {
            Ok(Rc::new(Device {
                key: SigningKey::from_seed_b64(&member.seed)?,
                id: member.id,
                token: RefCell::new(member.token),
                acks: RefCell::default(),
                heard: RefCell::default(),
            }))
        };
        let devices = self.devices.into_iter().map(device).collect::<Result<_>>()?;
        Ok((Rc::new(shared), devices))
    }
}

async fn connect(
    shared: &Rc<Shared>,
    devices: &[Rc<Device>],
    address: SocketAddr,
    source: Ipv4Addr,
) -> Result<Told> {
    shared.answered.set(0);
    shared.tokens.set(0);
    for device in devices {
        let (shared, device) = (Rc::clone(shared), Rc::clone(device));
        tokio::task::spawn_local(async move {
            let answered = Cell::new(false);
            let ended = device.live(&shared, address, source, &answered).await;
            // Once connected, every connection ends with its server.
            if let (Err(error), false) = (ended, answered.get()) {
                *shared.failed.borrow_mut() = Some(error);
                shared.changed.notify_waiters();
            }
        });
    }
    let all = async {
        while shared.answered.get() < devices.len() && shared.failed.borrow().is_none() {
            shared.changed.notified().await;
        }
    };
    tokio::time::timeout(LIMIT, all).await.context("not everyone was answered in time")?;
    match shared.failed.borrow_mut().take() {
        Some(error) => Err(error.context("a device was not answered")),
        None => Ok(Told::Connected { at: shared.last.get(), tokens: shared.tokens.get() }),
    }
}

/// Waits for the `orders`-th order of everyone.
async fn hear(shared: &Shared, devices: &[Rc<Device>], orders: usize) -> Told {
    let all = async {
        while shared.heard.get() < orders * devices.len() {
            shared.changed.notified().await;
        }
    };
    // Who is missing is counted.
    let _in_time = tokio::time::timeout(LIMIT, all).await;
    let place = orders.saturating_sub(1);
    let at = devices.iter().filter_map(|it| it.heard.borrow().1.get(place).copied()).collect();
    let came = |it: &Rc<Device>| it.heard.borrow().1.len().min(orders);
    let missing = devices.iter().map(|it| orders - came(it)).sum();
    Told::Heard { at, missing, bytes: shared.bytes.get() }
}

impl Device {
    async fn live(
        &self,
        shared: &Shared,
        address: SocketAddr,
        source: Ipv4Addr,
        answered: &Cell<bool>,
    ) -> Result<()> {
        let room = shared.room.acquire().await?;
        let mut wire = open(shared, address, source).await?;
        let first = match self.poll(&mut wire, true).await? {
            Some(first) => first,
            None => {
                self.sign_in(shared, &mut wire).await?;
                shared.tokens.set(shared.tokens.get() + 1);
                self.poll(&mut wire, true).await?.context("a fresh token is refused")?
            }
        };
        shared.last.set(monotonic());
        shared.answered.set(shared.answered.get() + 1);
        answered.set(true);
        drop(room);
        self.take(shared, first);
        loop {
            let answer = self.poll(&mut wire, false).await?;
            self.take(shared, answer.context("the token is refused")?);
        }
    }

    /// One poll with the acknowledgements of the last; None: the token is not known.
    async fn poll(
        &self,
        wire: &mut Wire<TlsStream<TcpStream>>,
        return_immediately: bool,
    ) -> Result<Option<PollResponse>> {
        let ack = self.acks.borrow().clone();
        let request = PollRequest { return_immediately, ack, ..PollRequest::default() };
        let (body, token) = (serde_json::to_string(&request)?, self.token.borrow().clone());
        let asked = wire.send("/ssf/poll", &token, "application/json", &body).await?;
        if asked.0 == 401 {
            return Ok(None);
        }
        ensure!(asked.0 == 200, "{}: {}", asked.0, asked.1);
        self.acks.borrow_mut().clear();
        Ok(Some(serde_json::from_str(asked.1)?))
    }

    fn take(&self, shared: &Shared, answer: PollResponse) {
        let mut heard = self.heard.borrow_mut();
        for (jti, set) in answer.sets {
            if heard.0.insert(jti.clone()) {
                heard.1.push(monotonic());
                shared.heard.set(shared.heard.get() + 1);
                shared.bytes.set(set.len());
            }
            self.acks.borrow_mut().push(jti);
        }
        shared.changed.notify_waiters();
    }

    /// A token by `private_key_jwt`, over the same connection.
    async fn sign_in(&self, shared: &Shared, wire: &mut Wire<TlsStream<TcpStream>>) -> Result<()> {
        let form = assertion(&self.id, &self.key, &shared.hub)?;
        let (status, answer) = wire.send("/oauth/token", "", FORM, &form).await?;
        ensure!(status == 200, "{status}: {answer}");
        let token: TokenResponse = serde_json::from_str(answer)?;
        *self.token.borrow_mut() = token.access_token;
        Ok(())
    }
}

/// The form of a token request of the device `id`, signed by its agent's key.
pub(super) fn assertion(id: &str, key: &SigningKey, hub: &str) -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let claims = serde_json::json!({
        "iss": id, "sub": id, "aud": format!("{hub}/oauth/token"), "exp": now.as_secs() + 60,
        "jti": exeunt_ssf::random_token()?,
    });
    let signed = key.sign_jwt("JWT", &claims)?;
    let kind = JWT_BEARER.replace(':', "%3A");
    Ok(format!(
        "grant_type={CLIENT_CREDENTIALS}&client_assertion_type={kind}&client_assertion={signed}"
    ))
}

async fn open(
    shared: &Shared,
    address: SocketAddr,
    source: Ipv4Addr,
) -> Result<Wire<TlsStream<TcpStream>>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(address.ip());
    Ok(Wire::over(shared.tls.connect(name, stream).await?))
}

/// Nanoseconds of a clock that every process of this machine reads alike.
pub(super) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}
