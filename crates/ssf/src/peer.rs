//! SETs of other parties: their published keys, and what of a compact SET may be believed.
//!
//! It refuses symmetric and missing algorithms, an algorithm that is not its key's, RSA under
//! 2048 bits, and every `typ` but a SET's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::key::SET_TYP;
use crate::rsa::LEAST_BITS;
use crate::set::{Set, SetError};
use crate::verify::MAX_COMPACT_BYTES;

/// How far clocks may differ, in seconds.
pub(crate) const LEEWAY_SECS: u64 = 60;

/// A party's public keys, as far as they can be used here.
#[derive(Clone, Debug, Default)]
pub struct PeerKeys {
    keys: Vec<PeerKey>,
}

#[derive(Clone, Debug)]
struct PeerKey {
    kid: Option<String>,
    algorithm: Algorithm,
    jwk: Jwk,
}

impl PeerKeys {
    /// Reads a JWK Set (RFC 7517 §5). Keys that cannot be used here are passed over.
    #[must_use]
    pub fn read(jwks: &Value) -> Self {
        let keys = jwks.get("keys").and_then(Value::as_array);
        Self { keys: keys.into_iter().flatten().filter_map(PeerKey::read).collect() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key named `kid`; without a name, the only one there is.
    fn find(&self, kid: Option<&str>) -> Option<&PeerKey> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }
}

impl PeerKey {
    fn read(key: &Value) -> Option<Self> {
        // A key for encryption is none for signatures (RFC 7517 §4.2).
        if key.get("use").is_some_and(|use_| use_ != "sig") {
            return None;
        }
        let mut plain = key.clone();
        // Certificates and hints beside the key are not looked at, and must not spoil it.
        if let Some(members) = plain.as_object_mut() {
            members.retain(|name, _| {
                ["kty", "kid", "alg", "n", "e", "crv", "x", "y"].contains(&name.as_str())
            });
        }
        let jwk: Jwk = serde_json::from_value(plain).ok()?;
        let algorithm = if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            let top = modulus.get(leading)?.leading_zeros() as usize;
            let bits = (modulus.len() - leading) * 8 - top;
            (LEAST_BITS..=8192).contains(&bits).then_some(Algorithm::RS256)?
        } else if let AlgorithmParameters::EllipticCurve(ec) = &jwk.algorithm {
            (ec.curve == EllipticCurve::P256).then_some(Algorithm::ES256)?
        } else if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm {
            (pair.curve == EllipticCurve::Ed25519).then_some(Algorithm::EdDSA)?
        } else {
            return None;
        };
        Some(Self { kid: jwk.common.key_id.clone(), algorithm, jwk })
    }
}

/// Verifies a compact SET of another party against its keys, its issuer name and our name there.
///
/// # Errors
/// [`SetError`], which carries the RFC 8935 code.
pub fn verify_peer(
    compact: &str,
    keys: &PeerKeys,
    issuer: &str,
    audience: &str,
) -> Result<Set, SetError> {
    if compact.len() > MAX_COMPACT_BYTES {
        return Err(SetError::Malformed("longer than 1 MiB".into()));
    }
    let header = jsonwebtoken::decode_header(compact)
        .map_err(|error| SetError::Malformed(error.to_string()))?;
    let named = header.typ.unwrap_or_default();
    let bare = named.strip_prefix("application/").unwrap_or(&named);
    if !bare.eq_ignore_ascii_case(SET_TYP) {
        return Err(SetError::WrongType(named));
    }
    if header.crit.is_some() {
        return Err(SetError::Malformed("critical header parameters".into()));
    }
    let unknown = || SetError::UnknownKey(header.kid.clone().unwrap_or_default());
    let key = keys.find(header.kid.as_deref()).ok_or_else(unknown)?;
    if header.alg != key.algorithm {
        return Err(unknown());
    }
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoding = DecodingKey::from_jwk(&key.jwk).map_err(|_| unknown())?;
    let data = jsonwebtoken::decode::<Set>(compact, &decoding, &validation).map_err(|error| {
        if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::InvalidSignature) {
            SetError::BadSignature
        } else {
            SetError::Malformed(error.to_string())
        }
    })?;
    let set = data.claims;
    if set.iss != issuer {
        return Err(SetError::WrongIssuer(set.iss));
    }
    if !set.aud.iter().any(|aud| aud == audience) {
        return Err(SetError::WrongAudience);
    }
    Ok(set)
}

/// Who a JWT says has issued it, without believing it: for finding out whose keys to verify it with.
#[must_use]
pub fn claimed_issuer(compact: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    if compact.len() > MAX_COMPACT_BYTES {
        return None;
    }
    let read = jsonwebtoken::dangerous::insecure_decode::<Claimed>(compact).ok()?;
    Some(read.claims.iss)
}

/// Whom a JWT says it is for, the first of them, without believing it: for one whose reader need not
/// be the one it is for.
#[must_use]
pub fn claimed_audience(compact: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        aud: Value,
    }
    if compact.len() > MAX_COMPACT_BYTES {
        return None;
    }
    let read = jsonwebtoken::dangerous::insecure_decode::<Claimed>(compact).ok()?;
    let aud = read.claims.aud;
    let first = aud.as_str().or_else(|| aud.as_array()?.first()?.as_str())?;
    Some(first.to_owned())
}

