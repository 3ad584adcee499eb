//! Transmitters that this hub polls (RFC 8936): one long poll each, acknowledged when what it brought
//! is durable.
//!
//! It refuses to acknowledge before that, and to be silent about a transmitter that does not answer,
//! that paused its stream, or that does not verify it: each is an alarm in the audit.

mod book;
mod remote;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exeunt_api::{LinkInfo, LinkState, PollSettings};
use exeunt_domain::Jti;
use exeunt_signal::{Backoff, Link, Receiver, ReceiverSettings, TransportError};
use exeunt_ssf::SetErr;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::signals::hear;
use crate::Hub;
use crate::http::{ApiError, NotAccepted};
use crate::publish::lock;
use crate::sequencer::now;
use crate::store::Command;
use crate::store::stream::{StreamCommand, Transmitter};

pub use book::{Book, Entry, PolledError, StreamAt};
pub use remote::{Found, Remote, RemoteError};

/// The first and the longest wait before a SET that could not be taken now is looked at again.
const POSTPONED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long to wait before a stream that is gone at its transmitter is looked for anew.
const AGAIN: Duration = Duration::from_secs(10);
/// How many SETs one answer may bring.
const MOST_SETS: u32 = 16;

/// What is known of one link, and whether the audit heard that it is down.
#[derive(Clone, Debug)]
struct Seen {
    link: LinkInfo,
    alarmed: bool,
}

/// The polled transmitters of a running hub.
#[derive(Debug)]
pub struct Polled {
    /// How each is reached.
    pub book: Book,
    links: Mutex<HashMap<String, Seen>>,
    changed: watch::Sender<u64>,
}

