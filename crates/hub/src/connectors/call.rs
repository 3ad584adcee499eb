//! Calls to identity providers over HTTP, and what their failures mean.
//!
//! It refuses to leave the machine in the clear, and private networks but for hosts that an
//! operator named.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use exeunt_ssf::RsaSigner;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::ssf::outbound::Reach;

/// Longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;
/// Longest that one call may take.
const CALL: Duration = Duration::from_secs(10);

/// Why a provider's call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It may work later; how long the provider asks to wait.
    #[error("{0}")]
    Later(String, Option<Duration>),
    /// It will not work again as it is: an unknown person, a refusal.
    #[error("{0}")]
    Never(String),
    /// The provider does not accept the hub's credentials, or not for this.
    #[error("{0}")]
    Denied(String),
    /// Some of it was ended and the rest was not.
    #[error("{0}")]
    Partly(String, Again),
}

/// Whether what failed is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It is; how long the provider asks to wait.
    After(Option<Duration>),
    /// It is not.
    Not,
}

impl Failed {
    /// Whether it is worth another try.
    #[must_use]
    pub fn again(&self) -> Again {
        match self {
            Failed::Later(_, after) => Again::After(*after),
            Failed::Partly(_, again) => *again,
            Failed::Never(_) | Failed::Denied(_) => Again::Not,
        }
    }

    /// The same failure of a whole of which `done` was ended before it.
    #[must_use]
    pub fn having(self, done: &str) -> Self {
        let again = self.again();
        Self::Partly(format!("{done}; {self}"), again)
    }
}

/// The client of all connectors. It follows no redirect and uses no proxy: a credential goes where
/// the operator said, and nowhere else.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    signs: Option<(String, RsaSigner)>,
}

impl Http {
    /// A client.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new(reach: &Reach) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder();
        let client = client.redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(CALL);
        let client = client.tls_backend_preconfigured(reach.tls().clone());
        let client = client.dns_resolver(Arc::new(reach.clone())).build()?;
        Ok(Self { client, signs: None })
    }

    /// The same client, which also signs, as `issuer`.
    #[must_use]
    pub fn signing(&self, issuer: &str, key: &RsaSigner) -> Self {
        Self { client: self.client.clone(), signs: Some((issuer.to_owned(), key.clone())) }
    }

    /// The issuer's name and key, when this client signs.
    ///
    /// # Errors
    /// [`Failed::Never`] when it does not.
    pub fn signer(&self) -> Result<(&str, &RsaSigner), Failed> {
        let signs = self.signs.as_ref().map(|(issuer, key)| (issuer.as_str(), key));
        signs.ok_or_else(|| Failed::Never("this hub has no key to sign with".into()))
    }

    /// A POST to `url`.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// A GET of `url`.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// A DELETE of `url`.
    pub fn delete(&self, url: Url) -> RequestBuilder {
        self.client.delete(url)
    }
}

/// An address that the hub may call.
///
/// # Errors
/// [`Failed::Never`], saying why it may not.
pub(super) fn address(text: &str) -> Result<Url, Failed> {
    let url = Url::parse(text).map_err(|error| Failed::Never(format!("{text}: {error}")))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let fits = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    if fits && url.username().is_empty() && url.password().is_none() {
        return Ok(url);
    }
    Err(Failed::Never(format!(
        "{text}: a provider is reached by https, or by http at a loopback address"
    )))
}

/// `base` with path segments added, each encoded.
///
/// # Errors
/// [`Failed::Never`] for an address that has no path.
pub(super) fn below(base: &str, segments: &[&str]) -> Result<Url, Failed> {
    let mut url = address(base)?;
    match url.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().extend(segments),
        Err(()) => return Err(Failed::Never(format!("{base} has no path"))),
    };
    Ok(url)
}

/// `url` with query parameters added, each encoded.
pub(super) fn asking(mut url: Url, query: &[(&str, &str)]) -> Url {
    url.query_pairs_mut().extend_pairs(query);
    url
}

