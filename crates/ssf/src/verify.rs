//! From compact bytes to a SET that may be believed.
//!
//! It refuses every algorithm but EdDSA, every `typ` but the expected one, and every key that was
//! not handed in.

use std::ops::Deref;

use exeunt_domain::{Kid, Timestamp};
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::key::{Jwks, SET_TYP};
use crate::set::{Set, SetError};

/// Longest compact token read, in bytes.
pub const MAX_COMPACT_BYTES: usize = 1 << 20;

/// What a verifier expects of a SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The only issuer accepted. None: any whose key was handed in.
    pub issuer: Option<String>,
    /// Who the verifier is.
    pub audience: String,
}

/// A SET whose signature, issuer and audience were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedSet {
    set: Set,
    kid: Kid,
    compact: String,
}

impl VerifiedSet {
    /// The key that signed it.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// Its compact form, as it came.
    #[must_use]
    pub fn compact(&self) -> &str {
        &self.compact
    }
}

impl Deref for VerifiedSet {
    type Target = Set;
    fn deref(&self) -> &Set {
        &self.set
    }
}

/// Verifies a compact SET against `keys` and `expect`. Times inside events are the caller's to
/// judge.
///
/// # Errors
/// [`SetError`], which carries the RFC 8935 code.
pub fn verify(compact: &str, keys: &Jwks, expect: &Expected) -> Result<VerifiedSet, SetError> {
    let (set, kid) = checked::<Set>(compact, keys, SET_TYP)?;
    if expect.issuer.as_ref().is_some_and(|issuer| *issuer != set.iss) {
        return Err(SetError::WrongIssuer(set.iss));
    }
    if !set.aud.contains(&expect.audience) {
        return Err(SetError::WrongAudience);
    }
    Ok(VerifiedSet { set, kid, compact: compact.to_owned() })
}

/// Verifies any other JWT, such as a client assertion (RFC 7523 §3): `typ`, signature, `aud`, and
/// `exp` within `now` plus a minute.
///
/// # Errors
/// [`SetError`].
pub fn verify_jwt<T: DeserializeOwned>(
    compact: &str,
    keys: &Jwks,
    typ: &str,
    audience: &str,
    now: Timestamp,
) -> Result<T, SetError> {
    #[derive(Deserialize)]
    struct Times {
        aud: serde_json::Value,
        exp: u64,
    }
    let (claims, _) = checked::<serde_json::Value>(compact, keys, typ)?;
    let times = Times::deserialize(&claims).map_err(|e| SetError::Malformed(e.to_string()))?;
    let for_us = match &times.aud {
        serde_json::Value::String(one) => one == audience,
        serde_json::Value::Array(many) => many.iter().any(|one| one == audience),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Object(_) => false,
    };
    if !for_us {
        return Err(SetError::WrongAudience);
    }
    if times.exp.saturating_add(60) < now.as_secs() {
        return Err(SetError::NotNow);
    }
    serde_json::from_value(claims).map_err(|error| SetError::Malformed(error.to_string()))
}

/// Reads a compact SET without believing it: for finding out whose key to verify it with, and for
/// showing what cannot be verified.
///
/// # Errors
/// [`SetError::Malformed`].
pub fn read_unverified(compact: &str) -> Result<Set, SetError> {
    if compact.len() > MAX_COMPACT_BYTES {
        return Err(SetError::Malformed("longer than 1 MiB".into()));
    }
    jsonwebtoken::dangerous::insecure_decode::<Set>(compact)
        .map(|data| data.claims)
        .map_err(|error| SetError::Malformed(error.to_string()))
}

