//! A hub over HTTP: authorised requests, poll delivery (RFC 8936) and push (RFC 8935).
//!
//! It refuses redirects, which would carry a bearer token elsewhere, and answers over
//! [`MAX_ANSWER_BYTES`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use exeunt_ssf::poll::SET_MEDIA_TYPE;
use exeunt_ssf::{PollRequest, PollResponse, SetErr};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::oauth::ClientCredentials;
use crate::tls::{Trust, TrustError};
use crate::transport::{Transport, TransportError};
use crate::url::HubUrl;

/// Longest answer read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;
/// How long a connection may take to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an ordinary answer may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a long poll may be parked: the hub holds it for at most 55 s.
const LONG_POLL_WITHIN: Duration = Duration::from_secs(75);

/// A hub, and who speaks to it.
#[derive(Clone, Debug)]
pub struct HubClient {
    http: reqwest::Client,
    hub: HubUrl,
    credentials: Arc<ClientCredentials>,
}

/// Why a pushed SET is not at the hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Refused for good (RFC 8935 §2.3); sending it again would change nothing.
    #[error("the hub refused the SET: {}", .0.err)]
    Refused(SetErr),
    /// Not there yet; to be sent again.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// An HTTP client for hubs: no redirects, no proxies, bounded waits, and TLS by `trust`.
///
/// # Errors
/// [`TrustError`] when the authorities cannot be read, or the platform gives no HTTP client.
pub fn client(trust: &Trust) -> Result<reqwest::Client, TrustError> {
    let built = builder(trust)?.tcp_keepalive(Duration::from_secs(30)).build();
    built.map_err(|error| TrustError::Tls(error.to_string()))
}

/// What every HTTP client of this project begins with: no redirects, no proxies, a bounded wait
/// for the connection, and TLS by `trust`.
///
/// # Errors
/// [`TrustError`].
pub fn builder(trust: &Trust) -> Result<reqwest::ClientBuilder, TrustError> {
    Ok(reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .tls_backend_preconfigured(crate::tls::client_config(trust)?))
}

impl HubClient {
    /// A client of `hub` as the owner of `credentials`.
    #[must_use]
    pub fn new(http: reqwest::Client, hub: HubUrl, credentials: Arc<ClientCredentials>) -> Self {
        Self { http, hub, credentials }
    }

    /// Which hub.
    #[must_use]
    pub fn hub(&self) -> &HubUrl {
        &self.hub
    }

    /// Sends an authorised request; a token that is refused is replaced once.
    ///
    /// # Errors
    /// [`TransportError`] for everything but a 2xx answer.
    pub async fn send(
        &self,
        build: impl Fn(&reqwest::Client, &HubUrl) -> RequestBuilder,
    ) -> Result<Response, TransportError> {
        let token = self.credentials.token(&self.http).await?;
        let first = send(build(&self.http, &self.hub).bearer_auth(token.reveal())).await?;
        let answer = if first.status() == StatusCode::UNAUTHORIZED {
            self.credentials.forget(&token).await;
            let token = self.credentials.token(&self.http).await?;
            send(build(&self.http, &self.hub).bearer_auth(token.reveal())).await?
        } else {
            first
        };
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    /// Asks for JSON at `path`, which begins with a slash, with a query.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn get_json(
        &self,
        path: &str,
        query: &[(&str, &String)],
    ) -> Result<Vec<u8>, TransportError> {
        let answer = self
            .send(|http, hub| {
                http.get(hub.at(path))
                    .query(query)
                    .timeout(ANSWER_WITHIN)
                    .header(ACCEPT, "application/json")
            })
            .await?;
        read_answer(answer).await
    }

    /// Pushes a SET (RFC 8935 §2.1). A success means that the hub holds it durably.
    ///
    /// # Errors
    /// [`PushError::Refused`] for 400 and for a SET that is too large, else
    /// [`PushError::Transport`].
    pub async fn push(&self, set: &str) -> Result<(), PushError> {
        let sent = self
            .send(|http, hub| {
                http.post(hub.at("/ssf/events"))
                    .timeout(ANSWER_WITHIN)
                    .header(CONTENT_TYPE, SET_MEDIA_TYPE)
                    .header(ACCEPT, "application/json")
                    .body(set.to_owned())
            })
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(refused_for_good(error, &[400, 413])),
        }
    }

    /// Posts a SET to `path`, which begins with a slash, and returns the SET that answers it.
    ///
    /// # Errors
    /// [`PushError::Refused`] for 400, 403, 404 and a SET that is too large, else
    /// [`PushError::Transport`].
    pub async fn exchange(&self, path: &str, set: &str) -> Result<String, PushError> {
        let sent = self
            .send(|http, hub| {
                http.post(hub.at(path))
                    .timeout(ANSWER_WITHIN)
                    .header(CONTENT_TYPE, SET_MEDIA_TYPE)
                    .header(ACCEPT, SET_MEDIA_TYPE)
                    .body(set.to_owned())
            })
            .await;
        let answer = sent.map_err(|error| refused_for_good(error, &[400, 403, 404, 413]))?;
        compact(answer).await
    }
}

