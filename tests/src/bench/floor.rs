//! The floor under an order: one durable write behind one loopback round trip.
//!
//! It refuses to do less than the hub must: the answer leaves after the disk has confirmed.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use reqwest::blocking::Client;

/// As much as a small transaction writes.
const RECORD: [u8; 4096] = [0x5a; 4096];

/// A bare server that answers after an fsync, and a client of it.
pub(super) struct Floor {
    client: Client,
    address: String,
    body: String,
}

impl Floor {
    /// Serves on a thread of its own, writing into `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let file = File::create(dir.join("floor"))?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}/", listener.local_addr()?);
        let routes = Router::new().route("/", post(write)).with_state(Arc::new(Mutex::new(file)));
        std::thread::Builder::new().name("floor".into()).spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, routes).await.context("the floor's server")
            })
        })?;
        let client = crate::http::client(Duration::from_secs(10))?;
        let body = serde_json::json!({ "subject": "alice", "reason": "floor" }).to_string();
        Ok(Self { client, address, body })
    }

    /// One round, in milliseconds.
    pub(super) fn round(&self) -> Result<f64> {
        let begun = Instant::now();
        let answer = self.client.post(&self.address).body(self.body.clone()).send()?;
        ensure!(answer.status() == 204, "the floor answered {}", answer.status());
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }
}

async fn write(State(file): State<Arc<Mutex<File>>>) -> StatusCode {
    let written = {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&RECORD).and_then(|()| file.sync_all())
    };
    match written {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
