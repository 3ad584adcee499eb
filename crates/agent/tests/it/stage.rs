//! An agent with a warden and a hub that the test plays.

mod hub;
mod warden;

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use exeunt_agent::Settings;
use exeunt_agent::state::{Enrolment, StateDir};
use exeunt_domain::{DeviceId, Jti, Proof, SessionId, Subject, Timestamp};
use exeunt_ipc::AgentClient;
use exeunt_ipc::message::{AgentAnswer, AgentRequest, ConsoleSession, UplinkRoute, UplinkSet};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use hub::FakeHub;
pub(crate) use hub::enrolled;
pub(crate) use warden::Asked;
use warden::FakeWarden;

pub(crate) struct Stage {
    pub(crate) warden: FakeWarden,
    pub(crate) hub: FakeHub,
    settings: Settings,
    agent: JoinHandle<()>,
    dir: TempDir,
}

impl Stage {
    pub(crate) async fn enrolled() -> Self {
        let hub = FakeHub::new().await;
        let url = hub.url();
        Self::with(hub, Some(url)).await
    }

    pub(crate) async fn unenrolled() -> Self {
        Self::with(FakeHub::new().await, None).await
    }

    async fn with(hub: FakeHub, enrolled_with: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            runtime_dir: dir.path().to_owned(),
            state_dir: dir.path().join("agent"),
            warden_socket: dir.path().join("warden.sock"),
            agent_socket: dir.path().join("agent.sock"),
            trust: exeunt_signal::Trust::Platform,
        };
        let state = StateDir::open(&settings.state_dir).unwrap();
        if let Some(hub) = enrolled_with {
            let device = DeviceId::parse("occ-07").unwrap();
            state.keep_enrolment(&Enrolment { hub, device }).unwrap();
        }
        let warden = FakeWarden::new(&settings.warden_socket);
        let agent = start(&settings);
        Self { warden, hub, settings, agent, dir }
    }

    /// Ends the agent without warning and starts another on the same state.
    pub(crate) fn restart_agent(&mut self) {
        self.agent.abort();
        #[expect(
            clippy::disallowed_methods,
            reason = "the agent's socket in the test's directory"
        )]
        std::fs::remove_file(&self.settings.agent_socket).unwrap();
        self.agent = start(&self.settings);
    }

    /// Sends bytes as they are and reads one answer, if there is one.
    pub(crate) async fn send_agent(&self, bytes: &[u8]) -> Option<AgentAnswer> {
        self.ask_agent(AgentRequest::Status).await;
        let socket = self.dir.path().join("agent.sock");
        let bytes = bytes.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(&bytes).unwrap();
            exeunt_ipc::read_frame(&mut stream).ok()
        })
        .await
        .unwrap()
    }

    pub(crate) async fn ask_agent(&self, request: AgentRequest) -> AgentAnswer {
        let socket = self.dir.path().join("agent.sock");
        tokio::task::spawn_blocking(move || {
            let mut client = loop {
                // The agent is just starting.
                match AgentClient::connect(&socket) {
                    Ok(client) => break client,
                    Err(_) => std::thread::yield_now(),
                }
            };
            client.ask(request).unwrap()
        })
        .await
        .unwrap()
    }
}

fn start(settings: &Settings) -> JoinHandle<()> {
    let settings = settings.clone();
    tokio::spawn(async move {
        exeunt_agent::serve(&settings, std::future::pending()).await.unwrap();
    })
}

pub(crate) fn jti(name: &str) -> Jti {
    Jti::parse(name).unwrap()
}

pub(crate) fn uplink_set(name: &str) -> UplinkSet {
    UplinkSet { jti: jti(name), set: format!("up-{name}"), to: UplinkRoute::Events }
}

pub(crate) fn session(uid: u32, subject: &str) -> ConsoleSession {
    ConsoleSession {
        id: SessionId::parse(format!("s-{subject}")).unwrap(),
        subject: Subject::parse(subject).unwrap(),
        uid,
        proof: Proof::Account,
        since: Timestamp(1),
    }
}