/// Verifies a JWT of another party that is no SET, such as an ID token: its type (one of `types`;
/// none counts as `JWT`), its keys, its issuer name, our name there, and that it has not expired
/// (RFC 7519 §4.1.4; a minute is allowed for clocks).
///
/// # Errors
/// [`SetError`].
pub fn verify_peer_jwt<T: DeserializeOwned>(
    compact: &str,
    keys: &PeerKeys,
    types: &[&str],
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<T, SetError> {
    #[derive(Deserialize)]
    struct Times {
        exp: u64,
        nbf: Option<u64>,
    }
    let malformed = |why: String| SetError::Malformed(why);
    let claims = signed_claims(compact, keys, types, issuer, &[audience])?;
    let times = Times::deserialize(&claims).map_err(|error| malformed(error.to_string()))?;
    let now = now.as_secs();
    if times.exp.saturating_add(LEEWAY_SECS) <= now
        || times.nbf.is_some_and(|at| at > now + LEEWAY_SECS)
    {
        return Err(malformed("it is not good now: look at both clocks".into()));
    }
    T::deserialize(claims).map_err(|error| malformed(error.to_string()))
}

/// The claims of a JWT of another party: its type (one of `types`; none counts as `JWT`), its key
/// and its algorithm, its issuer name, and one of our names there were checked; its times were not.
///
/// # Errors
/// [`SetError`].
pub(crate) fn signed_claims(
    compact: &str,
    keys: &PeerKeys,
    types: &[&str],
    issuer: &str,
    audiences: &[&str],
) -> Result<Value, SetError> {
    let malformed = |why: String| SetError::Malformed(why);
    if compact.len() > MAX_COMPACT_BYTES {
        return Err(malformed("longer than 1 MiB".into()));
    }
    let header =
        jsonwebtoken::decode_header(compact).map_err(|error| malformed(error.to_string()))?;
    let typ = header.typ.unwrap_or_else(|| "JWT".into());
    let bare = typ.strip_prefix("application/").unwrap_or(&typ);
    if !types.iter().any(|one| one.eq_ignore_ascii_case(bare)) {
        return Err(SetError::WrongType(typ));
    }
    if header.crit.is_some() {
        return Err(malformed("critical header parameters".into()));
    }
    let unknown = || SetError::UnknownKey(header.kid.clone().unwrap_or_default());
    let key = keys.find(header.kid.as_deref()).ok_or_else(unknown)?;
    if header.alg != key.algorithm {
        return Err(unknown());
    }
    let mut validation = Validation::new(key.algorithm);
    // Times are the caller's to look at.
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["iss", "aud"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    let decoding = DecodingKey::from_jwk(&key.jwk).map_err(|_| unknown())?;
    let data = jsonwebtoken::decode::<Value>(compact, &decoding, &validation);
    Ok(data.map_err(|error| refusal_of(&error))?.claims)
}

fn refusal_of(error: &jsonwebtoken::errors::Error) -> SetError {
    use jsonwebtoken::errors::ErrorKind;
    if matches!(error.kind(), ErrorKind::InvalidSignature) {
        SetError::BadSignature
    } else if matches!(error.kind(), ErrorKind::InvalidIssuer) {
        SetError::WrongIssuer("another issuer".into())
    } else if matches!(error.kind(), ErrorKind::InvalidAudience) {
        SetError::WrongAudience
    } else {
        SetError::Malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn passes_over_keys_that_are_symmetric_short_or_for_encryption() {
        let n = URL_SAFE_NO_PAD.encode([0xff_u8; 256]);
        let short = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
        let x = crate::SigningKey::generate().unwrap();
        let mut ed = serde_json::to_value(x.jwk()).unwrap();
        ed["x5t"] = json!(12);
        let keys = PeerKeys::read(&json!({ "keys": [
            { "kty": "oct", "k": "c2VjcmV0", "kid": "a" },
            { "kty": "RSA", "n": short, "e": "AQAB", "kid": "b" },
            { "kty": "RSA", "n": n, "e": "AQAB", "kid": "c", "use": "enc" },
            { "kty": "RSA", "n": n, "e": "AQAB", "kid": "d", "use": "sig" },
            { "kty": "zzz" }, 7, ed,
        ] }));
        let kids: Vec<_> = keys.keys.iter().map(|key| key.kid.clone().unwrap()).collect();
        assert_eq!(kids, ["d", x.kid().as_str()]);
        assert!(PeerKeys::read(&json!([])).is_empty());
    }

    #[test]
    fn believes_only_the_named_issuer_and_audience() {
        let key = crate::SigningKey::generate().unwrap();
        let keys = PeerKeys::read(&json!({ "keys": [key.jwk()] }));
        let claims = json!({"iss": "i", "aud": ["a"], "jti": "j", "iat": 1, "events": {"e": {}}});
        let compact = key.sign_jwt(SET_TYP, &claims).unwrap();
        assert!(verify_peer(&compact, &keys, "i", "a").is_ok());
        let code = |issuer, audience| {
            verify_peer(&compact, &keys, issuer, audience).unwrap_err().err_code()
        };
        assert_eq!(code("x", "a"), "invalid_issuer");
        assert_eq!(code("i", "x"), "invalid_audience");
        let none = PeerKeys::default();
        assert_eq!(verify_peer(&compact, &none, "i", "a").unwrap_err().err_code(), "invalid_key");
    }
}
