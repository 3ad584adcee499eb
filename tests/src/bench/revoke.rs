//! Sign-outs at the hub: how long one takes, and how many a second become durable.
//!
//! It refuses to count an answer that is not a transaction, and to register inside the clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::json;

use super::engine::Engine;
use super::wire::Wire;
use super::{Measured, median, p50_p99};
use crate::gateway::{Credentials, LoneHub};

/// How many sign-outs the raw engine puts into one transaction: what 256 clients can have waiting.
const BATCH: usize = 256;
/// How often each is measured, in turn.
const ROUNDS: usize = 3;

pub(super) fn run(quick: bool) -> Result<Measured> {
    let mut measured = Measured::of("revoke");
    let hub = LoneHub::start_with(&["--calls-per-minute", "4000000"])?;
    let desk = Desk::open(&hub)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for sessions in [1, 10, 100] {
        eprintln!("-- revoke: a subject with {sessions} sessions");
        let rounds = if quick { 20 } else { 200 };
        let samples = runtime.block_on(desk.one_by_one(sessions, rounds))?;
        let (p50, p99) = p50_p99(samples);
        measured.figure(&format!("sessions_{sessions}_p50_ms"), p50);
        measured.figure(&format!("sessions_{sessions}_p99_ms"), p99);
    }
    let (mut rates, mut raw) = (BTreeMap::new(), Vec::new());
    let mut engine = Engine::open(hub.data.path(), &hub.data.path().join("hub/hub.db"))?;
    measured.note(
        "the raw engine executes the writes of the same sign-out on the hub's own tables and \
         indices, in transactions of 256, and neither hashes, signs nor answers",
    );
    for round in 0..ROUNDS {
        for clients in [1, 16, BATCH] {
            eprintln!("-- revoke: round {round}, {clients} clients");
            let many = if quick { 8 } else { 32 } * BATCH;
            let count = if clients == 1 { many / 16 } else { many };
            let rate = runtime.block_on(desk.sustained(clients, count))?;
            rates.entry(clients).or_insert_with(Vec::new).push(rate);
        }
        raw.push(engine.rate(BATCH, if quick { 8 } else { 32 })?);
    }
    for (clients, rates) in &rates {
        measured.figure(&format!("clients_{clients}_per_s"), median(rates.clone()));
    }
    let ours = rates.remove(&BATCH).unwrap_or_default();
    let (ours, raw) = (median(ours), median(raw));
    measured.floor("engine_batch_per_s", raw);
    measured.at_least("durable_vs_engine", ours / raw, 0.7);
    Ok(measured)
}

/// An operator and a relying service of one hub.
struct Desk {
    http: reqwest::Client,
    url: String,
    operator: String,
    service: String,
    named: AtomicUsize,
}

impl Desk {
    fn open(hub: &LoneHub) -> Result<Self> {
        let service: Credentials = hub.service("bench")?;
        let http = crate::http::parallel(Duration::from_secs(30))?;
        let (url, operator, service) = (hub.url.clone(), hub.operator(), hub.token(&service)?);
        Ok(Self { http, url, operator, service, named: AtomicUsize::new(0) })
    }

    /// Milliseconds of each sign-out, one after the other.
    async fn one_by_one(&self, sessions: usize, rounds: usize) -> Result<Vec<f64>> {
        let mut samples = Vec::new();
        for _ in 0..rounds {
            let subject = self.subject(sessions).await?;
            let begun = Instant::now();
            self.sign_out(&subject).await?;
            samples.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(samples)
    }

    /// Sign-outs a second of `count` subjects by so many clients at the same time.
    async fn sustained(&self, clients: usize, count: usize) -> Result<f64> {
        let subjects = self.subjects(clients, count).await?;
        let next = AtomicUsize::new(0);
        let connect = (0..clients).map(|_| Wire::connect(self.url.trim_start_matches("http://")));
        let wires = futures_util::future::try_join_all(connect).await?;
        let client = async |mut wire: Wire| {
            while let Some(subject) = subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
                let body = json!({ "subject": subject }).to_string();
                let done = wire.post("/v1/sign-out", &self.operator, &body).await?;
                ensure!(done.contains("\"txn\":"), "{done}");
            }
            anyhow::Ok(())
        };
        let begun = Instant::now();
        futures_util::future::try_join_all(wires.into_iter().map(client)).await?;
        let count = u32::try_from(count).map_or(f64::NAN, f64::from);
        Ok(count / begun.elapsed().as_secs_f64())
    }

    async fn subjects(&self, clients: usize, count: usize) -> Result<Vec<String>> {
        let mut subjects = Vec::with_capacity(count);
        while subjects.len() < count {
            let some = (0..clients.min(count - subjects.len())).map(|_| self.subject(1));
            subjects.extend(futures_util::future::try_join_all(some).await?);
        }
        Ok(subjects)
    }

    /// A fresh subject with so many sessions.
    async fn subject(&self, sessions: usize) -> Result<String> {
        let subject = format!("subject-{}", self.named.fetch_add(1, Ordering::Relaxed));
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        for session in 0..sessions {
            let body = json!({
                "subject": { "format": "opaque", "id": subject }, "kind": "web",
                "session_id": format!("{subject}-{session}"),
                "auth_time": u64::try_from(since.as_millis())?,
            });
            let ask = self.http.post(format!("{}/v1/sessions", self.url)).json(&body);
            let answer = ask.bearer_auth(&self.service).send().await?;
            ensure!(answer.status().is_success(), "registering: {}", answer.text().await?);
        }
        Ok(subject)
    }

    async fn sign_out(&self, subject: &str) -> Result<()> {
        let ask = self.http.post(format!("{}/v1/sign-out", self.url));
        let answer = ask.bearer_auth(&self.operator).json(&json!({ "subject": subject }));
        let answer = answer.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        let done: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        ensure!(status == StatusCode::OK && done["txn"].is_string(), "{status}: {text}");
        Ok(())
    }
}
