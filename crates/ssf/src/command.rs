//! Command tokens of OpenID providers (OpenID Provider Commands 1.0, draft 02: not a standard yet).
//!
//! It refuses a token of another type, one with a `nonce`, and one about several people.

use exeunt_domain::{Jti, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::peer::{PeerKeys, verify_peer_jwt};
use crate::set::SetError;

/// The `typ` of a command token, exactly.
const TYP: &str = "command+jwt";

/// What a provider asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProviderCommand {
    /// The token's identifier.
    pub jti: Jti,
    /// The client that is meant.
    pub client_id: String,
    /// The command's name.
    pub command: String,
    /// The tenant at the provider. The draft asks for one, and its own examples leave it out.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The account, for a command about one.
    #[serde(default)]
    pub sub: Option<String>,
}

/// Verifies a command token that was sent to `endpoint`.
///
/// # Errors
/// [`SetError`].
pub fn verify_command(
    compact: &str,
    keys: &PeerKeys,
    issuer: &str,
    endpoint: &str,
    now: Timestamp,
) -> Result<ProviderCommand, SetError> {
    let malformed = |why: String| SetError::Malformed(why);
    let claims: Value = verify_peer_jwt(compact, keys, &[TYP], issuer, endpoint, now)?;
    if claims.get("nonce").is_some() {
        return Err(malformed("a command token carries no nonce".into()));
    }
    ProviderCommand::deserialize(claims).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;
    use serde_json::json;

    #[test]
    fn refuses_every_other_kind_of_token() {
        let key = SigningKey::generate().unwrap();
        let keys = PeerKeys::read(&json!({ "keys": [key.jwk()] }));
        let claims = json!({ "iss": "i", "aud": "https://hub.example/c", "client_id": "c",
            "jti": "j", "iat": 1, "exp": 1_000, "command": "invalidate", "sub": "u" });
        let read = |typ: &str, claims: &Value| {
            let compact = key.sign_jwt(typ, claims).unwrap();
            verify_command(&compact, &keys, "i", "https://hub.example/c", Timestamp(1_000))
        };
        assert_eq!(read("command+jwt", &claims).unwrap().sub.as_deref(), Some("u"));
        for typ in ["JWT", "logout+jwt", "secevent+jwt"] {
            assert!(matches!(read(typ, &claims), Err(SetError::WrongType(_))), "{typ}");
        }
        let mut with_nonce = claims.clone();
        with_nonce["nonce"] = json!("n");
        assert!(read("command+jwt", &with_nonce).is_err());
    }
}