/// Sends a SET without authorisation and returns the SET that answers it, as an enrolment does.
///
/// # Errors
/// [`PushError::Refused`] for 400, 403 and a SET that is too large, else [`PushError::Transport`].
pub async fn exchange_set(
    http: &reqwest::Client,
    url: &str,
    set: &str,
) -> Result<String, PushError> {
    let request = http
        .post(url)
        .timeout(ANSWER_WITHIN)
        .header(CONTENT_TYPE, SET_MEDIA_TYPE)
        .header(ACCEPT, SET_MEDIA_TYPE)
        .body(set.to_owned());
    let answer = send(request).await?;
    if !answer.status().is_success() {
        return Err(refused_for_good(refusal(answer).await, &[400, 403, 413]));
    }
    compact(answer).await
}

async fn compact(answer: Response) -> Result<String, PushError> {
    let body = read_answer(answer).await?;
    String::from_utf8(body)
        .map(|text| text.trim().to_owned())
        .map_err(|_| TransportError::Malformed("the reply is not text".into()).into())
}

fn refused_for_good(error: TransportError, final_statuses: &[u16]) -> PushError {
    match error {
        TransportError::Refused { status, body } if final_statuses.contains(&status) => {
            let default = if status == 403 { "access_denied" } else { "invalid_request" };
            PushError::Refused(named_refusal(&body, default))
        }
        other @ (TransportError::Unreachable(_)
        | TransportError::Closed
        | TransportError::Busy { .. }
        | TransportError::Unauthorized(_)
        | TransportError::Refused { .. }
        | TransportError::Malformed(_)) => PushError::Transport(other),
    }
}

/// Reads RFC 8935's `{err, description}` or our `{error: {code, message}}`, else keeps `default`.
fn named_refusal(body: &str, default: &str) -> SetErr {
    if let Ok(error) = serde_json::from_str::<SetErr>(body) {
        return error;
    }
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = |member: &str| json["error"][member].as_str().map(str::to_owned);
    SetErr {
        err: text("code").unwrap_or_else(|| default.to_owned()),
        description: text("message").unwrap_or_default(),
    }
}

/// Poll delivery over HTTP (RFC 8936 §2).
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: HubClient,
    path: String,
}

impl HttpTransport {
    /// Polls `client`'s hub at `path`, which begins with a slash.
    #[must_use]
    pub fn new(client: HubClient, path: impl Into<String>) -> Self {
        Self { client, path: path.into() }
    }
}

impl Transport for HttpTransport {
    async fn poll(&self, request: &PollRequest) -> Result<PollResponse, TransportError> {
        let within = if request.return_immediately { ANSWER_WITHIN } else { LONG_POLL_WITHIN };
        let answer = self
            .client
            .send(|http, hub| http.post(hub.at(&self.path)).timeout(within).json(request))
            .await?;
        let body = read_answer(answer).await?;
        serde_json::from_slice(&body)
            .map_err(|error| TransportError::Malformed(format!("poll: {error}")))
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Result<Response, TransportError> {
    request.send().await.map_err(|error| broken(&error))
}

pub(crate) async fn read_answer(mut answer: Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(TransportError::Malformed("the answer is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer other than 2xx means.
pub(crate) async fn refusal(answer: Response) -> TransportError {
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| retry_after(text, SystemTime::now()));
    let body = read_answer(answer).await.unwrap_or_default();
    let body: String = String::from_utf8_lossy(&body).chars().take(500).collect();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        TransportError::Busy { status: status.as_u16(), retry_after }
    } else if status == StatusCode::UNAUTHORIZED {
        TransportError::Unauthorized(body)
    } else {
        TransportError::Refused { status: status.as_u16(), body }
    }
}

/// Seconds or a date (RFC 9110 §10.2.3).
#[must_use]
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(secs) = text.parse::<u64>() {
        return Some(Duration::from_secs(secs));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// A connection that never stood is unreachable; one that stood and ended was closed.
fn broken(error: &reqwest::Error) -> TransportError {
    if error.is_connect() || error.is_timeout() || error.is_builder() {
        TransportError::Unreachable(root_cause(error))
    } else {
        TransportError::Closed
    }
}

/// What lies at the bottom of a failure, such as the fault of a certificate.
#[must_use]
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn reads_retry_after_as_seconds_or_as_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:47 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn names_a_refusal_by_either_shape_of_body() {
        let push = named_refusal(r#"{"err":"invalid_key","description":"who?"}"#, "x");
        assert_eq!((push.err.as_str(), push.description.as_str()), ("invalid_key", "who?"));
        let ours =
            named_refusal(r#"{"v":1,"error":{"code":"access_denied","message":"used"}}"#, "x");
        assert_eq!((ours.err.as_str(), ours.description.as_str()), ("access_denied", "used"));
        assert_eq!(named_refusal("<html>", "invalid_request").err, "invalid_request");
    }

    #[test]
    fn only_a_400_or_an_oversized_set_is_refused_for_good() {
        let refused = |status| TransportError::Refused { status, body: String::new() };
        for status in [400, 413] {
            assert!(matches!(
                refused_for_good(refused(status), &[400, 413]),
                PushError::Refused(_)
            ));
        }
        for status in [403, 404, 409] {
            assert!(matches!(
                refused_for_good(refused(status), &[400, 413]),
                PushError::Transport(_)
            ));
        }
    }
}