pub(crate) fn checked<T: DeserializeOwned>(
    compact: &str,
    keys: &Jwks,
    typ: &str,
) -> Result<(T, Kid), SetError> {
    if compact.len() > MAX_COMPACT_BYTES {
        return Err(SetError::Malformed("longer than 1 MiB".into()));
    }
    let header = jsonwebtoken::decode_header(compact)
        .map_err(|error| SetError::Malformed(error.to_string()))?;
    let named = header.typ.unwrap_or_default();
    if !named.eq_ignore_ascii_case(typ) {
        return Err(SetError::WrongType(named));
    }
    if header.crit.is_some() {
        return Err(SetError::Malformed("critical header parameters".into()));
    }
    let kid = header.kid.unwrap_or_default();
    let key = keys.find(&kid).ok_or_else(|| SetError::UnknownKey(kid.clone()))?;
    if header.alg != Algorithm::EdDSA {
        return Err(SetError::UnknownKey(kid));
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoding = key.decoding().map_err(|error| SetError::UnknownKey(error.to_string()))?;
    let data = jsonwebtoken::decode::<T>(compact, &decoding, &validation).map_err(|error| {
        if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::InvalidSignature) {
            SetError::BadSignature
        } else {
            SetError::Malformed(error.to_string())
        }
    })?;
    Ok((data.claims, key.kid().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use exeunt_domain::Jti;
    use proptest::prelude::*;

    fn signed(key: &SigningKey) -> String {
        let set = Set::new(
            "https://hub.example",
            "occ-07",
            Jti::parse("j1").unwrap(),
            Timestamp(1_000),
            "urn:exeunt:secevent:order",
            &serde_json::json!({ "tier": "sign-out" }),
        )
        .unwrap();
        key.sign(&set).unwrap()
    }

    fn expected() -> Expected {
        Expected { issuer: Some("https://hub.example".into()), audience: "occ-07".into() }
    }

    #[test]
    fn believes_what_the_right_key_signed_for_the_right_audience() {
        let key = SigningKey::generate().unwrap();
        let set = verify(&signed(&key), &Jwks::of(key.jwk()), &expected()).unwrap();
        assert_eq!(set.jti.as_str(), "j1");
        assert_eq!(set.kid(), key.kid());
    }

    #[test]
    fn refuses_with_the_code_of_rfc_8935() {
        let key = SigningKey::generate().unwrap();
        let other = SigningKey::generate().unwrap();
        let compact = signed(&key);
        let keys = Jwks::of(key.jwk());
        let code = |compact: &str, keys: &Jwks, expect: &Expected| {
            verify(compact, keys, expect).unwrap_err().err_code()
        };
        assert_eq!(code("x", &keys, &expected()), "invalid_request");
        assert_eq!(code(&compact, &Jwks::of(other.jwk()), &expected()), "invalid_key");
        let elsewhere = Expected { audience: "occ-08".into(), ..expected() };
        assert_eq!(code(&compact, &keys, &elsewhere), "invalid_audience");
        let stranger = Expected { issuer: Some("https://evil.example".into()), ..expected() };
        assert_eq!(code(&compact, &keys, &stranger), "invalid_issuer");
        let forged = other.sign_jwt(SET_TYP, &serde_json::json!({})).unwrap();
        let header = compact.split('.').next().unwrap();
        let mut parts = forged.split('.').skip(1);
        let mixed = format!("{header}.{}.{}", parts.next().unwrap(), parts.next().unwrap());
        assert_eq!(code(&mixed, &keys, &expected()), "authentication_failed");
    }

    #[test]
    fn refuses_a_flipped_bit_anywhere() {
        let key = SigningKey::generate().unwrap();
        let keys = Jwks::of(key.jwk());
        let compact = signed(&key);
        for at in 0..compact.len() - 1 {
            let mut bytes = compact.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            assert!(verify(&text, &keys, &expected()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn refuses_algorithm_none_and_a_symmetric_signature_under_the_public_key() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let key = SigningKey::generate().unwrap();
        let keys = Jwks::of(key.jwk());
        let claims = signed(&key).split('.').nth(1).unwrap().to_owned();
        for alg in ["none", "HS256"] {
            let header = serde_json::json!({"typ": SET_TYP, "alg": alg, "kid": key.kid()});
            let compact = format!("{}.{claims}.AAAA", B64.encode(header.to_string()));
            assert!(verify(&compact, &keys, &expected()).is_err(), "{alg}");
        }
    }

    #[test]
    fn refuses_a_client_assertion_in_place_of_a_set() {
        let key = SigningKey::generate().unwrap();
        let jwt = key.sign_jwt("JWT", &serde_json::json!({"aud": "occ-07", "exp": 1})).unwrap();
        let error = verify(&jwt, &Jwks::of(key.jwk()), &expected()).unwrap_err();
        assert_eq!(error, SetError::WrongType("JWT".into()));
    }

    #[test]
    fn refuses_an_assertion_past_its_time_or_for_another_audience() {
        let key = SigningKey::generate().unwrap();
        let keys = Jwks::of(key.jwk());
        let jwt = key.sign_jwt("JWT", &serde_json::json!({"aud": ["a"], "exp": 1_000})).unwrap();
        let at = |aud, secs| {
            verify_jwt::<serde_json::Value>(&jwt, &keys, "JWT", aud, Timestamp::from_secs(secs))
        };
        assert!(at("a", 999).is_ok());
        assert_eq!(at("b", 999).unwrap_err(), SetError::WrongAudience);
        assert_eq!(at("a", 1_061).unwrap_err(), SetError::NotNow);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_and_never_a_panic(text in ".{0,300}") {
            let keys = Jwks::default();
            prop_assert!(verify(&text, &keys, &expected()).is_err());
            let _ = read_unverified(&text);
        }
    }
}
