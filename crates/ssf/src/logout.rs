//! Logout tokens of OpenID providers (OpenID Connect Back-Channel Logout 1.0, §2.4 and §2.6).
//!
//! It refuses an ID token in their place, a token with a `nonce`, and one that names nobody.

use exeunt_domain::{Jti, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::peer::{LEEWAY_SECS, PeerKeys, signed_claims};
use crate::set::SetError;

/// The event that makes a token a logout token (§2.4).
pub const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// The types in use: the specification's, and `JWT` of providers that name none of their own, as
/// Keycloak did. The event and the missing `nonce` tell a logout token from every other JWT.
const TYPES: [&str; 2] = ["logout+jwt", "JWT"];
/// How old a token may be that names no end, in seconds. §2.4 asks for `exp`; its first drafts did
/// not, and providers that follow them are in use.
const OLDEST_SECS: u64 = 600;
/// Longest `sub` and `sid`, in bytes.
const LONGEST: usize = 1024;

/// Whom a provider has logged out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The token's identifier.
    pub jti: Jti,
    /// The person, as the provider names them.
    pub sub: Option<String>,
    /// One session at the provider.
    pub sid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    jti: Jti,
    iat: u64,
    exp: Option<u64>,
    sub: Option<String>,
    sid: Option<String>,
    events: serde_json::Map<String, Value>,
}

/// Verifies a logout token: its keys and algorithm, its issuer, that one of `clients` is meant, its
/// times (a minute is allowed for clocks), its event, and that it names somebody.
///
/// # Errors
/// [`SetError`].
pub fn verify_logout(
    compact: &str,
    keys: &PeerKeys,
    issuer: &str,
    clients: &[&str],
    now: Timestamp,
) -> Result<Logout, SetError> {
    let malformed = |why: &str| SetError::Malformed(why.to_owned());
    let claims = signed_claims(compact, keys, &TYPES, issuer, clients)?;
    // A null, too: it has no place there at all.
    if claims.get("nonce").is_some() {
        return Err(malformed("a logout token carries no nonce"));
    }
    let claims: Claims = serde_json::from_value(claims)
        .map_err(|error| SetError::Malformed(format!("no logout token: {error}")))?;
    // Other members, such as Keycloak's `revoke_offline_access`, are not asked for anything.
    if !claims.events.get(LOGOUT_EVENT).is_some_and(Value::is_object) {
        return Err(malformed("its events have no back-channel logout"));
    }
    let now = now.as_secs();
    let over = claims.exp.unwrap_or(claims.iat.saturating_add(OLDEST_SECS));
    if over.saturating_add(LEEWAY_SECS) <= now || claims.iat > now + LEEWAY_SECS {
        return Err(malformed("it is not good now: look at both clocks"));
    }
    for name in [&claims.sub, &claims.sid].into_iter().flatten() {
        if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
            return Err(malformed("sub and sid have 1 to 1,024 printable bytes"));
        }
    }
    if claims.sub.is_none() && claims.sid.is_none() {
        return Err(malformed("it names neither sub nor sid, and is never taken for everyone"));
    }
    Ok(Logout { jti: claims.jti, sub: claims.sub, sid: claims.sid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;
    use serde_json::json;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn claims(more: &Value) -> Value {
        let mut claims = json!({
            "iss": "https://op.example", "aud": "rp", "iat": 1_800_000_000_u64,
            "exp": 1_800_000_120_u64, "jti": "j", "sub": "u", "sid": "s",
            "events": { LOGOUT_EVENT: {} },
        });
        let members = claims.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims(&json!({}));
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn read(typ: &str, claims: &Value) -> Result<Logout, SetError> {
        let key = SigningKey::generate().unwrap();
        let keys = PeerKeys::read(&json!({ "keys": [key.jwk()] }));
        let compact = key.sign_jwt(typ, claims).unwrap();
        verify_logout(&compact, &keys, "https://op.example", &["other", "rp"], NOW)
    }

    #[test]
    fn reads_what_providers_send() {
        let whole = read("logout+jwt", &claims(&json!({}))).unwrap();
        let (sub, sid) = (Some("u".to_owned()), Some("s".to_owned()));
        assert_eq!(whole, Logout { jti: Jti::parse("j").unwrap(), sub, sid });
        assert!(read("application/logout+jwt", &claims(&json!({ "aud": ["x", "rp"] }))).is_ok());
        assert_eq!(read("logout+jwt", &without("sid")).unwrap().sid, None);
        assert_eq!(read("logout+jwt", &without("sub")).unwrap().sub, None);
        // Keycloak: no type of its own, a member beside the event, and once no end.
        let events = json!({ LOGOUT_EVENT: {}, "revoke_offline_access": true });
        let keycloak = claims(&json!({ "typ": "Logout", "events": events }));
        assert!(read("JWT", &keycloak).is_ok());
        assert!(read("JWT", &without("exp")).is_ok());
    }

    #[test]
    fn refuses_what_is_no_logout_token_or_names_nobody() {
        let mut nobody = without("sub");
        nobody.as_object_mut().unwrap().remove("sid");
        for (what, typ, claims) in [
            ("an ID token", "JWT", without("events")),
            ("another event", "JWT", claims(&json!({ "events": { "urn:x": {} } }))),
            (
                "an event that is no object",
                "JWT",
                claims(&json!({ "events": { LOGOUT_EVENT: 1 } })),
            ),
            ("events that are no object", "JWT", claims(&json!({ "events": LOGOUT_EVENT }))),
            ("a nonce", "logout+jwt", claims(&json!({ "nonce": "n" }))),
            ("a nonce of null", "logout+jwt", claims(&json!({ "nonce": null }))),
            ("a SET", "secevent+jwt", claims(&json!({}))),
            ("an access token", "at+jwt", claims(&json!({}))),
            ("nobody", "logout+jwt", nobody),
            ("an empty sid", "logout+jwt", claims(&json!({ "sid": "" }))),
            ("a sub with line breaks", "logout+jwt", claims(&json!({ "sub": "a\r\nb" }))),
            ("no jti", "logout+jwt", without("jti")),
            ("no iat", "logout+jwt", without("iat")),
            ("past its end", "logout+jwt", claims(&json!({ "exp": 1_799_999_000_u64 }))),
            ("of 2100", "logout+jwt", claims(&json!({ "iat": 4_102_444_800_u64 }))),
            ("another issuer", "logout+jwt", claims(&json!({ "iss": "https://evil.example" }))),
            ("another client", "logout+jwt", claims(&json!({ "aud": "someone" }))),
        ] {
            assert!(read(typ, &claims).is_err(), "{what}");
        }
        let mut endless = without("exp");
        endless["iat"] = json!(1_799_990_000_u64);
        assert!(read("JWT", &endless).is_err(), "old, without an end");
    }
}
