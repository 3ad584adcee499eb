//! What the site answers.
//!
//! It refuses to put a password into an address: a page that signs in is handed it once.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::SessionKind;
use serde::Deserialize;
use serde_json::json;

use super::{PERSISTENT_COOKIE, Report, SESSION_COOKIE, Shared};

const PAGE: &str = include_str!("page.html");
/// How long a page waits for the extension of the rig.
const EXTENSION_MS: u32 = 3000;
/// A worker that leaves every request alone.
const WORKER: &str = "self.addEventListener('activate', () => self.clients.claim());\n";

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/page", get(page))
        .route("/worker.js", get(worker))
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/whoami", get(whoami))
        .route("/report", post(report))
        .with_state(shared)
}

#[derive(Deserialize)]
struct Run {
    run: String,
}

async fn page(State(site): State<Arc<Shared>>, Query(query): Query<Run>) -> Response {
    let login = site.state().logins.remove(&query.run).map(|login| {
        json!({
            "user": site.user,
            "password": site.password,
            "client": login.client,
            "canary": login.canary,
        })
    });
    let page = PAGE
        .replace("__RUN__", &script(&json!(query.run)))
        .replace("__LOGIN__", &script(&json!(login)))
        .replace("__EXTENSION_MS__", &EXTENSION_MS.to_string());
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (headers, page).into_response()
}

/// A value that may stand inside a script element.
fn script(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

async fn worker() -> Response {
    ([(CONTENT_TYPE, "text/javascript")], WORKER).into_response()
}

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
    client: String,
}

async fn login(State(site): State<Arc<Shared>>, Json(given): Json<Credentials>) -> Response {
    if given.user != site.user || given.password != site.password {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some(id) = secret() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    if let Err(error) = site.begin(id.clone(), SessionKind::Web, &given.client).await {
        return (StatusCode::FORBIDDEN, format!("{error:#}\n")).into_response();
    }
    let lasting = format!("{PERSISTENT_COOKIE}={id}; HttpOnly; SameSite=Lax; Max-Age=2592000");
    let passing = format!("{SESSION_COOKIE}={id}; HttpOnly; SameSite=Lax");
    (StatusCode::OK, AppendHeaders([(SET_COOKIE, lasting), (SET_COOKIE, passing)])).into_response()
}

async fn me(State(site): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let admitted = [PERSISTENT_COOKIE, SESSION_COOKIE]
        .iter()
        .filter_map(|name| cookie(&headers, name))
        .any(|id| site.admits(&id));
    if admitted {
        Json(json!({ "user": site.user })).into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn whoami(State(site): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = given.and_then(|value| value.strip_prefix("Bearer "));
    match key {
        Some(key) if site.api_key.as_deref() == Some(key) && site.admits(key) => {
            Json(json!({ "user": site.user })).into_response()
        }
        Some(_) | None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn report(
    State(site): State<Arc<Shared>>,
    Query(query): Query<Run>,
    headers: HeaderMap,
    Json(mut report): Json<Report>,
) -> StatusCode {
    // The page cannot see these: they are HttpOnly.
    report.persistent_cookie = cookie(&headers, PERSISTENT_COOKIE).is_some();
    report.session_cookie = cookie(&headers, SESSION_COOKIE).is_some();
    site.state().reports.insert(query.run, report);
    site.reported.notify_all();
    StatusCode::NO_CONTENT
}

impl Shared {
    fn admits(&self, id: &str) -> bool {
        let session = self.state().sessions.get(id).cloned();
        session.is_some_and(|session| self.watch.admits(&self.user, &session.id, session.seq))
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let sent = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

fn secret() -> Option<String> {
    let mut bytes = [0_u8; 24];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    (filled == bytes.len()).then(|| URL_SAFE_NO_PAD.encode(bytes))
}
