//! The HTTP transport against a real server on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use exeunt_domain::{Jti, Timestamp};
use exeunt_signal::http::{HttpTransport, client, exchange_set};
use exeunt_signal::{
    ClientCredentials, HubClient, HubUrl, PushError, Receiver, ReceiverSettings, Transport as _,
    TransportError, Trust,
};
use exeunt_ssf::{Jwks, PollRequest, PollResponse, SigningKey};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Clone)]
struct Hub {
    url: String,
    keys: Jwks,
    valid: Arc<Mutex<String>>,
    tokens_sold: Arc<Mutex<u32>>,
    polls: mpsc::UnboundedSender<PollRequest>,
    waiting: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<&'static str>>>>,
    pushed: Arc<Mutex<Vec<String>>>,
}

struct Rig {
    hub: Hub,
    client: HubClient,
    polls: mpsc::UnboundedReceiver<PollRequest>,
    send: mpsc::UnboundedSender<Vec<&'static str>>,
}

async fn rig() -> Rig {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let key = SigningKey::generate().unwrap();
    let (polls_in, polls) = mpsc::unbounded_channel();
    let (send, waiting) = mpsc::unbounded_channel();
    let hub = Hub {
        url: url.clone(),
        keys: Jwks::of(key.jwk()),
        valid: Arc::default(),
        tokens_sold: Arc::default(),
        polls: polls_in,
        waiting: Arc::new(tokio::sync::Mutex::new(waiting)),
        pushed: Arc::default(),
    };
    let app = Router::new()
        .route("/oauth/token", post(token))
        .route("/ssf/poll", post(poll))
        .route("/ssf/events", post(events))
        .route("/v1/enroll", post(enroll))
        .route("/moved", get(|| async { (StatusCode::FOUND, [("location", "/ssf/poll")]) }))
        .route("/busy", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")]) }))
        .with_state(hub.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let url = HubUrl::parse(&url).unwrap();
    let credentials =
        ClientCredentials::new(url.at("/oauth/token"), "occ-07".into(), "ssf.read".into(), key);
    let client = HubClient::new(client(&Trust::Platform).unwrap(), url, Arc::new(credentials));
    Rig { hub, client, polls, send }
}

async fn token(State(hub): State<Hub>, Form(form): Form<HashMap<String, String>>) -> Response {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let endpoint = format!("{}/oauth/token", hub.url);
    let claims: Result<Value, _> = exeunt_ssf::verify_jwt(
        &form["client_assertion"],
        &hub.keys,
        "JWT",
        &endpoint,
        Timestamp::from_secs(now.as_secs()),
    );
    let known = claims.is_ok_and(|claims| claims["sub"] == "occ-07" && claims["iss"] == "occ-07")
        && form["grant_type"] == "client_credentials";
    if !known {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let mut sold = hub.tokens_sold.lock().unwrap();
    *sold += 1;
    let token = format!("t-{sold}");
    *hub.valid.lock().unwrap() = token.clone();
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600})).into_response()
}

fn authorised(hub: &Hub, headers: &HeaderMap) -> bool {
    let held = headers.get("authorization").and_then(|value| value.to_str().ok());
    held == Some(&format!("Bearer {}", hub.valid.lock().unwrap()))
}

