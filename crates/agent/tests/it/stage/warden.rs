//! A warden that answers as the test says.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use exeunt_domain::Jti;
use exeunt_ipc::message::{Call, ConsoleSession, UplinkSet, WardenAnswer, WardenRequest};
use exeunt_ipc::{read_frame, write_frame};
use tokio::sync::mpsc as tokio_mpsc;

/// A request that waits for the test to answer it.
pub(crate) struct Asked {
    pub(crate) request: WardenRequest,
    pub(crate) answer: mpsc::Sender<WardenAnswer>,
}

#[derive(Default)]
struct Facts {
    sessions: Vec<ConsoleSession>,
    outbox: Vec<UplinkSet>,
    connections: Vec<UnixStream>,
    up: bool,
}

struct Shared {
    facts: Mutex<Facts>,
    changed: Condvar,
    delivers: tokio_mpsc::UnboundedSender<Asked>,
    results: tokio_mpsc::UnboundedSender<(Vec<Jti>, BTreeMap<Jti, String>)>,
}

pub(crate) struct FakeWarden {
    socket: PathBuf,
    shared: Arc<Shared>,
    delivers: tokio_mpsc::UnboundedReceiver<Asked>,
    results: tokio_mpsc::UnboundedReceiver<(Vec<Jti>, BTreeMap<Jti, String>)>,
}

impl FakeWarden {
    pub(crate) fn new(socket: &Path) -> Self {
        let (delivers_in, delivers) = tokio_mpsc::unbounded_channel();
        let (results_in, results) = tokio_mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            facts: Mutex::default(),
            changed: Condvar::new(),
            delivers: delivers_in,
            results: results_in,
        });
        let warden = Self { socket: socket.to_owned(), shared, delivers, results };
        warden.start();
        warden
    }

    pub(crate) fn start(&self) {
        self.shared.facts.lock().unwrap().up = true;
        let listener = UnixListener::bind(&self.socket).unwrap();
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut facts = shared.facts.lock().unwrap();
                if !facts.up {
                    return;
                }
                facts.connections.push(stream.try_clone().unwrap());
                drop(facts);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
    }

    /// Goes away as a killed process does: every connection breaks, nobody listens.
    pub(crate) fn stop(&self) {
        let mut facts = self.shared.facts.lock().unwrap();
        facts.up = false;
        for connection in facts.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(facts);
        self.shared.changed.notify_all();
        // Wakes the listener, which then sees that it is down.
        let _ = UnixStream::connect(&self.socket);
        #[expect(clippy::disallowed_methods, reason = "the fake's own socket")]
        std::fs::remove_file(&self.socket).unwrap();
    }

    pub(crate) async fn deliver(&mut self) -> Asked {
        let wait = Duration::from_secs(20);
        tokio::time::timeout(wait, self.delivers.recv()).await.expect("no delivery").unwrap()
    }

    pub(crate) async fn results(&mut self) -> (Vec<Jti>, BTreeMap<Jti, String>) {
        let wait = Duration::from_secs(20);
        tokio::time::timeout(wait, self.results.recv()).await.expect("no results").unwrap()
    }

    pub(crate) fn uplink(&self, sets: Vec<UplinkSet>) {
        self.shared.facts.lock().unwrap().outbox.extend(sets);
        self.shared.changed.notify_all();
    }

    pub(crate) fn sessions(&self, sessions: Vec<ConsoleSession>) {
        self.shared.facts.lock().unwrap().sessions = sessions;
    }
}

fn serve(shared: &Shared, mut stream: UnixStream) {
    while let Ok(call) = read_frame::<Call<WardenRequest>>(&mut stream) {
        let Some(answer) = answer(shared, call.request) else { return };
        if write_frame(&mut stream, &answer).is_err() {
            return;
        }
    }
}

/// None: the connection breaks without an answer.
#[expect(clippy::wildcard_enum_match_arm, reason = "an agent has no other business")]
fn answer(shared: &Shared, request: WardenRequest) -> Option<WardenAnswer> {
    match request {
        WardenRequest::Deliver { .. } => {
            let (answer, answered) = mpsc::channel();
            shared.delivers.send(Asked { request, answer }).unwrap();
            answered.recv().ok()
        }
        WardenRequest::TakeUplink => {
            let mut facts = shared.facts.lock().unwrap();
            while facts.outbox.is_empty() && facts.up {
                facts = shared.changed.wait(facts).unwrap();
            }
            facts.up.then(|| WardenAnswer::Uplink { sets: facts.outbox.clone() })
        }
        WardenRequest::UplinkResult { accepted, refused } => {
            let mut facts = shared.facts.lock().unwrap();
            facts
                .outbox
                .retain(|set| !accepted.contains(&set.jti) && !refused.contains_key(&set.jti));
            shared.results.send((accepted, refused)).unwrap();
            Some(WardenAnswer::Done)
        }
        WardenRequest::SessionsOf { .. } => {
            let sessions = shared.facts.lock().unwrap().sessions.clone();
            Some(WardenAnswer::Sessions { sessions })
        }
        other => panic!("the agent asked {other:?}"),
    }
}