/// Sends a request; an answer that is no success is a failure.
///
/// # Errors
/// [`Failed`]; 429, 5xx and a broken connection are worth another try.
pub(super) async fn send(what: &str, request: RequestBuilder) -> Result<Response, Failed> {
    judged(what, answered(what, request).await?)
}

/// Sends a request that ends something; what is not there any more has ended.
///
/// # Errors
/// As [`send`].
pub(super) async fn end(what: &str, request: RequestBuilder) -> Result<(), Failed> {
    let answer = answered(what, request).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(());
    }
    judged(what, answer).map(drop)
}

/// Sends a request and reads its answer's JSON.
///
/// # Errors
/// As [`send`] and [`json`].
pub(super) async fn ask(what: &str, request: RequestBuilder) -> Result<Value, Failed> {
    json(what, send(what, request).await?).await
}

/// Sends a request to a token endpoint (RFC 6749 §5); the access token that it gives.
///
/// # Errors
/// [`Failed::Denied`] when the endpoint refuses the client (RFC 6749 §5.2), and else as [`ask`].
pub(super) async fn access_token(request: RequestBuilder) -> Result<String, Failed> {
    let what = "a token request";
    let answer = answered(what, request).await?;
    if answer.status() == StatusCode::BAD_REQUEST {
        // The code alone: a description may repeat what was sent.
        let said = json(what, answer).await.unwrap_or_default();
        let code: String = said["error"].as_str().unwrap_or("no reason").chars().take(64).collect();
        return Err(Failed::Denied(format!("{what} was refused with {code}")));
    }
    let said = json(what, judged(what, answer)?).await?;
    let token = said["access_token"].as_str().filter(|token| !token.is_empty());
    token.map(str::to_owned).ok_or_else(|| Failed::Never("no access token was given".into()))
}

/// Whether a token still opens something.
///
/// # Errors
/// [`Failed::Later`] for an answer that is neither a success nor 401.
pub(super) async fn opens(request: RequestBuilder) -> Result<bool, Failed> {
    let status = answered("a try of a token", request).await?.status();
    if status.is_success() || status == StatusCode::UNAUTHORIZED {
        return Ok(status.is_success());
    }
    Err(Failed::Later(format!("a try of a token was answered with {status}"), None))
}

/// A list within an answer; without a pointer, the answer itself.
///
/// # Errors
/// [`Failed::Never`] when it is none.
pub(super) fn list(what: &str, answer: Value, pointer: &str) -> Result<Vec<Value>, Failed> {
    match answer.pointer(pointer) {
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(_) | None => Err(Failed::Never(format!("{what} is no list"))),
    }
}

/// A text within an answer, or a number as text.
///
/// # Errors
/// [`Failed::Never`] when there is none.
pub(super) fn text(what: &str, answer: &Value, pointer: &str) -> Result<String, Failed> {
    match answer.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) | None => Err(Failed::Never(format!("{what} has no {}", &pointer[1..]))),
    }
}

/// An answer that is a success.
///
/// # Errors
/// [`Failed`].
pub(super) fn judged(what: &str, answer: Response) -> Result<Response, Failed> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let say = format!("{what} was answered with {status}");
    let after = retry_after(&answer);
    // Some say 403 where they mean 429, and then when to come back.
    let is_busy = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error()
        || (status == StatusCode::FORBIDDEN && after.is_some());
    if is_busy {
        let say = match after {
            Some(after) => format!("{say}, which asks to wait {} s", after.as_secs()),
            None => say,
        };
        return Err(Failed::Later(say, after));
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(Failed::Denied(say));
    }
    Err(Failed::Never(say))
}

/// How long an answer asks to wait (RFC 9110 §10.2.3): seconds, or until a date; or until the window
/// of a rate that is used up begins anew, as GitHub and Okta say it.
fn retry_after(answer: &Response) -> Option<Duration> {
    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
    let until = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
    if let Some(text) = header("retry-after") {
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        return httpdate::parse_http_date(text).ok().map(until);
    }
    let windows = [
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
        ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ];
    let (_, reset) = windows.into_iter().find(|(left, _)| header(left) == Some("0"))?;
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(header(reset)?.parse().ok()?));
    at.map(until)
}

