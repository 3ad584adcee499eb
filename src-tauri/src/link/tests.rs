//! The conversations against a warden and an agent that answer from a script, over real sockets.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use exeunt_domain::Outcome;
use exeunt_ipc::message::{Call, Progress};
use exeunt_ipc::{read_frame, write_frame};

use super::*;
use crate::model::fixtures;
use crate::view;

/// Serves `answers(request)` to every call on `socket`, one thread a connection.
fn serve<Request, Answer>(
    socket: &Path,
    answers: impl Fn(Request) -> Vec<Answer> + Clone + Send + 'static,
) where
    Request: serde::de::DeserializeOwned + 'static,
    Answer: serde::Serialize + 'static,
{
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answers = answers.clone();
            thread::spawn(move || {
                while let Ok(call) = read_frame::<Call<Request>>(&mut stream) {
                    for answer in answers(call.request) {
                        if write_frame(&mut stream, &answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
}

fn sockets(dir: &tempfile::TempDir) -> Sockets {
    Sockets::within(dir.path())
}

fn open(sockets: &Sockets) -> (Arc<Link>, Receiver<View>) {
    let (send, views) = mpsc::channel();
    let link = Link::open(sockets.clone(), Start::Status, move |view| {
        let _ = send.send(view);
    });
    (link, views)
}

/// The first view that is as wanted.
fn wait(views: &Receiver<View>, wanted: impl Fn(&View) -> bool) -> View {
    loop {
        let view = views.recv_timeout(Duration::from_secs(20)).expect("no such view came");
        if wanted(&view) {
            return view;
        }
    }
}

fn serve_agent(sockets: &Sockets) {
    serve(&sockets.agent, |request: AgentRequest| {
        vec![match request {
            AgentRequest::Status => AgentAnswer::Status(fixtures::link(true)),
            AgentRequest::HubSessions => AgentAnswer::Sessions { sessions: fixtures::sessions() },
            AgentRequest::TxnState { txn: _ } => AgentAnswer::Txn(fixtures::txn(Outcome::Verified)),
        }]
    });
}

#[test]
fn says_that_nobody_listens_and_recovers_when_someone_does() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = sockets(&dir);
    let (link, views) = open(&sockets);
    let away = wait(&views, |view| view.warden != view::Warden::Asking);
    let why = Unreachable::NotRunning;
    assert_eq!(away.warden, view::Warden::Unreachable { why });

    serve(&sockets.warden, |_: WardenRequest| vec![WardenAnswer::Status(fixtures::status())]);
    link.refresh_soon();
    wait(&views, |view| view.warden == view::Warden::Ready);
}

#[test]
fn carries_the_order_to_its_end_and_asks_the_hub_for_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = sockets(&dir);
    serve_agent(&sockets);
    let (asked, orders) = mpsc::channel();
    serve(&sockets.warden, move |request: WardenRequest| {
        if let WardenRequest::Preview { tier: _ } = request {
            return vec![WardenAnswer::Preview(fixtures::preview())];
        }
        let WardenRequest::SignOutEverywhere { surface, digest, reason: _ } = request else {
            return vec![WardenAnswer::Status(fixtures::status())];
        };
        asked.send((surface, digest)).unwrap();
        let progress = Progress {
            txn: fixtures::TXN.parse().unwrap(),
            outcome: Outcome::Fenced,
            hub_committed: Some(true),
            step: None,
        };
        vec![
            WardenAnswer::Progress(progress),
            WardenAnswer::Closed(fixtures::closed(Outcome::Verified, true)),
        ]
    });

    let (link, views) = open(&sockets);
    wait(&views, |view| view.places.is_some());
    link.ask_preview();
    wait(&views, |view| matches!(view.preview, view::PreviewState::Ready { .. }));
    link.sign_out();
    let done = wait(&views, |view| view.run.as_ref().is_some_and(|run| run.ended_ms.is_some()));

    let run = done.run.unwrap();
    assert_eq!(run.outcome, Some(view::Outcome::Verified));
    assert_eq!(run.commit, view::Commit::Committed);
    assert_eq!(orders.recv().unwrap(), ("tray".into(), Some(fixtures::preview().digest)));
    assert!(orders.try_recv().is_err(), "the order goes out once");
}

#[test]
fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let sockets = sockets(&dir);
    let listener = UnixListener::bind(&sockets.warden).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let call = read_frame::<Call<WardenRequest>>(&mut stream).unwrap();
            if call.request == WardenRequest::Status {
                write_frame(&mut stream, &WardenAnswer::Status(fixtures::status())).unwrap();
            }
        }
    });
    let (link, views) = open(&sockets);
    wait(&views, |view| view.warden == view::Warden::Ready);
    link.sign_out();
    let view = wait(&views, |view| view.run.as_ref().is_some_and(|run| run.ended_ms.is_some()));
    let run = view.run.unwrap();
    assert_eq!(run.outcome, None);
    assert!(run.problem.is_some());
}
