//! A transmitter as its receiver sees it: discovery, tokens, the stream, verification, the poll
//! (SSF 1.0 §7 and §8, RFC 8936).
//!
//! It refuses metadata of another issuer than the one that was asked, and sends no credential to any
//! address that an operator or that metadata did not name.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use exeunt_api::PollSettings;
use exeunt_domain::Jti;
use exeunt_signal::{Transport, TransportError};
use exeunt_ssf::discovery::{Metadata, POLL, WELL_KNOWN, issuer_path};
use exeunt_ssf::{PollRequest, PollResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::book::StreamAt;
use crate::connectors::encoded;
use crate::ssf::outbound::{Answered, OutboundError, Reach};

/// How long an ordinary answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer to a poll that is read, in bytes: as many SETs as are asked for, of the longest.
const LONGEST_POLL: usize = 17 << 20;
/// Longest answer to anything else, in bytes.
const LONGEST: usize = 256 << 10;
/// What is asked for when nothing else is said.
const USUAL_SCOPE: &str = "ssf.read ssf.manage";
/// A token is renewed this long before it lapses.
const RENEW_EARLY: Duration = Duration::from_secs(30);

/// Why a transmitter cannot be worked with now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It was not asked, or did not answer.
    #[error("{what}: {why}")]
    Outbound {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        why: OutboundError,
    },
    /// It answered with an error.
    #[error("{what} was answered with {status}")]
    Answered {
        /// What was asked for.
        what: &'static str,
        /// The status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// It does not accept these credentials.
    #[error(
        "{what} was answered with {status}: look at the client, its secret and its scopes there"
    )]
    Unproved {
        /// What was asked for.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer is not what the specification says.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The metadata is of someone else.
    #[error("the metadata there is of the issuer {0:?}, which that address does not belong to")]
    OtherIssuer(String),
    /// Something that is needed is not offered.
    #[error("the transmitter names no {0}")]
    Missing(&'static str),
    /// No poll delivery.
    #[error("the transmitter does not offer delivery by poll ({POLL})")]
    NoPoll,
    /// No way to a token.
    #[error("no token endpoint is known: name it (token_endpoint)")]
    NoTokenEndpoint,
}

/// A transmitter, and our credentials there.
#[derive(Debug)]
pub struct Remote {
    reach: Reach,
    settings: PollSettings,
    metadata: Metadata,
    token: Mutex<Option<(String, Instant)>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

/// A stream as its transmitter shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub at: StreamAt,
    /// Its audiences.
    pub aud: Vec<String>,
}

impl Remote {
    /// Reads a transmitter's metadata.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn discover(reach: Reach, settings: PollSettings) -> Result<Self, RemoteError> {
        let what = "the transmitter's metadata";
        let url = settings.url.trim_end_matches('/').to_owned();
        let mut failed = RemoteError::Missing("metadata");
        for place in places(&url) {
            let asked = ask(&reach, Method::GET, &place, json_headers(), String::new(), what).await;
            match asked.and_then(|answered| read::<Metadata>(&answered, what)) {
                Ok(metadata) => {
                    let issuer = metadata.issuer.trim_end_matches('/');
                    if issuer != url && !places(issuer).contains(&url) {
                        return Err(RemoteError::OtherIssuer(metadata.issuer));
                    }
                    return Ok(Self { reach, settings, metadata, token: Mutex::new(None) });
                }
                Err(error @ RemoteError::Outbound { .. }) => return Err(error),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// What it says of itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The stream of that name, or else the only one there is of ours by poll, or else a new one.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn stream(&self, known: Option<&StreamAt>) -> Result<Found, RemoteError> {
        let what = "the stream";
        let methods = &self.metadata.delivery_methods_supported;
        if !methods.is_empty() && !methods.iter().any(|one| one == POLL) {
            return Err(RemoteError::NoPoll);
        }
        let endpoint = self.metadata.configuration_endpoint.as_deref();
        let endpoint = endpoint.ok_or(RemoteError::Missing("configuration_endpoint"))?;
        if let Some(known) = known {
            let url = with_query(endpoint, &known.id);
            match self.send(Method::GET, &url, None, what).await {
                Ok(answered) => return found(&read(&answered, what)?, known.ours),
                Err(RemoteError::Answered { status: 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let wish = json!({
            "delivery": { "method": POLL },
            "events_requested": EVENTS,
            "description": "Exeunt",
        });
        match self.send(Method::POST, endpoint, Some(wish), what).await {
            Ok(answered) => found(&read(&answered, what)?, true),
            // One is all that a receiver may have there, and it has it.
            Err(RemoteError::Answered { status: 409, .. }) => {
                let all = self.send(Method::GET, endpoint, None, what).await?;
                let all: Value = read(&all, what)?;
                let all = all.as_array().cloned().unwrap_or_else(|| vec![all]);
                let mut polled = all.iter().filter(|one| one["delivery"]["method"] == POLL);
                match (polled.next(), polled.next()) {
                    (Some(only), None) => found(only, false),
                    (_, _) => Err(RemoteError::Missing("stream by poll that is ours alone")),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for a verification event. False: the transmitter has no door for that.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn verify(&self, stream: &str, state: &str) -> Result<bool, RemoteError> {
        let Some(endpoint) = self.metadata.verification_endpoint.as_deref() else {
            return Ok(false);
        };
        let body = json!({ "stream_id": stream, "state": state });
        self.send(Method::POST, endpoint, Some(body), "a verification").await.map(|_| true)
    }

    /// Deletes a stream.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn delete(&self, stream: &str) -> Result<(), RemoteError> {
        let endpoint = self.metadata.configuration_endpoint.as_deref();
        let endpoint = endpoint.ok_or(RemoteError::Missing("configuration_endpoint"))?;
        let url = with_query(endpoint, stream);
        self.send(Method::DELETE, &url, None, "the removal of the stream").await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Value>,
        what: &'static str,
    ) -> Result<Answered, RemoteError> {
        self.send_within(method, url, body, what, (ANSWER_WITHIN, LONGEST)).await
    }

    /// An authorised request; a token that is refused is replaced once.
    async fn send_within(
        &self,
        method: Method,
        url: &str,
        body: Option<Value>,
        what: &'static str,
        bounds: (Duration, usize),
    ) -> Result<Answered, RemoteError> {
        let body = body.map(|body| body.to_string());
        let mut fresh = false;
        loop {
            let mut headers = json_headers();
            if body.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            headers.insert(AUTHORIZATION, self.bearer().await?);
            let text = body.clone().unwrap_or_default();
            let (patience, longest) = bounds;
            let sent =
                self.reach.send_within(method.clone(), url, headers, text, patience, longest);
            let answered = sent.await.map_err(|why| RemoteError::Outbound { what, why })?;
            if answered.status == StatusCode::UNAUTHORIZED && !fresh {
                *self.token.lock().await = None;
                fresh = true;
                continue;
            }
            return judged(answered, what);
        }
    }

    async fn bearer(&self) -> Result<HeaderValue, RemoteError> {
        let what = "a token";
        let held = self.token.lock().await.clone();
        let token = match (&self.settings.access_token, held) {
            (Some(token), _) => token.clone(),
            (None, Some((token, until))) if Instant::now() < until => token,
            (None, _) => self.buy().await?,
        };
        let malformed = |_| RemoteError::Malformed { what, why: "no header value".into() };
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(malformed)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Buys a token by client credentials (RFC 6749 §4.4).
    async fn buy(&self) -> Result<String, RemoteError> {
        let what = "a token";
        let endpoint = match &self.settings.token_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.token_endpoint().await?,
        };
        let scope = self.settings.scope.as_deref().unwrap_or(USUAL_SCOPE);
        let mut body = "grant_type=client_credentials".to_owned();
        if !scope.is_empty() {
            body.push_str(&format!("&scope={}", encoded(scope)));
        }
        let id = encoded(self.settings.client_id.as_deref().unwrap_or_default());
        let secret = encoded(self.settings.client_secret.as_deref().unwrap_or_default());
        let proof = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let mut headers = json_headers();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        let malformed = |why: &str| RemoteError::Malformed { what, why: why.to_owned() };
        let mut proof = HeaderValue::from_str(&proof).map_err(|_| malformed("no header value"))?;
        proof.set_sensitive(true);
        headers.insert(AUTHORIZATION, proof);
        let answered = ask(&self.reach, Method::POST, &endpoint, headers, body, what).await;
        // RFC 6749 §5.2: `invalid_client` and `invalid_scope` may come as 400.
        let answered = answered.map_err(|error| {
            let refused = matches!(error, RemoteError::Answered { status: 400, .. });
            if refused { RemoteError::Unproved { what, status: 400 } } else { error }
        })?;
        let bought: TokenAnswer = read(&answered, what)?;
        let lives = Duration::from_secs(bought.expires_in.unwrap_or(300).min(86_400));
        let until = Instant::now() + lives.saturating_sub(RENEW_EARLY).max(lives / 2);
        *self.token.lock().await = Some((bought.access_token.clone(), until));
        Ok(bought.access_token)
    }

    /// The issuer's token endpoint (RFC 8414 §3, OpenID Connect Discovery 1.0 §4).
    async fn token_endpoint(&self) -> Result<String, RemoteError> {
        let what = "the authorization server's metadata";
        let issuer = self.metadata.issuer.trim_end_matches('/');
        let base = issuer.strip_suffix(issuer_path(issuer)).unwrap_or(issuer);
        let path = issuer_path(issuer);
        for place in [
            format!("{base}/.well-known/oauth-authorization-server{path}"),
            format!("{issuer}/.well-known/openid-configuration"),
        ] {
            let asked = ask(&self.reach, Method::GET, &place, json_headers(), String::new(), what);
            let Ok(answered) = asked.await else { continue };
            let said: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
            if said["issuer"].as_str().map(|one| one.trim_end_matches('/')) == Some(issuer)
                && let Some(endpoint) = said["token_endpoint"].as_str()
            {
                return Ok(endpoint.to_owned());
            }
        }
        Err(RemoteError::NoTokenEndpoint)
    }
}

/// What is asked for; a transmitter delivers what of it it has.
const EVENTS: [&str; 9] = [
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
    "https://schemas.openid.net/secevent/caep/event-type/credential-change",
    "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change",
    "https://schemas.openid.net/secevent/caep/event-type/risk-level-change",
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/risc/event-type/account-credential-change-required",
    "https://schemas.openid.net/secevent/risc/event-type/credential-compromise",
    "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
];

/// The poll of one stream.
#[derive(Debug)]
pub(super) struct Poll<'a> {
    /// Whose.
    pub(super) remote: &'a Remote,
    /// Where.
    pub(super) endpoint: String,
    /// How long a long poll may be parked.
    pub(super) parked: Duration,
}

impl Transport for Poll<'_> {
    async fn poll(&self, request: &PollRequest) -> Result<PollResponse, TransportError> {
        let within = if request.return_immediately { ANSWER_WITHIN } else { self.parked };
        let body = serde_json::to_value(request)
            .map_err(|error| TransportError::Malformed(error.to_string()))?;
        let sent = self.remote.send_within(
            Method::POST,
            &self.endpoint,
            Some(body),
            "the poll",
            (within, LONGEST_POLL),
        );
        let answered = sent.await.map_err(into_transport)?;
        polled(&answered.body).map_err(TransportError::Malformed)
    }
}

/// Reads what a poll was answered with. What has no name that could be acknowledged is left out: it
/// must not hold up the rest.
fn polled(body: &[u8]) -> Result<PollResponse, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lenient {
        #[serde(default)]
        sets: BTreeMap<String, Value>,
        #[serde(default)]
        more_available: bool,
    }
    let read: Lenient = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let all = read.sets.len();
    let sets: BTreeMap<Jti, String> = read
        .sets
        .into_iter()
        .filter_map(|(jti, set)| Some((Jti::parse(jti).ok()?, set.as_str()?.to_owned())))
        .collect();
    if sets.len() < all {
        tracing::warn!(unnamed = all - sets.len(), "SETs without a usable name were passed over");
    }
    Ok(PollResponse { sets, more_available: read.more_available })
}

fn into_transport(error: RemoteError) -> TransportError {
    match error {
        RemoteError::Answered { status, retry_after, .. } if status == 429 || status >= 500 => {
            TransportError::Busy { status, retry_after }
        }
        RemoteError::Unproved { .. } => TransportError::Unauthorized(error.to_string()),
        RemoteError::Answered { status, .. } => {
            TransportError::Refused { status, body: String::new() }
        }
        RemoteError::Malformed { why, .. } => TransportError::Malformed(why),
        RemoteError::Outbound { .. }
        | RemoteError::OtherIssuer(_)
        | RemoteError::Missing(_)
        | RemoteError::NoPoll
        | RemoteError::NoTokenEndpoint => TransportError::Unreachable(error.to_string()),
    }
}

/// Where an issuer's metadata may lie: as SSF 1.0 §7.2 has it, and behind the issuer, as Keycloak and
/// OpenID Connect do. An address of metadata is taken as it is.
fn places(url: &str) -> Vec<String> {
    if url.contains("/.well-known/") {
        return vec![url.to_owned()];
    }
    let path = issuer_path(url);
    let base = url.strip_suffix(path).unwrap_or(url);
    let mut places = vec![format!("{base}{WELL_KNOWN}{path}")];
    if !path.is_empty() {
        places.push(format!("{url}{WELL_KNOWN}"));
    }
    places
}

fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

async fn ask(
    reach: &Reach,
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: String,
    what: &'static str,
) -> Result<Answered, RemoteError> {
    let answered = reach.send_within(method, url, headers, body, ANSWER_WITHIN, LONGEST).await;
    judged(answered.map_err(|why| RemoteError::Outbound { what, why })?, what)
}

fn judged(answered: Answered, what: &'static str) -> Result<Answered, RemoteError> {
    let status = answered.status.as_u16();
    match status {
        200..300 => Ok(answered),
        401 | 403 => Err(RemoteError::Unproved { what, status }),
        _ => Err(RemoteError::Answered { what, status, retry_after: answered.retry_after }),
    }
}

fn read<T: serde::de::DeserializeOwned>(
    answered: &Answered,
    what: &'static str,
) -> Result<T, RemoteError> {
    serde_json::from_slice(&answered.body)
        .map_err(|error| RemoteError::Malformed { what, why: error.to_string() })
}

fn found(stream: &Value, ours: bool) -> Result<Found, RemoteError> {
    let what = "the stream";
    let missing = |name: &str| RemoteError::Malformed { what, why: format!("no {name}") };
    let id = stream["stream_id"].as_str().ok_or_else(|| missing("stream_id"))?;
    let delivery = &stream["delivery"];
    let endpoint = delivery["endpoint_url"].as_str().ok_or_else(|| missing("endpoint_url"))?;
    if delivery["method"].as_str().is_some_and(|method| method != POLL) {
        return Err(RemoteError::NoPoll);
    }
    let aud = match &stream["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let at = StreamAt { id: id.to_owned(), endpoint: endpoint.to_owned(), ours };
    Ok(Found { at, aud })
}

fn with_query(endpoint: &str, stream: &str) -> String {
    let join = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{join}stream_id={}", encoded(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_for_metadata_before_and_behind_an_issuers_path() {
        assert_eq!(places("https://tr.example"), [format!("https://tr.example{WELL_KNOWN}")]);
        assert_eq!(
            places("https://kc.example/realms/r"),
            [
                format!("https://kc.example{WELL_KNOWN}/realms/r"),
                format!("https://kc.example/realms/r{WELL_KNOWN}"),
            ]
        );
        let whole = "https://tr.example/.well-known/sse-configuration";
        assert_eq!(places(whole), [whole]);
    }

    #[test]
    fn a_set_without_a_usable_name_does_not_hold_up_the_rest() {
        let body = br#"{"sets":{"a":"x.y.z","b\r\n":"x","c":7},"moreAvailable":true}"#;
        let read = polled(body).unwrap();
        assert_eq!(read.sets.len(), 1);
        assert!(read.more_available);
        assert!(polled(br#"{"sets":[]}"#).is_err());
        assert!(polled(b"{}").unwrap().sets.is_empty());
    }
}
