//! Calls to identity providers over HTTP.
//!
//! It refuses to leave the machine in the clear, and private networks but for hosts that an
//! operator named.

use std::sync::Arc;
use std::time::Duration;

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
    /// It will not work again as it is: credentials, an unknown person, a refusal.
    #[error("{0}")]
    Never(String),
}

/// The client of all connectors. It follows no redirect and uses no proxy: a credential goes where
/// the operator said, and nowhere else.
#[derive(Clone, Debug)]
pub struct Http(reqwest::Client);

impl Http {
    /// A client.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new(reach: &Reach) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder();
        let client = client.redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(CALL);
        let client = client.tls_backend_preconfigured(reach.tls().clone());
        client.dns_resolver(Arc::new(reach.clone())).build().map(Self)
    }

    /// A POST to `url`.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.0.post(url)
    }

    /// A GET of `url`.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.0.get(url)
    }

    /// A DELETE of `url`.
    pub fn delete(&self, url: Url) -> RequestBuilder {
        self.0.delete(url)
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

/// Sends a request; an answer that is no success is a failure.
///
/// # Errors
/// [`Failed`]; 429, 5xx and a broken connection are worth another try.
pub(super) async fn send(what: &str, request: RequestBuilder) -> Result<Response, Failed> {
    let answer = answered(what, request).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        return Err(Failed::Later(format!("{what} was answered with {status}"), after));
    }
    Err(Failed::Never(format!("{what} was answered with {status}")))
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
}
