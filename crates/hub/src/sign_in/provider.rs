//! The identity provider as this hub speaks to it: discovery, the code's redemption, the ID token.
//!
//! It refuses an ID token of another issuer, for another client, of another sign-in, or past its
//! time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use exeunt_ssf::PeerKeys;
use exeunt_ssf::peer::verify_peer_jwt;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Settings;
use crate::Hub;
use crate::publish::lock;
use crate::sequencer::now;

/// How long what the provider published is believed.
const GOOD: Duration = Duration::from_secs(600);

/// The sign-in failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The provider cannot be asked now.
    #[error("the identity provider cannot be asked: {0}")]
    Away(String),
    /// It does not accept the code.
    #[error("the identity provider refused the code: {0}")]
    Refused(String),
    /// What it said does not prove who signed in.
    #[error("the identity provider's answer proves nothing: {0}")]
    Unproved(String),
}

/// What is needed of the discovery document (OpenID Connect Discovery 1.0 §3).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// A code to redeem.
#[derive(Debug)]
pub(super) struct Redeem<'a> {
    pub(super) code: &'a str,
    pub(super) verifier: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) nonce: &'a str,
}

/// What the provider published, and when it was read.
#[derive(Debug, Default)]
pub(super) struct Known {
    metadata: Mutex<Option<(Arc<Metadata>, Instant)>>,
}

impl Known {
    /// The discovery document, not older than ten minutes.
    pub(super) async fn metadata(
        &self,
        hub: &Hub,
        settings: &Settings,
    ) -> Result<Arc<Metadata>, Fault> {
        let held = lock(&self.metadata).clone();
        if let Some((metadata, at)) = held
            && at.elapsed() < GOOD
        {
            return Ok(metadata);
        }
        let issuer = settings.issuer.trim_end_matches('/');
        let found = get(hub, &format!("{issuer}/.well-known/openid-configuration")).await?;
        let wrong = |error: serde_json::Error| Fault::Away(format!("its discovery: {error}"));
        let metadata: Metadata = serde_json::from_value(found).map_err(wrong)?;
        if metadata.issuer != settings.issuer {
            return Err(Fault::Unproved(format!("it calls itself {}", metadata.issuer)));
        }
        let metadata = Arc::new(metadata);
        *lock(&self.metadata) = Some((Arc::clone(&metadata), Instant::now()));
        Ok(metadata)
    }

    /// The claims of the person whose code it is.
    pub(super) async fn redeem(
        &self,
        hub: &Hub,
        settings: &Settings,
        ask: &Redeem<'_>,
    ) -> Result<Value, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            id_token: String,
        }
        let metadata = self.metadata(hub, settings).await?;
        let (headers, form) = request(&metadata, settings, ask)?;
        let url = &metadata.token_endpoint;
        let answered = hub.ssf.reach.send(Method::POST, url, headers, form).await;
        let answered = answered.map_err(|error| Fault::Away(error.to_string()))?;
        if answered.status != StatusCode::OK {
            let body: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
            let code = body["error"].as_str().unwrap_or("no reason given");
            let code: String = code.chars().take(64).collect();
            return Err(Fault::Refused(format!("{} {code}", answered.status.as_u16())));
        }
        let wrong = |_| Fault::Unproved("it sent no ID token".into());
        let answer: Answer = serde_json::from_slice(&answered.body).map_err(wrong)?;
        // Fetched for each: a rotation is seen at once, and sign-ins are few.
        let keys = PeerKeys::read(&get(hub, &metadata.jwks_uri).await?);
        prove(&answer.id_token, &keys, settings, ask.nonce)
    }
}

