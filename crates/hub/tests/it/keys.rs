//! Keys of transmitters that are fetched: those that never come, that change, and that strangers ask
//! for.
//!
//! It refuses to take a late answer for a refusal: what cannot be judged now is to be sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use exeunt_hub::sequencer::now;
use exeunt_ssf::{RsaSigner, SigningKey, new_id};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::idp::{ISSUER, STRANGER, key};
use crate::rig::{Answer, Rig, answer};

const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// Registers a transmitter whose keys are at `uri`; its door.
async fn register(rig: &Rig, uri: &str) -> String {
    let body = json!({ "issuer": ISSUER, "aud": "exeunt", "jwks_uri": uri,
        "may_speak_about": { "domains": ["corp.example"] } });
    let made = rig.post("/v1/transmitters", &rig.admin, &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.body["endpoint_url"].as_str().unwrap().to_owned()
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "exeunt", "jti": new_id(now()).unwrap(), "iat": now().as_secs(),
        "sub_id": { "format": "email", "email": "ann@corp.example" }, "events": { REVOKED: {} } })
}

async fn send(rig: &Rig, door: &str, compact: String) -> Answer {
    let ask = rig.http.post(door).header("content-type", "application/secevent+jwt").body(compact);
    answer(ask).await
}

fn signed(key: &RsaSigner) -> String {
    key.sign_jwt("secevent+jwt", &claims()).unwrap()
}

/// Keys that can be changed, and how often they were asked for.
async fn keys(first: Value) -> (String, watch::Sender<Value>, Arc<AtomicUsize>) {
    type Shared = State<(watch::Receiver<Value>, Arc<AtomicUsize>)>;
    async fn serve(State((keys, asked)): Shared) -> Json<Value> {
        asked.fetch_add(1, Ordering::SeqCst);
        Json(json!({ "keys": [*keys.borrow()] }))
    }
    let (change, keys) = watch::channel(first);
    let asked: Arc<AtomicUsize> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let router = Router::new().route("/jwks", get(serve)).with_state((keys, Arc::clone(&asked)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, change, asked)
}

#[tokio::test]
async fn keys_that_never_come_are_waited_for_ten_seconds_and_hold_nobody_else_up() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "ann@corp.example", "s").await;
    // It takes the connection, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = register(&rig, &format!("http://{}/jwks", silent.local_addr().unwrap())).await;
    let asked = send(&rig, &door, signed(key()));
    let others = async {
        let (held, _) = silent.accept().await.unwrap();
        let alive = site.check(&rig, "ann@corp.example", "s", seq);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), alive).await.unwrap(), 204);
        held
    };
    let both = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(asked, others) });
    let (late, _held) = both.await.unwrap();
    assert_eq!((late.status.as_u16(), late.code()), (503, "unavailable"));
    assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_changed_key_is_fetched_and_strangers_cause_five_fetches_a_minute_at_most() {
    let rig = Rig::new().await;
    let old = SigningKey::generate().unwrap();
    let (url, change, asked) = keys(json!(old.jwk())).await;
    let door = register(&rig, &url).await;
    let by_old = || old.sign_jwt("secevent+jwt", &claims()).unwrap();
    assert_eq!(send(&rig, &door, by_old()).await.status, 202);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    change.send_replace(json!(key().jwk()));
    assert_eq!(send(&rig, &door, signed(key())).await.status, 202, "at once");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let gone = send(&rig, &door, by_old()).await;
    assert_eq!((gone.status.as_u16(), &gone.body["err"]), (400, &json!("invalid_key")));
    for _ in 0..20 {
        let refused = send(&rig, &door, signed(&STRANGER)).await;
        assert_eq!((refused.status.as_u16(), &refused.body["err"]), (400, &json!("invalid_key")));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 6, "one at first, and five that were forced");
    assert_eq!(send(&rig, &door, signed(key())).await.status, 202, "the control");
    rig.hub.stop().await;
}
