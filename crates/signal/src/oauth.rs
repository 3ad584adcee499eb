//! OAuth client credentials with a signed assertion (RFC 6749 §4.4, RFC 7523 §2.2).
//!
//! It refuses to store a token anywhere but in memory, and to show one in debug output.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exeunt_domain::Timestamp;
use exeunt_ssf::SigningKey;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::http::{ANSWER_WITHIN, read_answer, refusal, send};
use crate::transport::TransportError;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion lives.
const ASSERTION_SECS: u64 = 60;
/// A token is renewed this long before it lapses.
const RENEW_EARLY: Duration = Duration::from_secs(30);

/// One client's credentials, and the token they last bought.
pub struct ClientCredentials {
    token_url: String,
    client_id: String,
    scope: String,
    key: SigningKey,
    cached: Mutex<Option<Cached>>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

struct Cached {
    token: AccessToken,
    renew_at: Instant,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<str>);

impl AccessToken {
    /// The token, for the one header it belongs in.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: u64,
    exp: u64,
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    grant_type: &'static str,
    client_assertion_type: &'static str,
    client_assertion: String,
    client_id: &'a str,
    scope: &'a str,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

impl ClientCredentials {
    /// Credentials of `client_id`, proved by `key`, for tokens from `token_url`.
    #[must_use]
    pub fn new(token_url: String, client_id: String, scope: String, key: SigningKey) -> Self {
        Self { token_url, client_id, scope, key, cached: Mutex::new(None) }
    }

    /// A token that should still be accepted: the cached one, else a fresh one.
    ///
    /// # Errors
    /// [`TransportError`]; [`TransportError::Unauthorized`] when the hub does not know this key.
    pub async fn token(&self, http: &reqwest::Client) -> Result<AccessToken, TransportError> {
        let mut cached = self.cached.lock().await;
        if let Some(held) = cached.as_ref().filter(|held| Instant::now() < held.renew_at) {
            return Ok(held.token.clone());
        }
        let fresh = self.buy(http).await?;
        let token = fresh.token.clone();
        *cached = Some(fresh);
        Ok(token)
    }

    /// Forgets `refused`, unless another task already replaced it.
    pub async fn forget(&self, refused: &AccessToken) {
        let mut cached = self.cached.lock().await;
        if cached.as_ref().is_some_and(|held| held.token == *refused) {
            *cached = None;
        }
    }

    async fn buy(&self, http: &reqwest::Client) -> Result<Cached, TransportError> {
        let request = TokenRequest {
            grant_type: "client_credentials",
            client_assertion_type: ASSERTION_TYPE,
            client_assertion: self.assertion()?,
            client_id: &self.client_id,
            scope: &self.scope,
        };
        let answer = send(http.post(&self.token_url).timeout(ANSWER_WITHIN).form(&request)).await?;
        if !answer.status().is_success() {
            // RFC 6749 §5.2: `invalid_client` may come as 400 or 401.
            return Err(match refusal(answer).await {
                TransportError::Refused { body, .. } => TransportError::Unauthorized(body),
                other @ (TransportError::Unreachable(_)
                | TransportError::Closed
                | TransportError::Busy { .. }
                | TransportError::Unauthorized(_)
                | TransportError::Malformed(_)) => other,
            });
        }
        let body = read_answer(answer).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|error| TransportError::Malformed(format!("token: {error}")))?;
        let lives = Duration::from_secs(answer.expires_in.unwrap_or(300));
        tracing::debug!(lives_s = lives.as_secs(), "fetched an access token");
        Ok(Cached {
            token: AccessToken(answer.access_token.into()),
            renew_at: Instant::now() + lives.saturating_sub(RENEW_EARLY).max(lives / 2),
        })
    }

    fn assertion(&self) -> Result<String, TransportError> {
        let now = now();
        let unmade = |why: String| TransportError::Malformed(format!("client assertion: {why}"));
        let claims = Assertion {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: &self.token_url,
            jti: exeunt_ssf::new_id(now).map_err(|error| unmade(error.to_string()))?,
            iat: now.as_secs(),
            exp: now.as_secs() + ASSERTION_SECS,
        };
        self.key.sign_jwt("JWT", &claims).map_err(|error| unmade(error.to_string()))
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
