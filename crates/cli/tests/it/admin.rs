//! Operators' commands against a hub that the test plays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use exeunt_api::SignOutRequest;
use exeunt_ssf::SigningKey;
use serde_json::{Value, json};

use crate::schema::check;
use crate::stage::{Ran, Stage};

const TOKEN: &str = "operator-token";

struct Hub {
    url: String,
    asked: Arc<Mutex<Vec<SignOutRequest>>>,
    _runtime: tokio::runtime::Runtime,
}

type Shared = State<Arc<Mutex<Vec<SignOutRequest>>>>;

fn hub() -> Hub {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked: Arc<Mutex<Vec<SignOutRequest>>> = Arc::default();
    let app = Router::new()
        .route("/v1/devices", get(devices))
        .route("/v1/operator", get(operator))
        .route("/v1/device-tokens", post(token))
        .route("/v1/sessions", get(sessions))
        .route("/v1/transmitters", get(transmitters).post(transmitter))
        .route("/v1/transmitters/{id}", delete(|| async { StatusCode::NO_CONTENT }))
        .route("/v1/sign-out", post(sign_out))
        .route("/v1/txn/{txn}", get(|| async { Json(state("fenced")) }))
        .route("/v1/txn/{txn}/events", get(events))
        .route("/v1/alarms", get(alarms))
        .route("/v1/audit", get(audit))
        .route("/v1/audit/verify", get(|| async { Json(audit_verdict()) }))
        .with_state(Arc::clone(&asked));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await });
    Hub { url, asked, _runtime: runtime }
}

impl Hub {
    fn run(&self, stage: &Stage, arguments: &[&str]) -> Ran {
        let mut command = stage.command(arguments);
        command.env("EXEUNT_HUB", &self.url).env("EXEUNT_ADMIN_TOKEN", TOKEN);
        Ran::of(&command.output().unwrap())
    }
}

async fn devices(headers: HeaderMap) -> Response {
    if headers.get("authorization").unwrap() != &format!("Bearer {TOKEN}") {
        let error =
            json!({"v": 1, "error": {"code": "unauthorized", "message": "who?", "hint": null}});
        return (StatusCode::UNAUTHORIZED, Json(error)).into_response();
    }
    let key = SigningKey::generate().unwrap();
    Json(json!({"v": 1, "devices": [{
        "id": "occ-07", "epoch": 1, "enrolled": 1, "last_seen": null,
        "device_kid": key.kid(), "device_jwk": key.jwk(), "receipts": 0, "waiting": 1
    }]}))
    .into_response()
}

async fn operator(headers: HeaderMap) -> Response {
    let refused = devices(headers).await;
    if refused.status() != StatusCode::OK {
        return refused;
    }
    Json(json!({"v": 1, "name": "olive", "roles": ["viewer", "responder"], "expires": null}))
        .into_response()
}

async fn token(Json(request): Json<Value>) -> Json<Value> {
    assert_eq!(request, json!({ "name": "occ-07", "ttl_s": 60 }));
    Json(json!({ "v": 1, "token": "exeunt-enroll-x", "expires": 60_000 }))
}

fn transmitter_info(link: &Value) -> Value {
    let mut info = json!({
        "v": 1, "id": "t1", "issuer": "https://idp.example", "aud": "hub", "clients": [],
        "jwks_uri": null, "may_speak_about": { "issuers": [], "domains": ["corp.example"] },
        "tier_ceiling": "sign-out", "rate_per_hour": 60, "delivery": "push",
        "stream": { "status": "paused", "reason": "maintenance", "at": 1, "awaiting_since": null,
            "verified_at": null },
        "endpoint_url": "https://hub.example/ssf/receive/t1"
    });
    if link.is_object() {
        info["link"] = link.clone();
        info["delivery"] = "poll".into();
    }
    info
}

async fn transmitters() -> Json<Value> {
    let down = json!({ "state": "down", "since": 1, "error": "no answer" });
    Json(
        json!({ "v": 1, "transmitters": [transmitter_info(&Value::Null), transmitter_info(&down)] }),
    )
}

async fn transmitter(Json(request): Json<exeunt_api::TransmitterRequest>) -> Json<Value> {
    let Some(poll) = request.poll else {
        assert!(request.with_token && request.jwks_uri.is_some() && request.clients == ["shop"]);
        let mut info = transmitter_info(&Value::Null);
        info["authorization_header"] = "Bearer x".into();
        return Json(info);
    };
    assert_eq!((poll.client_id.as_deref(), poll.client_secret.as_deref()), (Some("c"), Some("s")));
    assert_eq!(request.issuer, None);
    Json(transmitter_info(&json!({ "state": "connecting", "since": 1, "error": null })))
}

