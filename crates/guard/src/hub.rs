//! The hub as a relying service speaks to it.
//!
//! It refuses to carry its secret anywhere but to the token endpoint.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use exeunt_check::wire::{
    DELTAS, DeltasResponse, InvalidHash, SESSIONS, SNAPSHOT, SessionRequest, SessionResponse,
    SnapshotResponse, TOKEN,
};
use exeunt_domain::SessionId;
use exeunt_signal::{HubUrl, InvalidHubUrl, Trust, TrustError};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::guard::InvalidOptions;

/// How long an answer may take beyond what was asked of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The guard did not connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options contradict the protocol.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The address is no hub's.
    #[error(transparent)]
    Address(#[from] InvalidHubUrl),
    /// The authorities that are to vouch for the hub cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The hub did not answer as it should.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The snapshot is malformed.
    #[error(transparent)]
    Snapshot(#[from] InvalidHash),
}

/// The hub did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// It cannot be reached, or the connection broke.
    #[error("the hub cannot be reached: {}", exeunt_signal::http::root_cause(.0))]
    Unreachable(#[source] reqwest::Error),
    /// It does not know these credentials.
    #[error("the hub does not accept this service's credentials")]
    Unauthorized,
    /// The person authenticated before the subject was signed out: send them to sign in again.
    #[error("the subject was signed out after this authentication")]
    StaleAuth,
    /// Changes are missing: take a snapshot.
    #[error("the hub no longer keeps these changes")]
    SnapshotNeeded,
    /// Its record is older than what it told before. The guard keeps what it knows and goes stale.
    #[error("the hub went back to sequence {hub}, and this guard holds {have}")]
    WentBack {
        /// What the guard holds.
        have: u64,
        /// What the hub offers.
        hub: u64,
    },
    /// It refused, with its own code and sentence.
    #[error("the hub refused: {code}: {message}")]
    Refused {
        /// A stable code.
        code: String,
        /// For people.
        message: String,
    },
    /// Its answer is not what the protocol says.
    #[error("the hub's answer is malformed: {0}")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<InvalidHash> for HubError {
    fn from(error: InvalidHash) -> Self {
        HubError::Malformed(Box::new(error))
    }
}

/// The hub, and this service's credentials for it.
#[derive(Clone)]
pub(crate) struct Hub {
    http: reqwest::Client,
    url: HubUrl,
    client_id: Arc<str>,
    client_secret: Arc<str>,
    token: Arc<Mutex<Option<Arc<str>>>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(
        url: HubUrl,
        client_id: &str,
        client_secret: &str,
        trust: &Trust,
    ) -> Result<Self, ConnectError> {
        let http = exeunt_signal::http::client(trust)?;
        let (client_id, client_secret) = (client_id.into(), client_secret.into());
        Ok(Self { http, url, client_id, client_secret, token: Arc::default() })
    }

    pub(crate) async fn snapshot(&self) -> Result<SnapshotResponse, HubError> {
        let ask = |hub: &Self| hub.http.get(hub.url.at(SNAPSHOT)).timeout(ANSWER_WITHIN * 6);
        read(self.send(ask).await?).await
    }

    pub(crate) async fn deltas(
        &self,
        after: u64,
        wait: u64,
        instance: &str,
    ) -> Result<DeltasResponse, HubError> {
        let query = [
            ("after", after.to_string()),
            ("wait", wait.to_string()),
            ("instance", instance.into()),
        ];
        let within = Duration::from_secs(wait) + ANSWER_WITHIN;
        let ask = |hub: &Self| hub.http.get(hub.url.at(DELTAS)).query(&query).timeout(within);
        let batch: DeltasResponse = read(self.send(ask).await?).await?;
        Ok(batch)
    }

    pub(crate) async fn register(&self, session: &SessionRequest) -> Result<u64, HubError> {
        let ask =
            |hub: &Self| hub.http.post(hub.url.at(SESSIONS)).json(session).timeout(ANSWER_WITHIN);
        let registered: SessionResponse = read(self.send(ask).await?).await?;
        Ok(registered.seq)
    }

    pub(crate) async fn end(&self, session: &SessionId) -> Result<(), HubError> {
        let id: String = session.as_str().bytes().map(escaped).collect();
        let address = format!("{}/{id}", self.url.at(SESSIONS));
        let ask = |hub: &Self| hub.http.delete(&address).timeout(ANSWER_WITHIN);
        self.send(ask).await.map(|_| ())
    }

    /// Sends an authorised request; a token that is refused is replaced once.
    async fn send(&self, ask: impl Fn(&Self) -> RequestBuilder) -> Result<Response, HubError> {
        let held = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = match held {
            Some(token) => {
                let answer = send(ask(self).bearer_auth(token)).await?;
                if answer.status() != StatusCode::UNAUTHORIZED {
                    return accept(answer).await;
                }
                send(ask(self).bearer_auth(self.buy().await?)).await?
            }
            None => send(ask(self).bearer_auth(self.buy().await?)).await?,
        };
        accept(answer).await
    }

    /// A fresh access token (RFC 6749 §4.4).
    async fn buy(&self) -> Result<Arc<str>, HubError> {
        #[derive(Deserialize)]
        struct Bought {
            access_token: String,
        }
        let ask = self
            .http
            .post(self.url.at(TOKEN))
            .basic_auth(&self.client_id, Some(&self.client_secret))
            .form(&[("grant_type", "client_credentials")])
            .timeout(ANSWER_WITHIN);
        let answer = send(ask).await?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) {
            return Err(HubError::Unauthorized);
        }
        let bought: Bought = read(accept(answer).await?).await?;
        let token: Arc<str> = bought.access_token.into();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
        Ok(token)
    }
}

async fn send(request: RequestBuilder) -> Result<Response, HubError> {
    request.send().await.map_err(HubError::Unreachable)
}

async fn accept(answer: Response) -> Result<Response, HubError> {
    #[derive(Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: String,
        message: String,
    }
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.bytes().await.unwrap_or_default();
    let (code, message) = match serde_json::from_slice::<Body>(&body) {
        Ok(body) => (body.error.code, body.error.message),
        Err(_) => (status.as_u16().to_string(), String::new()),
    };
    Err(match code.as_str() {
        "stale_auth" => HubError::StaleAuth,
        "snapshot_needed" => HubError::SnapshotNeeded,
        "unauthorized" => HubError::Unauthorized,
        _ => HubError::Refused { code, message },
    })
}

async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, HubError> {
    let body = answer.bytes().await.map_err(HubError::Unreachable)?;
    serde_json::from_slice(&body).map_err(|error| HubError::Malformed(Box::new(error)))
}

/// One byte of a path segment (RFC 3986 §2.1).
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_cannot_leave_its_path_segment() {
        let id: String = "../a b?c#é".bytes().map(escaped).collect();
        assert_eq!(id, "..%2Fa%20b%3Fc%23%C3%A9");
    }

    #[test]
    fn never_shows_the_secret_in_debug_output() {
        let url = HubUrl::parse("http://127.0.0.1:1").unwrap();
        let hub = Hub::new(url, "id", "hunter2", &Trust::Platform).unwrap();
        assert!(!format!("{hub:?}").contains("hunter2"));
    }
}
