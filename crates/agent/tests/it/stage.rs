//! An agent with a warden and a hub that the test plays.

mod hub;
mod warden;

use exeunt_agent::Settings;
use exeunt_domain::{Jti, Proof, SessionId, Subject, Timestamp};
use exeunt_ipc::AgentClient;
use exeunt_ipc::message::{AgentAnswer, AgentRequest, ConsoleSession, UplinkRoute, UplinkSet};
use tempfile::TempDir;

use hub::FakeHub;
pub(crate) use warden::Asked;
use warden::FakeWarden;

pub(crate) struct Stage {
    pub(crate) warden: FakeWarden,
    pub(crate) hub: FakeHub,
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
        };
        let warden = FakeWarden::new(&settings.warden_socket, enrolled_with);
        tokio::spawn(async move {
            exeunt_agent::serve(&settings, std::future::pending()).await.unwrap();
        });
        Self { warden, hub, dir }
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