fn session() -> Value {
    json!({
        "id": "00112233aabbccdd", "subject": {"format": "opaque", "id": "alice"}, "kind": "web",
        "aud": "site", "place": "site", "label": "Chromium on occ-07", "device": "occ-07",
        "seq": 3, "auth_time": 1, "since": 1, "last_seen": 2, "status": "active",
        "proof": null, "revoked_by": null
    })
}

async fn sessions(Query(query): Query<HashMap<String, String>>) -> Response {
    if query["subject"] == "mallory" {
        let error = json!({"v": 1, "error": {"code": "forbidden", "message": "no", "hint": "ask"}});
        return (StatusCode::FORBIDDEN, Json(error)).into_response();
    }
    Json(json!({ "v": 1, "sessions": [session()] })).into_response()
}

async fn sign_out(State(asked): Shared, Json(request): Json<SignOutRequest>) -> Json<Value> {
    let txn = (!request.preview).then_some("t1");
    asked.lock().unwrap().push(request);
    Json(json!({
        "v": 1, "txn": txn, "seq": 4, "sessions": [session()], "devices": ["occ-07"],
        "outcome": "requested", "digest": "ab"
    }))
}

fn state(outcome: &str) -> Value {
    json!({"v": 1, "txn": "t1", "outcome": outcome, "targets": [
        {"kind": "device", "id": "occ-07", "outcome": outcome, "at": 5, "detail": null}
    ]})
}

