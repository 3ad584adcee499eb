//! Ed25519 signing keys, public keys as JWKs, and fresh identifiers.
//!
//! It refuses to show a private key except as the one text that its owner stores.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use exeunt_domain::{Kid, Timestamp};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::{Deserialize, Serialize};

use crate::set::{Set, SetError};

/// The `typ` header of a SET (RFC 8417 §2.3).
pub const SET_TYP: &str = "secevent+jwt";

/// A key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    NoRandomness(getrandom::Error),
    /// The stored form is not 32 bytes of unpadded base64url.
    #[error("the stored key is damaged: it is not 32 bytes of base64url")]
    Damaged,
    /// The key is of a kind that is not used here.
    #[error("the key is not an Ed25519 key (RFC 8037)")]
    WrongKind,
}

/// A private Ed25519 key (RFC 8032) and its public names.
#[derive(Clone)]
pub struct SigningKey {
    inner: ed25519_dalek::SigningKey,
    jwk: PublicJwk,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", self.kid()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0_u8; 32];
        getrandom::fill(&mut seed).map_err(KeyError::NoRandomness)?;
        Self::from_seed(&seed)
    }

    /// Reads the form that [`SigningKey::to_seed_b64`] wrote.
    ///
    /// # Errors
    /// [`KeyError::Damaged`].
    pub fn from_seed_b64(text: &str) -> Result<Self, KeyError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| KeyError::Damaged)?;
        let seed: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Damaged)?;
        Self::from_seed(&seed)
    }

    /// The private key as unpadded base64url. Store it where only its owner reads.
    #[must_use]
    pub fn to_seed_b64(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.inner.to_bytes())
    }

    fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let inner = ed25519_dalek::SigningKey::from_bytes(seed);
        let x = URL_SAFE_NO_PAD.encode(inner.verifying_key().as_bytes());
        let jwk = PublicJwk::ed25519(&x)?;
        Ok(Self { inner, jwk })
    }

    /// The key's name: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        self.jwk.kid()
    }

    /// The public key.
    #[must_use]
    pub fn jwk(&self) -> &PublicJwk {
        &self.jwk
    }

    /// Signs a SET: `typ: secevent+jwt`, `alg: EdDSA`, `kid`.
    ///
    /// # Errors
    /// [`SetError::Unsignable`] when the claims are no JSON.
    pub fn sign(&self, set: &Set) -> Result<String, SetError> {
        self.sign_jwt(SET_TYP, set)
    }

    /// Signs any claims under a `typ` of its own (RFC 8725 §3.11), such as a client assertion.
    ///
    /// # Errors
    /// [`SetError::Unsignable`] when the claims are no JSON.
    pub fn sign_jwt(&self, typ: &str, claims: &impl Serialize) -> Result<String, SetError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid().as_str().to_owned());
        // `jsonwebtoken::encode` derives the public key anew each time, which takes longer than
        // the signature. This is its compact form (RFC 7515 §3.1, RFC 8037 §3.1) with the key ready.
        let mut compact = format!("{}.{}", part(&header)?, part(claims)?);
        let signature = self.inner.sign(compact.as_bytes()).to_bytes();
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut compact);
        Ok(compact)
    }
}

