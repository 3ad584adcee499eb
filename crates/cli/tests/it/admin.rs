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
        .route("/v1/connectors", get(connectors).post(add_connector))
        .route("/v1/connectors/corp", axum::routing::delete(|| async { StatusCode::NO_CONTENT }))
        .route("/v1/connectors/{name}/test", post(test_connector))
        .route("/v1/sessions", get(sessions))
        .route("/v1/transmitters", get(transmitters).post(transmitter))
        .route("/v1/transmitters/{id}", delete(|| async { StatusCode::NO_CONTENT }))
        .route("/v1/sign-out", post(sign_out))
        .route("/v1/subject", get(subject))
        .route("/v1/subject/join", post(subject))
        .route("/v1/subject/split", post(subject))
        .route("/v1/playbooks", get(playbooks))
        .route("/v1/playbooks/{playbook}", post(play))
        .route("/v1/followups", get(followups))
        .route("/v1/followups/{id}/tick", post(tick))
        .route("/v1/holds", get(holds).post(held))
        .route("/v1/holds/release", post(held))
        .route("/v1/txn/{txn}/retry", post(|| async { Json(state("requested")) }))
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
    let listed = if request.preview {
        json!([{
            "kind": "federated", "place": "corp", "id": "s", "label": "Firefox", "since": null,
            "last_seen": 2
        }])
    } else {
        json!([])
    };
    asked.lock().unwrap().push(request);
    Json(json!({
        "federated": listed, "not_listed": [{ "place": "slow", "why": "no answer within 2 s" }],
        "cannot": [{ "place": "corp", "what": "access tokens", "until": "they expire" }],
        "v": 1, "txn": txn, "seq": 4, "sessions": [session()], "devices": ["occ-07"],
        "outcome": "requested", "digest": "ab"
    }))
}

async fn subject() -> Json<Value> {
    Json(json!({"v": 1, "subject": {"format": "opaque", "id": "alice"}, "sessions": 2, "aliases": [
        {"alias": "alice", "how": "asked", "by": null, "at": null, "signed_out": null},
        {"alias": "a@corp.example", "how": "operator", "by": "admin:olive", "at": 5, "signed_out": 6}
    ]}))
}

async fn playbooks() -> Json<Value> {
    Json(json!({"v": 1, "playbooks": [
        {"name": "leaver", "when": "Somebody leaves.", "hold": true, "followups": ["Review"]}
    ]}))
}

async fn play(Path(playbook): Path<String>, Json(request): Json<Value>) -> Json<Value> {
    assert_eq!((playbook.as_str(), &request["subject"]), ("exposed-secret", &json!("ci")));
    let txn = request["preview"].is_null().then_some("t1");
    Json(json!({
        "v": 1, "txn": txn, "seq": 4, "aliases": ["ci"], "sessions": [session()], "devices": [],
        "outcome": "requested", "digest": "ab",
        "cannot": [{"place": "okta", "what": "app sessions", "until": "they expire"}]
    }))
}

async fn followups(Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    assert_eq!(query["all"], "true");
    Json(json!({"v": 1, "followups": [{
        "id": 7, "txn": "t1", "playbook": "exposed-secret", "subject": "ci", "item": "rotate",
        "text": "Rotate the secret", "opened": 1, "after_end": true, "ticked": null,
        "ticked_by": null, "done_at": null, "note": null
    }]}))
}

async fn tick(Path(id): Path<u64>, Json(request): Json<Value>) -> Response {
    if id == 8 {
        let error = json!({"v": 1, "error": {
            "code": "conflict", "message": "done before the sessions had ended", "hint": null}});
        return (StatusCode::CONFLICT, Json(error)).into_response();
    }
    assert_eq!((id, &request["note"]), (7, &json!("rotated")));
    StatusCode::NO_CONTENT.into_response()
}

async fn holds() -> Json<Value> {
    Json(json!({"v": 1, "holds": [
        {"subject": "bot", "since": 1, "by": "admin:olive", "reason": "review", "txn": "t1"}
    ]}))
}

async fn held(Json(request): Json<Value>) -> StatusCode {
    assert_eq!(request, json!({"subject": "bot", "reason": "looked at"}));
    StatusCode::NO_CONTENT
}

fn state(outcome: &str) -> Value {
    json!({"v": 1, "txn": "t1", "outcome": outcome, "targets": [
        {"kind": "device", "id": "occ-07", "outcome": outcome, "at": 5, "detail": null}
    ], "residual": [
        {"place": "corp", "what": "access tokens", "until": "about an hour", "lapses": 3_600_000},
        {"place": "occ-07", "what": "a snapshot", "until": "", "lapses": null}
    ]})
}

