//! An identity provider that the test plays, with real RS256 keys.
//!
//! It refuses to be believed for its own sake: it must be registered as a transmitter first.

use std::process::Command;
use std::sync::{LazyLock, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_hub::sequencer::now;
use exeunt_ssf::{RsaSigner, new_id};
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

/// Who it says that it is.
pub(crate) const ISSUER: &str = "https://idp.example";

/// A fresh key, by `openssl`: making one here takes long without optimisation.
fn fresh() -> RsaSigner {
    let made = Command::new("openssl").args(["genrsa", "2048"]).output().unwrap();
    RsaSigner::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap()
}

/// Its key.
pub(crate) fn key() -> &'static RsaSigner {
    static KEY: OnceLock<RsaSigner> = OnceLock::new();
    KEY.get_or_init(fresh)
}

/// A key that nobody registered.
pub(crate) static STRANGER: LazyLock<RsaSigner> = LazyLock::new(fresh);

/// Registers it for its own issuer and `corp.example`, with `more`.
pub(crate) async fn register(rig: &Rig, more: Value) -> Answer {
    let mut body = json!({
        "issuer": ISSUER, "aud": "exeunt", "jwks": { "keys": [key().jwk()] },
        "may_speak_about": { "issuers": [ISSUER], "domains": ["corp.example"] },
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = rig.post("/v1/transmitters", &rig.admin, &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made
}

/// Claims of a fresh token for `aud`, with `more`; a null takes a claim out.
pub(crate) fn claims(aud: &str, more: &Value) -> Value {
    let now = now();
    let mut claims = json!({
        "iss": ISSUER, "aud": aud, "jti": new_id(now).unwrap(),
        "iat": now.as_secs(), "exp": now.as_secs() + 120,
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

/// A token whose header names `alg`, and which nobody signed.
pub(crate) fn unsigned(typ: &str, alg: &str, claims: &Value) -> String {
    let header = json!({ "typ": typ, "alg": alg, "kid": key().kid() });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&header), part(claims), URL_SAFE_NO_PAD.encode([7; 32]))
}

/// The same token, with claims that its signature is not over.
pub(crate) fn tampered(compact: &str, claims: &Value) -> String {
    let (head, rest) = compact.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