async fn events(Path(txn): Path<String>) -> Response {
    let last = if txn == "t1" { "verified" } else { "partial" };
    let body: String = ["requested", "fenced", "fenced", last]
        .iter()
        .map(|outcome| format!("data: {}\n\n", state(outcome)))
        .collect();
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn audit(Query(query): Query<HashMap<String, String>>) -> String {
    let after: u64 = query["after"].parse().unwrap();
    (after + 1..=3)
        .take(2)
        .map(|seq| {
            let row = match seq {
                1 => json!({
                    "seq": seq, "at": 1, "actor": "admin:ada", "action": "sign-out",
                    "source_device": null, "subject": "alice", "txn": "t1", "reason": "lost",
                    "sessions": ["0011"], "detail": {"devices": ["occ-07"]}, "hash": "00"
                }),
                2 => json!({
                    "seq": seq, "at": 1, "actor": "device:occ-07", "action": "receipt",
                    "source_device": "occ-07", "subject": "alice", "txn": "t1", "reason": null,
                    "sessions": [], "detail": {"outcome": "partial", "chain": "chain_gap"},
                    "hash": "01"
                }),
                _ => json!({
                    "seq": seq, "at": 1, "actor": "hub", "action": "start", "source_device": null,
                    "subject": null, "txn": null, "reason": null, "sessions": [], "detail": {},
                    "hash": "02"
                }),
            };
            format!("{row}\n")
        })
        .collect()
}

async fn alarms(Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let alarm = json!({
        "seq": 7, "at": 1, "kind": "receipt-missing", "device": "occ-07", "txn": "t1",
        "detail": "receipts of this device are missing before this one"
    });
    let all = if query.contains_key("before") { vec![] } else { vec![alarm] };
    Json(json!({ "v": 1, "alarms": all }))
}

fn audit_verdict() -> Value {
    json!({"v": 1, "verified": false, "rows": 2, "head_seq": 3, "reason": "row 3 is missing"})
}

#[test]
fn transmitters_are_added_listed_and_removed_and_alarms_are_said() {
    let (hub, stage) = (hub(), Stage::empty());
    let secret = stage.dir.path().join("secret");
    std::fs::write(&secret, "s\n").unwrap();
    let base = ["admin", "transmitter", "add", "--about-domain", "corp.example"];
    let poll = ["--poll", "https://idp.example", "--client-id", "c", "--client-secret-file"];
    let poll = [&base[..], &poll[..], &[secret.to_str().unwrap()]].concat();
    check("admin-transmitter", &hub.run(&stage, &[&poll[..], &["--json"]].concat()).json());
    let ran = hub.run(&stage, &poll);
    assert!(ran.out.contains("is polled, as t1"), "{}", ran.out);
    let push = ["--issuer", "https://idp.example", "--jwks-uri", "https://idp.example/jwks"];
    let push = [&base[..], &push[..], &["--client", "shop", "--with-token"]].concat();
    check("admin-transmitter", &hub.run(&stage, &[&push[..], &["--json"]].concat()).json());
    let ran = hub.run(&stage, &push);
    assert!(ran.out.contains("/ssf/receive/t1") && ran.out.contains("Bearer x"));
    let list = ["admin", "transmitter", "list"];
    let ran = hub.run(&stage, &[&list[..], &["--json"]].concat());
    check("admin-transmitter-list", &ran.json());
    let ran = hub.run(&stage, &list);
    assert!(ran.out.contains("ALARM: the transmitter paused the stream (maintenance)"));
    assert!(ran.out.contains("ALARM: polled, down since"), "{}", ran.out);
    assert_eq!(hub.run(&stage, &["admin", "transmitter", "remove", "t1"]).code, 0);
    // Nobody, everybody, both, or a secret on the command line.
    for wrong in [
        vec!["admin", "transmitter", "add", "--poll", "https://x.example"],
        vec!["admin", "transmitter", "add", "--about-domain", "x.example"],
        [&poll[..], &["--issuer", "https://x.example"]].concat(),
        [&base[..], &["--poll", "https://x.example", "--client-secret", "s"]].concat(),
    ] {
        assert_eq!(hub.run(&stage, &wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn devices_and_tokens_are_listed_and_made() {
    let (hub, stage) = (hub(), Stage::empty());
    check("admin-device-list", &hub.run(&stage, &["admin", "device", "list", "--json"]).json());
    let arguments = ["admin", "device", "token", "--name", "occ-07", "--ttl", "60"];
    let ran = hub.run(&stage, &arguments);
    assert_eq!(ran.out, "exeunt-enroll-x\n", "the token alone, for redirection");
    let with_json: Vec<&str> = arguments.into_iter().chain(["--json"]).collect();
    check("admin-device-token", &hub.run(&stage, &with_json).json());
}

#[test]
fn sessions_are_listed_and_a_refusal_of_the_hub_exits_5() {
    let (hub, stage) = (hub(), Stage::empty());
    let list = ["admin", "session", "list", "--json", "--subject"];
    let alice: Vec<&str> = list.into_iter().chain(["alice"]).collect();
    check("admin-session-list", &hub.run(&stage, &alice).json());
    let mallory: Vec<&str> = list.into_iter().chain(["mallory"]).collect();
    let ran = hub.run(&stage, &mallory);
    assert_eq!(ran.code, 5, "{ran:?}");
    check("error", &ran.json());
    assert_eq!(ran.json()["error"]["hint"], "ask");
}

#[test]
fn a_preview_asks_for_a_preview_and_a_sign_out_does_not() {
    let (hub, stage) = (hub(), Stage::empty());
    let base = ["admin", "sign-out", "--subject", "alice", "--device", "occ-07", "--json"];
    let preview: Vec<&str> = base.into_iter().chain(["--preview"]).collect();
    check("admin-sign-out", &hub.run(&stage, &preview).json());
    let ran = hub.run(&stage, &base);
    assert_eq!(ran.code, 0, "the hub has committed: {ran:?}");
    check("admin-sign-out", &ran.json());
    let asked = hub.asked.lock().unwrap();
    assert_eq!(asked.iter().map(|r| r.preview).collect::<Vec<_>>(), [true, false]);
    assert!(asked.iter().all(|r| r.device.as_ref().unwrap().as_str() == "occ-07"));
}

#[test]
fn following_prints_one_line_a_change_and_exits_by_the_outcome() {
    let (hub, stage) = (hub(), Stage::empty());
    for (txn, last, code) in [("t1", "verified", 0), ("t2", "partial", 3)] {
        let ran = hub.run(&stage, &["admin", "txn", "show", txn, "--follow", "--json"]);
        assert_eq!(ran.code, code, "{ran:?}");
        let lines: Vec<Value> =
            ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().for_each(|line| check("txn", line));
        let outcomes: Vec<&str> = lines.iter().map(|l| l["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["requested", "fenced", last]);
    }
    let ran = hub.run(&stage, &["admin", "sign-out", "--subject", "alice", "--follow", "--json"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 4), "{ran:?}");
}

#[test]
fn showing_an_unfinished_transaction_is_an_answer() {
    let (hub, stage) = (hub(), Stage::empty());
    let ran = hub.run(&stage, &["admin", "txn", "show", "t1", "--json"]);
    assert_eq!(ran.code, 0);
    check("txn", &ran.json());
}

#[test]
fn the_audit_is_exported_page_by_page_and_a_broken_chain_exits_1() {
    let (hub, stage) = (hub(), Stage::empty());
    let ran = hub.run(&stage, &["admin", "audit", "export"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    rows.iter().for_each(|row| check("admin-audit-entry", row));
    assert_eq!(rows.iter().map(|r| r["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    let ran = hub.run(&stage, &["admin", "audit", "verify", "--json"]);
    assert_eq!(ran.code, 1);
    check("admin-audit-verify", &ran.json());
}

#[test]
fn an_export_for_other_systems_has_what_their_schema_requires() {
    let (hub, stage) = (hub(), Stage::empty());
    let ran = hub.run(&stage, &["admin", "audit", "export", "--format", "ocsf"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let events: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    events.iter().for_each(|event| check("admin-audit-ocsf", event));
    let types: Vec<_> = events.iter().map(|event| event["type_uid"].as_u64().unwrap()).collect();
    assert_eq!(types, [300_202, 700_102, 99]);
    assert_eq!(events[0]["session"]["expiration_reason"], "revoked");
    assert_eq!((&events[1]["status"], &events[1]["severity_id"]), (&"Partial".into(), &3.into()));
    assert_eq!(events[1]["command_uid"], "t1");

    let ran = hub.run(&stage, &["admin", "audit", "export", "--format", "rfc5424", "--after", "1"]);
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(
        lines[0].starts_with("<108>1 1970-01-01T00:00:00.001Z 127.0.0.1 exeunt-hub - receipt [")
    );
    assert!(lines[1].starts_with("<109>1 ") && lines.len() == 2, "{ran:?}");
}

#[test]
fn alarms_are_listed_and_any_exits_1() {
    let (hub, stage) = (hub(), Stage::empty());
    let ran = hub.run(&stage, &["admin", "alarm", "list", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    check("admin-alarm-list", &ran.json());
    let ran = hub.run(&stage, &["admin", "alarm", "list"]);
    assert!(ran.out.contains("receipt-missing at occ-07: receipts"), "{ran:?}");
    let ran = hub.run(&stage, &["admin", "alarm", "list", "--before", "7"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Nothing to look at.\n"));
}

#[test]
fn whoami_says_the_name_and_the_roles() {
    let (hub, stage) = (hub(), Stage::empty());
    let who = hub.run(&stage, &["admin", "operator", "whoami", "--json"]);
    assert_eq!(who.code, 0, "{who:?}");
    check("admin-operator", &who.json());
}

#[test]
fn login_keeps_a_good_token_in_a_file_of_its_owner_and_refuses_a_bad_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let (hub, stage) = (hub(), Stage::empty());
    let login = ["admin", "login", "--hub", &hub.url, "--json"];
    let bad = stage.run_with_input(&login, "wrong\n");
    assert_eq!(bad.code, 5, "{bad:?}");
    let file = stage.dir.path().join("config/exeunt/admin.json");
    assert!(!file.exists(), "a token that the hub refused is not kept");
    let good = stage.run_with_input(&login, &format!("{TOKEN}\n"));
    assert_eq!(good.code, 0, "{good:?}");
    check("admin-login", &good.json());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(stage.run(&["admin", "device", "list"]).code, 0);
}

#[test]
fn a_stored_token_is_not_sent_to_another_hub() {
    let (one, other, stage) = (hub(), hub(), Stage::empty());
    let login = ["admin", "login", "--hub", &one.url];
    assert_eq!(stage.run_with_input(&login, TOKEN).code, 0);
    let mut command = stage.command(&["admin", "device", "list", "--json"]);
    let ran = Ran::of(&command.env("EXEUNT_HUB", &other.url).output().unwrap());
    assert_eq!(ran.json()["error"]["code"], "not_logged_in");
}

#[test]
fn a_hub_that_is_not_there_exits_4_and_another_machine_is_a_usage_error() {
    let stage = Stage::empty();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, code) in [(format!("http://{nobody}"), 4), ("http://hub.example".to_owned(), 2)] {
        let mut command = stage.command(&["admin", "device", "list", "--json"]);
        command.env("EXEUNT_HUB", &url).env("EXEUNT_ADMIN_TOKEN", TOKEN);
        let ran = Ran::of(&command.output().unwrap());
        assert_eq!(ran.code, code, "{url}: {ran:?}");
        check("error", &ran.json());
    }
}
