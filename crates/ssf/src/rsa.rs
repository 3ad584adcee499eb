//! RS256 keys, which the CAEP Interoperability Profile asks of streams to other parties.
//!
//! It refuses to make a key under 2048 bits, or to show one except as the text its owner stores.

use ::rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _, LineEnding};
use ::rsa::pkcs8::DecodePrivateKey as _;
use ::rsa::rand_core::OsRng;
use ::rsa::traits::PublicKeyParts as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::key::SET_TYP;
use crate::set::SetError;

/// Fewest bits of a modulus.
pub const LEAST_BITS: usize = 2048;

/// An RSA key could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// The stored form is no private RSA key in PEM.
    #[error("the stored key is no RSA private key in PEM")]
    Damaged,
    /// The modulus is too short.
    #[error("the RSA key has {0} bits, and at least 2048 are needed")]
    Short(usize),
    /// The system could not make one.
    #[error("no RSA key could be made")]
    NotMade,
}

/// A private RSA key that signs SETs with RS256 (RFC 7518 §3.3).
#[derive(Clone)]
pub struct RsaSigner {
    encoding: EncodingKey,
    pem: String,
    kid: String,
    jwk: Value,
}

impl std::fmt::Debug for RsaSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RsaSigner").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl RsaSigner {
    /// Makes a fresh key of 2048 bits. This takes a while.
    ///
    /// # Errors
    /// [`RsaError::NotMade`].
    pub fn generate() -> Result<Self, RsaError> {
        let key = ::rsa::RsaPrivateKey::new(&mut OsRng, LEAST_BITS);
        Self::of(&key.map_err(|_| RsaError::NotMade)?)
    }

    /// Reads a PEM of PKCS #1 or PKCS #8.
    ///
    /// # Errors
    /// [`RsaError`].
    pub fn from_pem(text: &str) -> Result<Self, RsaError> {
        let key = ::rsa::RsaPrivateKey::from_pkcs1_pem(text.trim());
        let key = match key {
            Ok(key) => key,
            Err(_) => {
                ::rsa::RsaPrivateKey::from_pkcs8_pem(text.trim()).map_err(|_| RsaError::Damaged)?
            }
        };
        Self::of(&key)
    }

    /// The private key as PEM. Store it where only its owner reads.
    #[must_use]
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    fn of(key: &::rsa::RsaPrivateKey) -> Result<Self, RsaError> {
        let bits = key.n().bits();
        if bits < LEAST_BITS {
            return Err(RsaError::Short(bits));
        }
        let der = key.to_pkcs1_der().map_err(|_| RsaError::Damaged)?;
        let pem = key.to_pkcs1_pem(LineEnding::LF).map_err(|_| RsaError::Damaged)?.to_string();
        let n = URL_SAFE_NO_PAD.encode(key.n().to_bytes_be());
        let e = URL_SAFE_NO_PAD.encode(key.e().to_bytes_be());
        let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        let jwk = json!({
            "kty": "RSA", "n": n, "e": e, "kid": kid, "alg": "RS256", "use": "sig",
        });
        Ok(Self { encoding: EncodingKey::from_rsa_der(der.as_bytes()), pem, kid, jwk })
    }

    /// The key's name: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JWK.
    #[must_use]
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// Signs the claims of a SET. The same claims always give the same bytes (RFC 8017 §8.2).
    ///
    /// # Errors
    /// [`SetError::Unsignable`].
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SetError> {
        self.sign_jwt(SET_TYP, claims)
    }

    /// Signs the claims of a JWT of any type.
    ///
    /// # Errors
    /// [`SetError::Unsignable`].
    pub fn sign_jwt(&self, typ: &str, claims: &impl Serialize) -> Result<String, SetError> {
        let mut header = Header::new(Algorithm::RS256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding)
            .map_err(|error| SetError::Unsignable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::verify_peer_jwt;
    use crate::{PeerKeys, SigningKey, verify_peer};

    /// One key for every test here: making one takes seconds without optimisation.
    fn key() -> &'static RsaSigner {
        static KEY: std::sync::OnceLock<RsaSigner> = std::sync::OnceLock::new();
        KEY.get_or_init(|| RsaSigner::generate().unwrap())
    }

    fn claims() -> Value {
        json!({"iss": "i", "aud": "a", "jti": "j", "iat": 1, "events": {"e": {}}})
    }

    #[test]
    fn signs_the_same_claims_to_the_same_bytes_that_its_own_key_verifies() {
        let compact = key().sign(&claims()).unwrap();
        assert_eq!(key().sign(&claims()).unwrap(), compact);
        let keys = PeerKeys::read(&json!({ "keys": [key().jwk()] }));
        assert_eq!(verify_peer(&compact, &keys, "i", "a").unwrap().jti.as_str(), "j");
    }

    #[test]
    fn reads_back_what_it_stores_and_shows_it_nowhere_else() {
        let again = RsaSigner::from_pem(key().to_pem()).unwrap();
        assert_eq!(again.kid(), key().kid());
        assert!(!format!("{again:?}").contains("PRIVATE"));
        assert!(RsaSigner::from_pem("nonsense").is_err());
    }

    #[test]
    fn refuses_none_a_symmetric_signature_under_the_public_key_and_another_key_of_that_name() {
        let keys = PeerKeys::read(&json!({ "keys": [key().jwk()] }));
        let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
        for alg in ["none", "HS256", "EdDSA", "PS256"] {
            let header = json!({"typ": SET_TYP, "alg": alg, "kid": key().kid()});
            let compact = format!("{}.{payload}.AAAA", URL_SAFE_NO_PAD.encode(header.to_string()));
            assert!(verify_peer(&compact, &keys, "i", "a").is_err(), "{alg}");
        }
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(SET_TYP.into());
        header.kid = Some(key().kid().into());
        let public = key().jwk()["n"].as_str().unwrap().as_bytes();
        let forged =
            jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(public)).unwrap();
        assert!(verify_peer(&forged, &keys, "i", "a").is_err());
        let mut timed = claims();
        timed["exp"] = json!(100);
        let forged =
            jsonwebtoken::encode(&header, &timed, &EncodingKey::from_secret(public)).unwrap();
        let read = |compact: &str| {
            let now = exeunt_domain::Timestamp(1000);
            verify_peer_jwt::<Value>(compact, &keys, &[SET_TYP], "i", "a", now)
        };
        assert_eq!(read(&forged).unwrap_err().err_code(), "invalid_key");
        assert!(read(&key().sign(&timed).unwrap()).is_ok());
        let other = SigningKey::generate().unwrap();
        let jwt = other.sign_jwt(SET_TYP, &claims()).unwrap();
        assert_eq!(verify_peer(&jwt, &keys, "i", "a").unwrap_err().err_code(), "invalid_key");
    }
}
