//! A hub that answers as the test says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use exeunt_domain::order::ENROLLED_EVENT;
use exeunt_domain::{Jti, Timestamp};
use exeunt_ssf::{PollRequest, PollResponse, Set, SetErr, SigningKey};
use serde_json::json;
use tokio::sync::watch;

#[derive(Default)]
struct Facts {
    /// SETs that were not acknowledged.
    waiting: BTreeMap<Jti, String>,
    acks: Vec<Jti>,
    errors: BTreeMap<Jti, SetErr>,
    pushed: Vec<String>,
    refusals: HashMap<String, String>,
    subjects: Vec<String>,
    broken: bool,
    turned_away: u32,
    polls: u32,
}

#[derive(Clone)]
struct Shared {
    facts: Arc<Mutex<Facts>>,
    changed: watch::Sender<u64>,
}

pub(crate) struct FakeHub {
    url: String,
    shared: Shared,
}

impl FakeHub {
    pub(crate) async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { facts: Arc::default(), changed: watch::Sender::new(0) };
        let app = Router::new()
            .route("/oauth/token", post(token))
            .route("/ssf/poll", post(poll))
            .route("/ssf/events", post(events))
            .route("/v1/enroll", post(|| async { enrolled() }))
            .route("/v1/device/sessions", get(sessions))
            .with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn send(&self, name: &str) {
        self.change(|facts| {
            facts.waiting.insert(Jti::parse(name).unwrap(), format!("set-{name}"));
        });
    }

    pub(crate) fn refuse(&self, set: &str, code: &str) {
        self.change(|facts| {
            facts.refusals.insert(set.into(), code.into());
        });
    }

    pub(crate) fn break_down(&self) {
        self.change(|facts| facts.broken = true);
    }

    pub(crate) fn repair(&self) {
        self.change(|facts| facts.broken = false);
    }

    pub(crate) fn acks_so_far(&self) -> Vec<Jti> {
        self.shared.facts.lock().unwrap().acks.clone()
    }

    pub(crate) fn pushed(&self) -> Vec<String> {
        self.shared.facts.lock().unwrap().pushed.clone()
    }

    pub(crate) fn subjects_asked(&self) -> Vec<String> {
        self.shared.facts.lock().unwrap().subjects.clone()
    }

    pub(crate) async fn acked(&self, names: &[&str]) {
        let names: Vec<Jti> = names.iter().map(|name| Jti::parse(*name).unwrap()).collect();
        self.wait(|facts| facts.acks == names).await;
    }

    pub(crate) async fn refused(&self) -> BTreeMap<Jti, SetErr> {
        self.wait(|facts| !facts.errors.is_empty()).await;
        self.shared.facts.lock().unwrap().errors.clone()
    }

    pub(crate) async fn turned_away(&self) {
        self.wait(|facts| facts.turned_away > 0).await;
    }

    pub(crate) async fn polled(&self) {
        self.wait(|facts| facts.polls > 0).await;
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        self.shared.change(change);
    }

    async fn wait(&self, until: impl Fn(&Facts) -> bool) {
        let mut changes = self.shared.changed.subscribe();
        let waiting = async {
            while !until(&self.shared.facts.lock().unwrap()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it did not happen");
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        let changed = change(&mut self.facts.lock().unwrap());
        self.changed.send_modify(|count| *count += 1);
        changed
    }
}

/// The hub's answer to an enrolment. Nobody here verifies it: that is the warden's.
pub(crate) fn enrolled() -> String {
    let event = json!({
        "device": "occ-07", "epoch": 1, "hub_jwks": {"keys": []}, "hub_time": 1,
        "orders_per_hour": 6
    });
    let jti = Jti::parse("enrolled").unwrap();
    let set = Set::new("hub", "occ-07", jti, Timestamp(1), ENROLLED_EVENT, &event).unwrap();
    KEY.sign(&set).unwrap()
}

/// Ed25519 signatures are deterministic: one key gives one answer.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

async fn token() -> Response {
    Json(json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600})).into_response()
}

async fn poll(State(shared): State<Shared>, Json(request): Json<PollRequest>) -> Response {
    let mut changes = shared.changed.subscribe();
    let broken = shared.change(|facts| {
        facts.polls += 1;
        for jti in request.ack.iter().chain(request.set_errs.keys()) {
            facts.waiting.remove(jti);
        }
        facts.acks.extend(request.ack.iter().cloned());
        facts.errors.extend(request.set_errs.clone());
        facts.broken
    });
    if broken {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    loop {
        let sets = shared.facts.lock().unwrap().waiting.clone();
        if !sets.is_empty() || request.return_immediately {
            return Json(PollResponse { sets, more_available: false }).into_response();
        }
        changes.changed().await.unwrap();
    }
}

async fn events(State(shared): State<Shared>, set: String) -> Response {
    shared.change(|facts| {
        if facts.broken {
            facts.turned_away += 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        if let Some(err) = facts.refusals.get(&set) {
            let error = json!({"err": err, "description": ""});
            return (StatusCode::BAD_REQUEST, Json(error)).into_response();
        }
        facts.pushed.push(set);
        StatusCode::ACCEPTED.into_response()
    })
}

async fn sessions(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    shared.change(|facts| facts.subjects.push(query["subject"].clone()));
    Json(json!([{
        "kind": "web", "place": "desk", "label": "Chromium on occ-07", "here": true,
        "since": 1, "last_seen": 2
    }]))
    .into_response()
}