impl Polled {
    /// Those of the book; nothing runs yet.
    #[must_use]
    pub fn new(book: Book) -> Self {
        Self { book, links: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// How the polling of one goes; None when it is not polled.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<LinkInfo> {
        self.book.get(name)?;
        let held = lock(&self.links).get(name).map(|seen| seen.link.clone());
        let none = LinkInfo { state: LinkState::Connecting, since: now(), error: None };
        Some(held.unwrap_or(none))
    }

    /// Has the loops follow the book.
    pub fn follow(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Notes how a link is. True: that it is down was told, or is to be told, to operators.
    fn set(&self, name: &str, state: LinkState, error: Option<String>, alarm: bool) -> bool {
        let mut links = lock(&self.links);
        let before = links.get(name);
        let since = match before {
            Some(seen) if seen.link.state == state => seen.link.since,
            Some(_) | None => now(),
        };
        let alarmed = before.is_some_and(|seen| seen.alarmed) || alarm;
        let still = alarmed && state == LinkState::Down;
        let seen = Seen { link: LinkInfo { state, since, error }, alarmed: still };
        links.insert(name.to_owned(), seen);
        alarmed
    }
}

/// What a transmitter says of itself and of our stream there, before it is registered.
///
/// # Errors
/// [`ApiError`] 400 that says what is to be looked at.
pub async fn introduce(hub: &Hub, settings: PollSettings) -> Result<(Remote, Found), ApiError> {
    let proofs = (settings.client_id.is_some(), settings.client_secret.is_some());
    match (proofs, settings.access_token.is_some()) {
        ((true, true), false) | ((false, false), true) => {}
        _ => {
            let say = "give client_id and client_secret, or access_token alone";
            return Err(ApiError::invalid(say));
        }
    }
    let refused = |error: RemoteError| ApiError::invalid(format!("poll: {error}"));
    let remote = Remote::discover(hub.ssf.reach.clone(), settings).await.map_err(refused)?;
    let found = remote.stream(None).await.map_err(refused)?;
    let admitted = hub.ssf.reach.admit(&found.at.endpoint).await;
    admitted.map_err(|error| ApiError::invalid(format!("poll: the stream's endpoint: {error}")))?;
    Ok((remote, found))
}

/// Polls every transmitter of the book until the hub stops.
pub async fn run(hub: Arc<Hub>) {
    let mut stopping = hub.stopping.clone();
    let mut changed = hub.ssf.polled.changed.subscribe();
    changed.mark_changed();
    let mut running: HashMap<String, AbortHandle> = HashMap::new();
    let mut loops = JoinSet::new();
    loop {
        tokio::select! {
            rung = changed.changed() => if rung.is_err() { return },
            // A loop ends only when it panicked or was ended here.
            Some(_) = loops.join_next() => continue,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let names = hub.ssf.polled.book.names();
        running.retain(|name, handle| {
            let stays = names.contains(name);
            if !stays {
                // Nothing is lost: what was not acknowledged is the transmitter's to keep.
                handle.abort();
                lock(&hub.ssf.polled.links).remove(name);
            }
            stays
        });
        for name in names {
            let begin = || loops.spawn(follow(Arc::clone(&hub), name.clone()));
            running.entry(name.clone()).or_insert_with(begin);
        }
    }
}

/// Follows one transmitter for as long as it is registered.
async fn follow(hub: Arc<Hub>, name: String) {
    let mut backoff = Backoff::default();
    loop {
        let Some(entry) = hub.ssf.polled.book.get(&name) else { return };
        match connect(&hub, &name, entry).await {
            Ok((remote, stream)) => {
                backoff.succeeded();
                receive(&hub, &name, &remote, stream).await;
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(transmitter = name, %error, "a transmitter cannot be polled now");
                let failed = TransportError::Unreachable(error.to_string());
                down(&hub, &name, &failed, backoff.failures()).await;
                tokio::time::sleep(backoff.failed(&failed)).await;
            }
        }
    }
}

async fn connect(
    hub: &Hub,
    name: &str,
    mut entry: Entry,
) -> Result<(Remote, StreamAt), RemoteError> {
    let remote = Remote::discover(hub.ssf.reach.clone(), entry.settings.clone()).await?;
    let found = remote.stream(Some(&entry.stream)).await?.at;
    if found != entry.stream {
        entry.stream = found.clone();
        if let Err(error) = hub.ssf.polled.book.put(&hub.data, name, Some(entry)) {
            // It is found again by the next start.
            tracing::error!(transmitter = name, %error, "where the stream is was not written down");
        }
    }
    Ok((remote, found))
}

/// Polls until the stream is gone at the transmitter.
async fn receive(hub: &Arc<Hub>, name: &str, remote: &Remote, stream: StreamAt) {
    let transport =
        remote::Poll { remote, endpoint: stream.endpoint, parked: hub.limits.poll_patience };
    let settings = ReceiverSettings { max_events: MOST_SETS, ..ReceiverSettings::default() };
    let mut receiver = Receiver::new(transport, settings);
    let link = receiver.link();
    let taking = async {
        let mut wait = POSTPONED.0;
        loop {
            let sets = receiver.next().await;
            let mut postponed = false;
            for (jti, compact) in sets {
                match take(hub, name, &jti, &compact).await {
                    Taken::Durable => receiver.ack(jti),
                    Taken::Refused(error) => receiver.refuse(jti, error),
                    Taken::Postponed => postponed = true,
                }
            }
            wait = if postponed {
                // They come again; what was taken need not.
                if let Err(error) = receiver.flush().await {
                    tracing::debug!(transmitter = name, %error, "acknowledgements wait");
                }
                tokio::time::sleep(wait).await;
                (wait * 2).min(POSTPONED.1)
            } else {
                POSTPONED.0
            };
        }
    };
    tokio::select! {
        () = taking => {}
        () = watch_link(hub, name, link) => {}
        () = verify(hub, name, remote, &stream.id) => {}
    }
}

/// What became of one SET of a poll.
enum Taken {
    Durable,
    Refused(SetErr),
    Postponed,
}

async fn take(hub: &Arc<Hub>, name: &str, jti: &Jti, compact: &str) -> Taken {
    let refused = |err: &str, description: &str| {
        Taken::Refused(SetErr { err: err.to_owned(), description: description.to_owned() })
    };
    let Some(it) = registered(hub, name).await else { return Taken::Postponed };
    // It would be acknowledged under a name that it does not have.
    let named = exeunt_ssf::read_unverified(compact).is_ok_and(|set| set.jti == *jti);
    if !named {
        return refused("invalid_request", "no SET of the name that it is under");
    }
    match hear(hub, it, compact).await {
        Ok(()) => Taken::Durable,
        Err(NotAccepted::Set(why)) if why.is_final() => {
            tracing::warn!(transmitter = name, %jti, ?why, "a SET was refused");
            refused(why.err(), why.description())
        }
        Err(NotAccepted::Set(_) | NotAccepted::Request(_)) => Taken::Postponed,
    }
}

async fn registered(hub: &Hub, name: &str) -> Option<Transmitter> {
    match hub.views.read(|view| view.transmitters()).await {
        Ok(all) => all.into_iter().find(|one| one.id == name),
        Err(error) => {
            tracing::error!(%error, "the record cannot be read");
            None
        }
    }
}

/// Keeps what operators see of the link. Ends when the stream is gone at the transmitter, so that it
/// is looked for anew.
async fn watch_link(hub: &Arc<Hub>, name: &str, mut link: watch::Receiver<Link>) {
    let mut failures = 0;
    loop {
        if link.changed().await.is_err() {
            return;
        }
        let seen = link.borrow_and_update().clone();
        match seen {
            Link::Unknown => {}
            Link::Up => {
                failures = 0;
                up(hub, name).await;
            }
            Link::Down(error) => {
                down(hub, name, &error, failures).await;
                failures += 1;
                if matches!(error, TransportError::Refused { status: 404 | 410, .. }) {
                    return;
                }
            }
        }
    }
}

async fn up(hub: &Hub, name: &str) {
    if hub.ssf.polled.set(name, LinkState::Up, None, false) {
        note(hub, name, "stream-restored", "the transmitter answers again").await;
    }
}

/// The audit hears of it at the second failure in a row: one alone may be a restart.
async fn down(hub: &Hub, name: &str, error: &TransportError, failures: u32) {
    let (alarm, why) = (failures == 1, words(error));
    hub.ssf.polled.set(name, LinkState::Down, Some(why.clone()), alarm);
    if alarm {
        tracing::error!(transmitter = name, why, "a transmitter does not answer");
        note(hub, name, "stream-alarm", &why).await;
    }
}

/// What is wrong, where the other side is a transmitter and no hub.
fn words(error: &TransportError) -> String {
    match error {
        TransportError::Unreachable(why) | TransportError::Unauthorized(why) => why.clone(),
        TransportError::Closed => "the poll: the connection was closed".into(),
        TransportError::Busy { status, .. } | TransportError::Refused { status, .. } => {
            format!("the poll was answered with {status}")
        }
        TransportError::Malformed(why) => format!("the poll's answer cannot be read: {why}"),
    }
}

async fn note(hub: &Hub, name: &str, action: &'static str, why: &str) {
    let why = why.chars().filter(|c| !c.is_control()).take(512).collect();
    let command = StreamCommand::Alarm { transmitter: name.to_owned(), action, why };
    if let Err(error) = hub.sequencer.submit(Command::Stream(command)).await {
        tracing::error!(%error, "an alarm is not in the audit");
    }
}

/// Asks for verification events, and raises an alarm for one that does not come. Never ends.
async fn verify(hub: &Arc<Hub>, name: &str, remote: &Remote, stream: &str) {
    loop {
        match ask_verification(hub, name, remote, stream).await {
            Ok(true) => {
                tokio::time::sleep(hub.limits.verified_within).await;
                let waits = registered(hub, name).await.and_then(|it| it.stream.awaited);
                if waits.is_some() {
                    note(hub, name, "stream-alarm", "a verification event did not come").await;
                }
            }
            // It has no such door.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(transmitter = name, %error, "no verification could be asked for");
            }
        }
        tokio::time::sleep(hub.limits.verify_streams_every).await;
    }
}

async fn ask_verification(
    hub: &Arc<Hub>,
    name: &str,
    remote: &Remote,
    stream: &str,
) -> Result<bool, RemoteError> {
    if remote.metadata().verification_endpoint.is_none() {
        return Ok(false);
    }
    let what = "a verification";
    let state = exeunt_ssf::random_token()
        .map_err(|_| RemoteError::Malformed { what, why: "no randomness".into() })?;
    let expect = StreamCommand::Expect {
        actor: "hub".into(),
        transmitter: name.to_owned(),
        state: state.clone(),
    };
    // Before it is asked for: the event may be there before the answer.
    let noted = hub.sequencer.submit(Command::Stream(expect)).await;
    if !noted.is_ok_and(|applied| applied.reply.is_ok()) {
        return Err(RemoteError::Malformed { what, why: "the state was not written down".into() });
    }
    remote.verify(stream, &state).await
}
