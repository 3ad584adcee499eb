//! Operators' sign-in against an identity provider that the test plays; the real one is in
//! `tests/tests/provider.rs`.
//!
//! It refuses to try only the way that works: each part that must fit is tried when it does not.

use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_api::{Role, SignInResponse, SignedIn, path};
use exeunt_hub::sequencer::now;
use exeunt_ssf::SigningKey;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rig::{Answer, Rig};

const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more";

/// The provider: its key, and what the next ID token says beside the usual.
struct Provider {
    issuer: String,
    key: SigningKey,
    next: Mutex<Value>,
    redeemed: Mutex<Vec<Value>>,
}

type Shared = State<Arc<Provider>>;

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningKey::generate().unwrap();
        let (next, redeemed) = (Mutex::new(json!({})), Mutex::default());
        let provider = Arc::new(Self { issuer, key, next, redeemed });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// A hub whose operators sign in here.
    async fn hub(&self) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sign-in.toml");
        let text = format!(
            "issuer = '{}'\nclient_id = 'exeunt'\nroles_claim = 'groups'\n\
             [roles]\nhelp-desk = ['desk']\nauditor = ['audit']\n",
            self.issuer
        );
        std::fs::write(&file, text).unwrap();
        Rig::with(|config| config.sign_in = Some(file)).await
    }
}

async fn discovery(State(it): Shared) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", it.issuer);
    Json(json!({
        "issuer": it.issuer, "authorization_endpoint": at("/auth?a=b"),
        "token_endpoint": at("/token"), "jwks_uri": at("/jwks"),
    }))
}

async fn jwks(State(it): Shared) -> Json<Value> {
    Json(json!({ "keys": [it.key.jwk()] }))
}

async fn token(State(it): Shared, Form(form): Form<Value>) -> Json<Value> {
    it.redeemed.lock().unwrap().push(form);
    let mut claims = json!({
        "iss": it.issuer, "aud": "exeunt", "sub": "olive", "groups": ["desk", "audit", "x"],
        "exp": now().as_secs() + 60, "iat": now().as_secs(),
    });
    let next = it.next.lock().unwrap().clone();
    claims.as_object_mut().unwrap().extend(next.as_object().unwrap().clone());
    Json(json!({ "id_token": it.key.sign_jwt("JWT", &claims).unwrap(), "token_type": "Bearer" }))
}

/// Begins; the state, and the query that the browser is sent with.
async fn begin(rig: &Rig) -> (String, Url) {
    let code_challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let body = json!({
        "redirect_uri": "http://127.0.0.1:1/callback", "code_challenge": code_challenge
    });
    let begun: SignInResponse = rig.post(path::SIGN_IN, "", &body).await.read();
    (begun.state, Url::parse(&begun.authorization_url).unwrap())
}

fn asked(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

async fn finish(rig: &Rig, body: Value) -> Answer {
    rig.post(path::SIGN_IN_FINISH, "", &body).await
}

#[tokio::test]
async fn an_operator_gets_a_token_with_the_roles_of_their_groups() {
    let provider = Provider::start().await;
    let rig = provider.hub().await;
    let (state, url) = begin(&rig).await;
    assert_eq!(asked(&url, "a"), "b", "the provider's own query stays");
    assert_eq!(asked(&url, "code_challenge_method"), "S256");
    *provider.next.lock().unwrap() = json!({ "nonce": asked(&url, "nonce") });
    let body = json!({
        "state": state, "code": "c", "code_verifier": VERIFIER, "iss": provider.issuer
    });
    let signed_in: SignedIn = finish(&rig, body.clone()).await.read();
    assert_eq!(signed_in.roles, [Role::HelpDesk, Role::Auditor]);
    let redeemed = provider.redeemed.lock().unwrap().clone();
    assert_eq!(redeemed[0]["code_verifier"], VERIFIER);
    assert_eq!(redeemed[0]["redirect_uri"], "http://127.0.0.1:1/callback");
    assert_eq!(rig.get("/v1/audit/verify", &signed_in.token).await.status, 200);
    assert_eq!(rig.post(path::DEVICE_TOKENS, &signed_in.token, &json!({})).await.status, 403);
    // The same answer of the browser again, as from its history.
    let again = finish(&rig, body).await;
    assert_eq!((again.status.as_u16(), again.code()), (403, "forbidden"));
    let minted = rig.audited("admin-token-minted").await;
    let by_provider = minted.iter().find(|row| row["detail"]["name"] == "olive").unwrap();
    assert_eq!(by_provider["actor"], format!("oidc:{}", provider.issuer));
    rig.hub.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_together_signs_nobody_in() {
    let provider = Provider::start().await;
    let rig = provider.hub().await;
    for (what, answer, claims) in [
        ("another's verifier", json!({ "code_verifier": "another" }), json!({})),
        ("another's state", json!({ "state": "guess" }), json!({})),
        ("another issuer (RFC 9207)", json!({ "iss": "https://evil.example" }), json!({})),
        ("another sign-in's token", json!({}), json!({ "nonce": "another" })),
        ("another client's token", json!({}), json!({ "aud": "other" })),
        ("another issuer's token", json!({}), json!({ "iss": "https://evil.example" })),
        ("an old token", json!({}), json!({ "exp": 1 })),
        ("nobody of ours", json!({}), json!({ "groups": ["x"] })),
        ("no name", json!({}), json!({ "sub": "" })),
    ] {
        let (state, url) = begin(&rig).await;
        let mut next = json!({ "nonce": asked(&url, "nonce") });
        next.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        *provider.next.lock().unwrap() = next;
        let mut body = json!({ "state": state, "code": "c", "code_verifier": VERIFIER });
        body.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        let refused = finish(&rig, body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{what}");
    }
    assert_eq!(rig.audited("admin-token-minted").await.len(), 1, "the first one's");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be_away() {
    let provider = Provider::start().await;
    let rig = provider.hub().await;
    let gone = Arc::new(Provider {
        issuer: "http://127.0.0.1:1".into(),
        key: SigningKey::generate().unwrap(),
        next: Mutex::default(),
        redeemed: Mutex::default(),
    });
    let away = gone.hub().await;
    let code_challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let body = json!({ "redirect_uri": "http://127.0.0.1:1/", "code_challenge": code_challenge });
    let refused = away.post(path::SIGN_IN, "", &body).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "unavailable"));
    let far = json!({ "redirect_uri": "https://evil.example/", "code_challenge": code_challenge });
    assert_eq!(rig.post(path::SIGN_IN, "", &far).await.status, 400);
    rig.hub.stop().await;
    away.hub.stop().await;
}