fn connector() -> Value {
    json!({
        "v": 1, "name": "corp", "kind": "okta", "mechanism": "Okta DELETE", "renewal": "make one",
        "does_not_cover": [{ "what": "access tokens", "how_long": "until they expire" }],
        "audiences": []
    })
}

async fn connectors() -> Json<Value> {
    Json(json!([connector()]))
}

async fn add_connector(Json(request): Json<Value>) -> (StatusCode, Json<Value>) {
    let settings = json!({ "kind": "okta", "url": "https://corp.okta.com", "token": "s3cret" });
    assert_eq!(request, json!({ "name": "corp", "settings": settings, "audiences": ["shop"] }));
    (StatusCode::CREATED, Json(connector()))
}

async fn test_connector(Path(name): Path<String>) -> Json<Value> {
    let works = name == "corp";
    Json(json!({ "v": 1, "name": name, "works": works, "said": "it was tried", "ms": 3 }))
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
fn connectors_are_added_with_their_secrets_from_files_listed_tried_and_removed() {
    let (hub, stage) = (hub(), Stage::empty());
    let file = stage.dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let secret = format!("token={}", file.display());
    let add = ["admin", "connector", "add", "okta", "corp", "url=https://corp.okta.com"];
    let add: Vec<&str> =
        add.into_iter().chain(["--secret", &secret, "--audience", "shop", "--json"]).collect();
    let ran = hub.run(&stage, &add);
    assert_eq!(ran.code, 0, "{ran:?}");
    check("admin-connector-add", &ran.json());
    check(
        "admin-connector-list",
        &hub.run(&stage, &["admin", "connector", "list", "--json"]).json(),
    );
    for (name, code) in [("corp", 0), ("other", 1)] {
        let ran = hub.run(&stage, &["admin", "connector", "test", name, "--json"]);
        assert_eq!(ran.code, code, "{ran:?}");
        check("admin-connector-test", &ran.json());
    }
    let gone = hub.run(&stage, &["admin", "connector", "remove", "corp", "--json"]);
    check("admin-connector-remove", &gone.json());
}

#[test]
fn a_connector_that_is_typed_wrong_is_refused_before_the_hub_hears_of_it() {
    let (hub, stage) = (hub(), Stage::empty());
    for (typed, say) in [
        (&["oktta", "corp"][..], "the kinds are oauth,"),
        (&["okta", "corp", "url=x", "token=s3cret"], "put it into a file"),
        (&["okta", "corp", "url=x"], "say --secret token=FILE"),
        (&["okta", "corp", "--secret", "token=/etc/passwd"], "say url=VALUE"),
        (&["okta", "corp", "realm=x", "url=x"], "its fields are url, token"),
    ] {
        let all: Vec<&str> =
            ["admin", "connector", "add"].iter().chain(typed).copied().chain(["--json"]).collect();
        let ran = hub.run(&stage, &all);
        assert_eq!(ran.code, 2, "{typed:?}: {ran:?}");
        check("error", &ran.json());
        assert!(ran.json()["error"]["hint"].as_str().unwrap().contains(say), "{ran:?}");
    }
    let help = stage.run(&["admin", "connector", "add", "--help"]);
    for kind in ["keycloak", "google", "global-revocation", "aws", "hydra"] {
        assert!(help.out.contains(&format!("\n  {kind}: ")), "{}", help.out);
    }
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
fn names_of_a_subject_are_shown_joined_and_split() {
    let (hub, stage) = (hub(), Stage::empty());
    let show = hub.run(&stage, &["admin", "subject", "show", "--subject", "alice", "--json"]);
    check("admin-subject", &show.json());
    let words = hub.run(&stage, &["admin", "subject", "show", "--subject", "alice"]).out;
    assert!(words.contains("2 names") && words.contains("admin:olive"), "{words}");
    let join = ["admin", "subject", "join", "--subject", "alice", "--alias", "a@corp.example"];
    assert_eq!(hub.run(&stage, &join).code, 2, "a join needs a reason");
    let join: Vec<&str> = join.into_iter().chain(["--reason", "HR", "--json"]).collect();
    check("admin-subject", &hub.run(&stage, &join).json());
    let split = ["admin", "subject", "split", "--alias", "alice", "--reason", "no", "--json"];
    check("admin-subject", &hub.run(&stage, &split).json());
}

#[test]
fn a_sign_out_names_exactly_one_kind_of_what_ends() {
    let (hub, stage) = (hub(), Stage::empty());
    let base = ["admin", "sign-out", "--json"];
    for (rest, code) in [
        (vec![], 2),
        (vec!["--session", "00112233aabbccdd", "--subject", "alice"], 2),
        (vec!["--application", "site", "--at", "occ-07"], 2),
        (vec!["--session", "00112233aabbccdd"], 0),
        (vec!["--at", "occ-07", "--preview"], 0),
        (vec!["--application", "site"], 0),
    ] {
        let arguments: Vec<&str> = base.into_iter().chain(rest.clone()).collect();
        let ran = hub.run(&stage, &arguments);
        assert_eq!(ran.code, code, "{rest:?}: {ran:?}");
    }
    let asked = hub.asked.lock().unwrap();
    assert_eq!(asked[0].session.as_deref(), Some("00112233aabbccdd"));
    assert!(asked[1].subject.is_none() && asked[1].preview);
    assert_eq!(asked[2].application.as_deref(), Some("site"));
}

#[test]
fn a_list_of_sessions_is_a_table_with_the_name_that_ends_one() {
    let (hub, stage) = (hub(), Stage::empty());
    let table = hub.run(&stage, &["admin", "session", "list", "--subject", "alice"]).out;
    let mut lines = table.lines();
    assert!(lines.next().unwrap().contains("SESSION"), "{table}");
    let row = lines.next().unwrap();
    assert!(row.contains("00112233aabbccdd") && row.contains("Chromium on occ-07"), "{table}");
}

#[test]
fn a_playbook_signs_out_and_says_what_is_to_be_seen_to() {
    let (hub, stage) = (hub(), Stage::empty());
    let list = ["admin", "playbook", "list", "--json"];
    check("admin-playbook-list", &hub.run(&stage, &list).json());
    let base = ["admin", "playbook", "run", "exposed-secret", "--subject", "ci"];
    let ran = hub.run(&stage, &base);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("lives on okta") && ran.err.contains("followup list"), "{ran:?}");
    let preview: Vec<&str> = base.into_iter().chain(["--preview", "--json"]).collect();
    check("admin-sign-out", &hub.run(&stage, &preview).json());
    let unknown = hub.run(&stage, &["admin", "playbook", "run", "panic", "--subject", "ci"]);
    assert!(unknown.code == 2 && unknown.err.contains("rogue-agent"), "{unknown:?}");
    let help = hub.run(&stage, &["admin", "playbook", "run", "--help"]).out;
    for name in ["leaver", "exposed-secret", "rogue-agent", "lost-laptop", "contractor-end"] {
        assert!(help.contains(&format!("{name}: ")), "{help}");
    }
}

#[test]
fn followups_are_listed_and_ticked() {
    let (hub, stage) = (hub(), Stage::empty());
    let list = hub.run(&stage, &["admin", "followup", "list", "--all", "--json"]);
    check("admin-followup-list", &list.json());
    let words = hub.run(&stage, &["admin", "followup", "list", "--all"]).out;
    assert!(words.contains("   7  ci (exposed-secret): Rotate"), "{words}");
    let tick = ["admin", "followup", "tick", "7", "--note", "rotated", "--json"];
    assert_eq!(hub.run(&stage, &tick).json(), json!({"v": 1, "ticked": 7}));
    let early = hub.run(&stage, &["admin", "followup", "tick", "8", "--minutes-ago", "5"]);
    assert!(early.code == 1 && early.err.contains("before the sessions"), "{early:?}");
}

#[test]
fn holds_are_listed_placed_and_released() {
    let (hub, stage) = (hub(), Stage::empty());
    check("admin-hold-list", &hub.run(&stage, &["admin", "hold", "list", "--json"]).json());
    for verb in ["place", "release"] {
        let base = ["admin", "hold", verb, "--subject", "bot"];
        assert_eq!(hub.run(&stage, &base).code, 2, "a reason is needed");
        let whole: Vec<&str> = base.into_iter().chain(["--reason", "looked at"]).collect();
        assert_eq!(hub.run(&stage, &whole).code, 0);
    }
}

#[test]
fn what_failed_is_asked_again() {
    let (hub, stage) = (hub(), Stage::empty());
    let ran = hub.run(&stage, &["admin", "txn", "retry", "t1", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    check("txn", &ran.json());
    let ran = hub.run(&stage, &["admin", "txn", "retry", "t1", "--follow", "--json"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 3), "{ran:?}");
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
    let words = hub.run(&stage, &["admin", "txn", "show", "t1"]).out;
    let one = "  corp: access tokens (about an hour; over by 1970-01-01T01:00:00Z)";
    assert!(words.contains(one), "{words}");
    assert!(words.contains("  occ-07: a snapshot (nobody knows until when)"), "{words}");
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