/// Sends a request, whatever the answer.
///
/// # Errors
/// [`Failed::Later`] when there is none. The text names no address and no token.
pub(super) async fn answered(what: &str, request: RequestBuilder) -> Result<Response, Failed> {
    let later = |error: reqwest::Error| {
        let why = if error.is_timeout() { "in time" } else { "at all" };
        Failed::Later(format!("{what} was not answered {why}"), None)
    };
    request.send().await.map_err(later)
}

/// An answer's JSON.
///
/// # Errors
/// [`Failed`] when it is cut short, too long or no JSON.
pub(super) async fn json(what: &str, mut answer: Response) -> Result<Value, Failed> {
    let mut body = Vec::new();
    let cut = |_| Failed::Later(format!("the answer to {what} was cut short"), None);
    while let Some(chunk) = answer.chunk().await.map_err(cut)? {
        if body.len() + chunk.len() > LONGEST {
            return Err(Failed::Never(format!("the answer to {what} is too long")));
        }
        body.extend_from_slice(&chunk);
    }
    let wrong = |_| Failed::Never(format!("the answer to {what} is no JSON"));
    serde_json::from_slice(&body).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: &str) -> Response {
        let answer = axum::http::Response::builder().status(status);
        answer.header("retry-after", retry_after).body("").unwrap().into()
    }

    #[test]
    fn leaves_the_machine_by_tls_only() {
        for wrong in ["http://10.0.0.1/", "http://localhost.evil/", "ftp://127.0.0.1/", "x"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        assert!(address("https://user:pw@127.0.0.1/").is_err());
        assert!(address("https://idp.example/a").is_ok());
        assert!(address("http://127.0.0.1:1/a").is_ok() && address("http://[::1]/").is_ok());
    }

    #[test]
    fn a_name_cannot_leave_its_path_segment() {
        let url = below("http://127.0.0.1:1/kc/", &["users", "../a?b"]).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:1/kc/users/..%2Fa%3Fb");
    }

    #[test]
    fn waits_as_long_as_it_is_asked_to_in_seconds_or_until_a_date() {
        let after = |text: &str| judged("x", answer(429, text)).unwrap_err().again();
        assert_eq!(after("7"), Again::After(Some(Duration::from_secs(7))));
        assert_eq!(after("soon"), Again::After(None));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Again::After(Some(Duration::ZERO)));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        let Again::After(Some(wait)) = after(&later) else { panic!("{later}") };
        assert!((80..=90).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn waits_for_the_next_window_of_a_rate_that_is_used_up() {
        let soon = SystemTime::now() + Duration::from_secs(90);
        let soon = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().to_string();
        for name in ["x-ratelimit", "x-rate-limit"] {
            let answer = |left: &str| -> Response {
                let answer = axum::http::Response::builder().status(403);
                let answer = answer.header(format!("{name}-remaining"), left);
                answer.header(format!("{name}-reset"), &soon).body("").unwrap().into()
            };
            let Again::After(Some(wait)) = judged("x", answer("0")).unwrap_err().again() else {
                panic!("{name}")
            };
            assert!((80..=90).contains(&wait.as_secs()), "{wait:?}");
            assert!(matches!(judged("x", answer("7")), Err(Failed::Denied(_))), "{name}");
        }
    }

    #[test]
    fn a_403_is_a_refusal_unless_it_says_when_to_come_back() {
        let refused = judged("x", answer(403, "never")).unwrap_err();
        assert!(matches!(refused, Failed::Denied(_)), "{refused:?}");
        let busy = judged("x", answer(403, "60")).unwrap_err();
        assert_eq!(busy.again(), Again::After(Some(Duration::from_secs(60))));
        assert!(busy.to_string().contains("asks to wait 60 s"), "{busy}");
    }
}
