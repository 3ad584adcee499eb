//! `agent.sock`: what tray and CLI may ask, answered for the caller's own subject only.
//!
//! It refuses orders of any kind, and to believe a caller about who they are: the kernel says so.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use exeunt_domain::Txn;
use exeunt_ipc::message::{
    AgentAnswer, AgentRequest, Call, Failure, HubSession, Target, TxnState, VERSION, WardenAnswer,
    WardenRequest,
};
use exeunt_ipc::{CodecError, Peer, read_frame, write_frame};
use exeunt_signal::TransportError;
use tokio::runtime::Handle;

use crate::context::{Context, Hub};
use crate::warden::{WardenLine, code_of};

/// At most so many callers at a time.
const MAX_CALLERS: usize = 32;
/// A caller that says nothing for so long is hung up on.
const IDLE: Duration = Duration::from_secs(120);
/// How long the warden may take to say whose session a caller has.
const WARDEN_WITHIN: Duration = Duration::from_secs(5);

/// Listens at `socket`, which anyone on this machine may connect to.
///
/// # Errors
/// When something else listens there already, or the place cannot be used.
pub fn listen(socket: &Path) -> Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(socket) {
        anyhow::ensure!(found.file_type().is_socket(), "{} is no socket", socket.display());
        anyhow::ensure!(
            UnixStream::connect(socket).is_err(),
            "another agent already listens at {}",
            socket.display()
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "the agent's own stale socket, at which nobody listens"
        )]
        std::fs::remove_file(socket).context("removing the socket of an earlier run")?;
    }
    let listener =
        UnixListener::bind(socket).with_context(|| format!("listening at {}", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Answers callers on threads of their own; the network work runs on `runtime`.
///
/// # Errors
/// When no thread can be started.
pub fn serve(
    listener: UnixListener,
    context: Arc<Context>,
    warden: WardenLine,
    runtime: Handle,
) -> std::io::Result<()> {
    let desk = Arc::new(Desk { context, warden, runtime, callers: AtomicUsize::new(0) });
    spawn("agent-socket", move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => desk.receive(stream),
                Err(error) => {
                    tracing::warn!(%error, "a caller could not be received");
                    // Out of descriptors, most likely: let others hang up first.
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(body).map(drop)
}

struct Desk {
    context: Arc<Context>,
    warden: WardenLine,
    runtime: Handle,
    callers: AtomicUsize,
}

/// Counts one caller for as long as it is served.
struct Seat(Arc<Desk>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Desk {
    fn receive(self: &Arc<Self>, stream: UnixStream) {
        let seat = Seat(Arc::clone(self));
        if self.callers.fetch_add(1, Ordering::AcqRel) >= MAX_CALLERS {
            tracing::warn!("too many callers at once");
            return;
        }
        let spawned = spawn("agent-caller", move || {
            if let Err(error) = seat.0.converse(stream) {
                tracing::debug!(%error, "a caller was hung up on");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "a caller could not be served");
        }
    }

    fn converse(&self, mut stream: UnixStream) -> Result<(), CodecError> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(IDLE))?;
        let uid = Peer::of(&stream).map_err(std::io::Error::other)?.uid;
        self.context.hurry();
        loop {
            let call: Call<AgentRequest> = match read_frame(&mut stream) {
                Ok(call) => call,
                Err(CodecError::Closed) => return Ok(()),
                Err(error) => {
                    let why = failure("invalid_request", error.to_string(), None);
                    let _ = write_frame(&mut stream, &why);
                    return Err(error);
                }
            };
            let answer = if call.v == VERSION {
                self.runtime
                    .block_on(self.answer(uid, call.request))
                    .unwrap_or_else(AgentAnswer::Failed)
            } else {
                let message = format!("this agent speaks version {VERSION}, not {}", call.v);
                failure("unsupported_version", message, Some("install both from one release"))
            };
            write_frame(&mut stream, &answer)?;
        }
    }

    async fn answer(&self, uid: u32, request: AgentRequest) -> Result<AgentAnswer, Failure> {
        let subjects = self.subjects_of(uid).await;
        match request {
            AgentRequest::Status => Ok(AgentAnswer::Status(self.context.link())),
            AgentRequest::HubSessions => {
                let subjects = subjects?;
                if subjects.is_empty() {
                    let hint = "begin one with `exeunt session begin --subject S`";
                    return Err(fail("no_session", "nobody is signed in at this console", hint));
                }
                self.sessions(&subjects).await
            }
            AgentRequest::TxnState { txn } => {
                if !self.context.book().may_read(uid, &txn, Instant::now()) {
                    let hint = "an operator sees every transaction with `exeunt admin txn show ID`";
                    return Err(fail("unknown_txn", "no such transaction of yours", hint));
                }
                self.txn(&txn).await
            }
        }
    }

    /// The keys of the caller's own subjects, as the warden knows them.
    async fn subjects_of(&self, uid: u32) -> Result<BTreeSet<String>, Failure> {
        let asked = self.warden.ask(WardenRequest::SessionsOf { uid });
        let answer = tokio::time::timeout(WARDEN_WITHIN, asked).await;
        let Ok(Ok(answer)) = answer else {
            let hint = "is exeunt-warden running? `exeunt doctor` looks";
            return Err(fail("warden_unreachable", "the warden does not answer", hint));
        };
        let WardenAnswer::Sessions { sessions } = answer else {
            let code = code_of(answer);
            let message = format!("the warden does not say whose session this is: {code}");
            return Err(Failure { code, message, hint: None });
        };
        // The warden was asked for one user; hold it to that.
        let subjects: BTreeSet<String> = sessions
            .iter()
            .filter(|session| session.uid == uid)
            .map(|session| session.subject.key())
            .collect();
        self.context.book().learn_sessions(uid, subjects.clone(), Instant::now());
        Ok(subjects)
    }

    async fn sessions(&self, subjects: &BTreeSet<String>) -> Result<AgentAnswer, Failure> {
        let hub = self.hub()?;
        let mut sessions = Vec::new();
        for subject in subjects {
            let query = [("subject", subject)];
            let found: Vec<HubSession> =
                self.read(&hub, exeunt_api::path::DEVICE_SESSIONS, &query).await?;
            sessions.extend(found);
        }
        Ok(AgentAnswer::Sessions { sessions })
    }

    async fn txn(&self, txn: &Txn) -> Result<AgentAnswer, Failure> {
        let hub = self.hub()?;
        let path = exeunt_api::path::device_txn(txn);
        let state: exeunt_api::TxnState = self.read(&hub, &path, &[]).await?;
        let target = |target: exeunt_api::Target| Target {
            kind: target.kind,
            id: target.id,
            outcome: target.outcome,
            at: target.at,
            detail: target.detail,
        };
        let targets = state.targets.into_iter().map(target).collect();
        Ok(AgentAnswer::Txn(TxnState { txn: state.txn, outcome: state.outcome, targets }))
    }

    fn hub(&self) -> Result<Hub, Failure> {
        self.context.hub().borrow().clone().ok_or_else(|| {
            let hint =
                "an operator runs `exeunt admin device token`; root here runs `exeunt enroll`";
            fail("not_enrolled", "this device is not enrolled with a hub", hint)
        })
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        hub: &Hub,
        path: &str,
        query: &[(&str, &String)],
    ) -> Result<T, Failure> {
        let body = hub.client.get_json(path, query).await;
        self.context.attempted(body.as_ref().err());
        let body = body.map_err(|error| hub_failure(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            tracing::error!(%error, "the hub's answer cannot be read");
            fail(
                "hub_answer",
                "the hub's answer cannot be read",
                "are hub and agent of one release?",
            )
        })
    }
}

/// Says what the hub said, or that it cannot be reached.
fn hub_failure(error: &TransportError) -> Failure {
    if let TransportError::Refused { body, .. } = error
        && let Ok(body) = serde_json::from_str::<exeunt_api::ErrorBody>(body)
    {
        let exeunt_api::ErrorDetail { code, message, hint } = body.error;
        return Failure { code, message, hint };
    }
    let hint = "this device closes without it; what waits goes out when the hub is back";
    if error.answered() {
        fail("hub_refused", &error.to_string(), "`exeunt doctor` looks at the enrolment")
    } else {
        fail("hub_unreachable", &error.to_string(), hint)
    }
}

fn fail(code: &str, message: &str, hint: &str) -> Failure {
    Failure { code: code.into(), message: message.into(), hint: Some(hint.into()) }
}

fn failure(code: &str, message: String, hint: Option<&str>) -> AgentAnswer {
    AgentAnswer::Failed(Failure { code: code.into(), message, hint: hint.map(str::to_owned) })
}