async fn poll(
    State(hub): State<Hub>,
    headers: HeaderMap,
    Json(request): Json<PollRequest>,
) -> Response {
    if !authorised(&hub, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let immediate = request.return_immediately;
    hub.polls.send(request).unwrap();
    let names = if immediate {
        Vec::new()
    } else {
        hub.waiting.lock().await.recv().await.unwrap_or_default()
    };
    let sets =
        names.iter().map(|name| (Jti::parse(*name).unwrap(), format!("set-{name}"))).collect();
    Json(PollResponse { sets, more_available: false }).into_response()
}

async fn events(State(hub): State<Hub>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&hub, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(headers["content-type"], "application/secevent+jwt");
    let set = String::from_utf8(body.to_vec()).unwrap();
    if set == "bad" {
        let error = json!({"err": "invalid_issuer", "description": "who?"});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    hub.pushed.lock().unwrap().push(set);
    StatusCode::ACCEPTED.into_response()
}

async fn enroll(body: Bytes) -> Response {
    if body.as_ref() == b"used" {
        let error = json!({"err": "access_denied", "description": "the token was used"});
        return (StatusCode::FORBIDDEN, Json(error)).into_response();
    }
    "reply".into_response()
}

#[tokio::test]
async fn a_parked_poll_is_answered_when_a_set_arrives_and_the_next_one_carries_the_ack() {
    let mut rig = rig().await;
    let transport = HttpTransport::new(rig.client.clone(), "/ssf/poll");
    let mut receiver = Receiver::new(transport, ReceiverSettings::default());
    let (batches_in, mut batches) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let batch: BTreeMap<Jti, String> = receiver.next().await;
            for jti in batch.keys() {
                receiver.ack(jti.clone());
            }
            batches_in.send(batch).unwrap();
        }
    });
    assert!(rig.polls.recv().await.unwrap().return_immediately);
    assert!(!rig.polls.recv().await.unwrap().return_immediately);
    rig.send.send(vec!["a", "b"]).unwrap();
    let batch = batches.recv().await.unwrap();
    assert_eq!(batch.values().collect::<Vec<_>>(), ["set-a", "set-b"]);
    assert_eq!(rig.polls.recv().await.unwrap().ack.len(), 2);
    assert_eq!(*rig.hub.tokens_sold.lock().unwrap(), 1, "one token serves every request");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_request_sent_again() {
    let rig = rig().await;
    rig.client.push("one").await.unwrap();
    *rig.hub.valid.lock().unwrap() = "revoked-by-restart".into();
    rig.client.push("two").await.unwrap();
    assert_eq!(*rig.hub.pushed.lock().unwrap(), ["one", "two"]);
    assert_eq!(*rig.hub.tokens_sold.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_client_that_the_hub_does_not_know_is_told_so() {
    let rig = rig().await;
    let stranger = ClientCredentials::new(
        rig.client.hub().at("/oauth/token"),
        "occ-07".into(),
        "ssf.read".into(),
        SigningKey::generate().unwrap(),
    );
    let client = HubClient::new(
        client(&Trust::Platform).unwrap(),
        rig.client.hub().clone(),
        Arc::new(stranger),
    );
    let error = client.push("x").await.unwrap_err();
    assert!(matches!(error, PushError::Transport(TransportError::Unauthorized(_))), "{error:?}");
    assert!(rig.hub.pushed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_push_is_final_and_names_the_code() {
    let rig = rig().await;
    let PushError::Refused(error) = rig.client.push("bad").await.unwrap_err() else {
        panic!("not refused")
    };
    assert_eq!(error.err, "invalid_issuer");
}

#[tokio::test]
async fn an_enrolment_brings_back_the_reply_or_the_named_refusal() {
    let rig = rig().await;
    let url = rig.client.hub().at("/v1/enroll");
    let http = client(&Trust::Platform).unwrap();
    assert_eq!(exchange_set(&http, &url, "fresh").await.unwrap(), "reply");
    let PushError::Refused(error) = exchange_set(&http, &url, "used").await.unwrap_err() else {
        panic!("not refused")
    };
    assert_eq!(error.err, "access_denied");
}

#[tokio::test]
async fn a_redirect_is_refused_and_a_busy_hub_says_when_to_come_back() {
    let rig = rig().await;
    let error = rig.client.get_json("/moved", &[]).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { status: 302, .. }), "{error:?}");
    let error = rig.client.get_json("/busy", &[]).await.unwrap_err();
    let seven = Some(Duration::from_secs(7));
    assert_eq!(error, TransportError::Busy { status: 503, retry_after: seven });
}

#[tokio::test]
async fn tells_a_hub_that_is_not_there_from_one_that_hung_up() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let poll = |url: String| async move {
        let key = SigningKey::generate().unwrap();
        let url = HubUrl::parse(&url).unwrap();
        let credentials =
            ClientCredentials::new(url.at("/oauth/token"), "d".into(), String::new(), key);
        let client = HubClient::new(client(&Trust::Platform).unwrap(), url, Arc::new(credentials));
        HttpTransport::new(client, "/ssf/poll").poll(&PollRequest::default()).await.unwrap_err()
    };
    assert!(matches!(poll(nobody).await, TransportError::Unreachable(_)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Reads the request, then hangs up without an answer.
            let mut first = [0_u8; 1];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut first).await;
        }
    });
    let error = poll(url).await;
    assert_eq!(error, TransportError::Closed);
}