/// One part of a compact JWS.
fn part(of: &impl Serialize) -> Result<String, SetError> {
    let json = serde_json::to_vec(of).map_err(|error| SetError::Unsignable(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// A public Ed25519 key as a JWK (RFC 8037), checked and named by its thumbprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Jwk", into = "Jwk")]
pub struct PublicJwk {
    jwk: Jwk,
    kid: Kid,
}

impl PublicJwk {
    fn ed25519(x: &str) -> Result<Self, KeyError> {
        let text = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        let jwk: Jwk = serde_json::from_value(text).map_err(|_| KeyError::WrongKind)?;
        Self::try_from(jwk)
    }

    /// The key of a public point, unpadded base64url (RFC 8037 `x`).
    ///
    /// # Errors
    /// [`KeyError::WrongKind`] when it is no sound Ed25519 point.
    pub fn from_x(x: &str) -> Result<Self, KeyError> {
        Self::ed25519(x)
    }

    /// Its public point, unpadded base64url (RFC 8037 `x`).
    #[must_use]
    pub fn x(&self) -> &str {
        // Every constructor checks that it is of this kind.
        let AlgorithmParameters::OctetKeyPair(pair) = &self.jwk.algorithm else { return "" };
        &pair.x
    }

    /// The key's name: its RFC 7638 thumbprint, whatever `kid` the JWK claims.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    pub(crate) fn decoding(&self) -> Result<DecodingKey, KeyError> {
        DecodingKey::from_jwk(&self.jwk).map_err(|_| KeyError::WrongKind)
    }
}

impl TryFrom<Jwk> for PublicJwk {
    type Error = KeyError;
    fn try_from(mut jwk: Jwk) -> Result<Self, KeyError> {
        let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm else {
            return Err(KeyError::WrongKind);
        };
        let point = URL_SAFE_NO_PAD.decode(&pair.x).map_err(|_| KeyError::WrongKind)?;
        let point: [u8; 32] = point.try_into().map_err(|_| KeyError::WrongKind)?;
        let sound = ed25519_dalek::VerifyingKey::from_bytes(&point).is_ok_and(|key| !key.is_weak());
        if pair.curve != EllipticCurve::Ed25519 || !sound {
            return Err(KeyError::WrongKind);
        }
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyError::WrongKind)?;
        let kid = Kid::parse(thumbprint).map_err(|_| KeyError::WrongKind)?;
        jwk.common.key_id = Some(kid.as_str().to_owned());
        jwk.common.key_algorithm = Some(jsonwebtoken::jwk::KeyAlgorithm::EdDSA);
        Ok(Self { jwk, kid })
    }
}

impl From<PublicJwk> for Jwk {
    fn from(key: PublicJwk) -> Jwk {
        key.jwk
    }
}

/// A set of public keys (RFC 7517 §5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// Each of them. Keys of other kinds are passed over (RFC 7517 §5).
    #[serde(deserialize_with = "usable")]
    pub keys: Vec<PublicJwk>,
}

fn usable<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<PublicJwk>, D::Error> {
    let keys = Vec::<serde_json::Value>::deserialize(from)?;
    Ok(keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
}

impl Jwks {
    /// The set of one key.
    #[must_use]
    pub fn of(key: &PublicJwk) -> Self {
        Self { keys: vec![key.clone()] }
    }

    /// The key of that name.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&PublicJwk> {
        self.keys.iter().find(|key| key.kid.as_str() == kid)
    }
}

/// A fresh identifier: a UUIDv7 (RFC 9562 §5.7) of `now`, so that text order is time order.
///
/// # Errors
/// [`KeyError::NoRandomness`].
pub fn new_id(now: Timestamp) -> Result<String, KeyError> {
    let mut random = [0_u8; 10];
    getrandom::fill(&mut random).map_err(KeyError::NoRandomness)?;
    Ok(uuid::Builder::from_unix_timestamp_millis(now.0, &random).into_uuid().to_string())
}

/// A fresh secret of 256 bits, as unpadded base64url.
///
/// # Errors
/// [`KeyError::NoRandomness`].
pub fn random_token() -> Result<String, KeyError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(KeyError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_its_stored_form() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_seed_b64(&key.to_seed_b64()).unwrap();
        assert_eq!(again.kid(), key.kid());
    }

    #[test]
    fn never_shows_the_private_key_in_debug_output() {
        let key = SigningKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(&key.to_seed_b64()));
    }

    #[test]
    fn refuses_symmetric_weak_and_foreign_keys() {
        for text in [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        ] {
            assert!(serde_json::from_str::<PublicJwk>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ignores_the_kid_that_a_jwk_claims() {
        let key = SigningKey::generate().unwrap();
        let mut json = serde_json::to_value(key.jwk()).unwrap();
        json["kid"] = "somebody-else".into();
        let read: PublicJwk = serde_json::from_value(json).unwrap();
        assert_eq!(read.kid(), key.kid());
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        assert!(new_id(Timestamp(1_000)).unwrap() < new_id(Timestamp(2_000)).unwrap());
    }
}