fn request(
    metadata: &Metadata,
    settings: &Settings,
    ask: &Redeem<'_>,
) -> Result<(HeaderMap, String), Fault> {
    let mut form = Url::parse("form:").map_err(|error| Fault::Away(error.to_string()))?;
    form.query_pairs_mut()
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", ask.code)
        .append_pair("redirect_uri", ask.redirect_uri)
        .append_pair("code_verifier", ask.verifier);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let encoded = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, encoded);
    let offered = &metadata.token_endpoint_auth_methods_supported;
    let has = |method: &str| offered.iter().any(|one| one == method);
    match &settings.secret {
        // RFC 6749 §2.3.1: the header must be supported, and the form may be.
        Some(secret) if !has("client_secret_basic") && has("client_secret_post") => {
            form.query_pairs_mut()
                .append_pair("client_id", &settings.client_id)
                .append_pair("client_secret", secret);
        }
        Some(secret) => {
            let pair = format!("{}:{}", encode(&settings.client_id), encode(secret));
            let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
                .map_err(|error| Fault::Away(error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        None => {
            form.query_pairs_mut().append_pair("client_id", &settings.client_id);
        }
    }
    Ok((headers, form.query().unwrap_or_default().to_owned()))
}

/// `application/x-www-form-urlencoded`, as RFC 6749 §2.3.1 has it before the two are joined.
fn encode(text: &str) -> String {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"*-._".contains(byte);
    let each = text.bytes().map(|byte| match byte {
        b' ' => "+".to_owned(),
        byte if fine(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}

/// OpenID Connect Core 1.0 §3.1.3.7.
fn prove(compact: &str, keys: &PeerKeys, settings: &Settings, nonce: &str) -> Result<Value, Fault> {
    let unproved = |why: String| Fault::Unproved(why);
    let claims: Value =
        verify_peer_jwt(compact, keys, &["JWT"], &settings.issuer, &settings.client_id, now())
            .map_err(|error| unproved(error.to_string()))?;
    if claims["nonce"] != nonce {
        return Err(unproved("it answers another sign-in".into()));
    }
    let several = claims["aud"].as_array().is_some_and(|all| all.len() > 1);
    let party = claims.get("azp");
    if (several || party.is_some()) && party != Some(&Value::from(settings.client_id.as_str())) {
        return Err(unproved("it was issued to another party".into()));
    }
    Ok(claims)
}

/// A verifier's challenge (RFC 7636 §4.2, `S256`).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

async fn get(hub: &Hub, url: &str) -> Result<Value, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let answered = hub.ssf.reach.send(Method::GET, url, headers, String::new()).await;
    let answered = answered.map_err(|error| Fault::Away(format!("{url}: {error}")))?;
    if answered.status != StatusCode::OK {
        return Err(Fault::Away(format!("{url} was answered with {}", answered.status.as_u16())));
    }
    serde_json::from_slice(&answered.body).map_err(|error| Fault::Away(format!("{url}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_ssf::SigningKey;
    use serde_json::json;

    fn settings() -> Settings {
        toml::from_str(
            "issuer = 'https://id.example'\nclient_id = 'exeunt'\nroles_claim = 'groups'\n\
             [roles]\nviewer = ['staff']",
        )
        .unwrap()
    }

    #[test]
    fn believes_an_id_token_of_this_sign_in_alone() {
        let key = SigningKey::generate().unwrap();
        let keys = PeerKeys::read(&json!({ "keys": [key.jwk()] }));
        let good = json!({
            "iss": "https://id.example", "aud": "exeunt", "sub": "olive", "nonce": "n",
            "exp": now().as_secs() + 60, "iat": now().as_secs(),
        });
        let judge = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            prove(&key.sign_jwt("JWT", &claims).unwrap(), &keys, &settings(), "n")
        };
        assert_eq!(judge("azp", json!("exeunt")).unwrap()["sub"], "olive");
        assert!(judge("aud", json!(["exeunt", "other"])).is_err());
        for (member, wrong) in [
            ("iss", json!("https://evil.example")),
            ("aud", json!("other")),
            ("nonce", json!("m")),
            ("nonce", json!(null)),
            ("exp", json!(now().as_secs() - 600)),
            ("exp", json!(null)),
            ("azp", json!("other")),
        ] {
            assert!(matches!(judge(member, wrong.clone()), Err(Fault::Unproved(_))), "{member}");
        }
        let forged = SigningKey::generate().unwrap().sign_jwt("JWT", &good).unwrap();
        assert!(prove(&forged, &keys, &settings(), "n").is_err());
    }

    #[test]
    fn encodes_a_secret_before_it_joins_it() {
        assert_eq!(encode("a secret: of+the test"), "a+secret%3A+of%2Bthe+test");
    }
}
