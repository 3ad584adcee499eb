//! The hub's admin interface over HTTP.
//!
//! It refuses redirects, and answers over [`MAX_ANSWER_BYTES`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeunt_api::ErrorBody;
use exeunt_signal::http::root_cause;
use exeunt_signal::{HubUrl, Trust};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// Longest answer read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a hub is, and whose certificates it may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubAddress {
    url: HubUrl,
    ca: Option<PathBuf>,
}

impl HubAddress {
    /// Reads what an operator typed. `ca`: a PEM file of the authorities that may vouch for it.
    pub(crate) fn parse(text: &str, ca: Option<PathBuf>) -> Result<Self, Fault> {
        let url = HubUrl::parse(text).map_err(|error| Fault::usage(error.to_string()))?;
        Ok(Self { url, ca })
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host's name or address.
    pub(crate) fn host(&self) -> String {
        let url = Url::parse(self.as_str()).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// The file of its authorities, if it has one of its own.
    pub(crate) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

/// A hub and an operator's token.
pub(crate) struct Hub {
    http: reqwest::Client,
    address: HubAddress,
    token: String,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Hub {
    /// A client of the hub at `address`.
    pub(crate) fn new(address: HubAddress, token: String) -> Result<Self, Fault> {
        let trust = Trust::of(address.ca.clone());
        let http = exeunt_signal::http::client(&trust)
            .map_err(|error| Fault::new("tls", error.to_string()))?;
        Ok(Self { http, address, token })
    }

    /// The hub's address.
    pub(crate) fn address(&self) -> &HubAddress {
        &self.address
    }

    /// Asks for an object.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Fault> {
        let body = self.get_text(path, query).await?;
        read_json(&body)
    }

    /// Asks for text, such as JSON Lines.
    pub(crate) async fn get_text(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Vec<u8>, Fault> {
        let request = self.http.get(self.at(path)).query(query).timeout(ANSWER_WITHIN);
        read_all(self.send(request).await?).await
    }

    /// Sends an object and returns the one that answers it.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Fault> {
        let request = self.http.post(self.at(path)).json(body).timeout(ANSWER_WITHIN);
        read_json(&read_all(self.send(request).await?).await?)
    }

    /// Asks for something to be done that has no answer.
    pub(crate) async fn order(&self, path: &str) -> Result<(), Fault> {
        self.send(self.http.post(self.at(path)).timeout(ANSWER_WITHIN)).await.map(drop)
    }

    /// Sends an object, to which there is no answer but that it was taken.
    pub(crate) async fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), Fault> {
        let request = self.http.post(self.at(path)).json(body).timeout(ANSWER_WITHIN);
        self.send(request).await.map(drop)
    }

    /// Asks for something that needs no words.
    pub(crate) async fn post_nothing<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let request = self.http.post(self.at(path)).timeout(ANSWER_WITHIN);
        read_json(&read_all(self.send(request).await?).await?)
    }

    /// Removes what is called `name` below a path.
    pub(crate) async fn delete(&self, path: &str, name: &str) -> Result<(), Fault> {
        let mut url = Url::parse(&self.at(path))
            .map_err(|error| Fault::new("hub_address", error.to_string()))?;
        // A name stays one segment, whatever it holds.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(name);
        }
        self.send(self.http.delete(url).timeout(ANSWER_WITHIN)).await.map(drop)
    }

    /// Opens a stream of server-sent events, which may be silent for long.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, Fault> {
        let request = self.http.get(self.at(path)).header("accept", "text/event-stream");
        self.send(request).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.address.as_str())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        // Before a sign-in there is none.
        let request = match self.token.as_str() {
            "" => request,
            token => request.bearer_auth(token),
        };
        let answer = request.send().await.map_err(|error| self.broken(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    fn broken(&self, error: &reqwest::Error) -> Fault {
        let address = self.address.as_str();
        Fault::unreachable("hub_unreachable", format!("the hub at {address} does not answer"))
            .hint(hint_of(&root_cause(error)))
    }
}

/// The fault of a connection that broke while an answer was read.
pub(crate) fn broke_off(error: &reqwest::Error) -> Fault {
    Fault::unreachable("hub_unreachable", format!("the hub broke off: {}", root_cause(error)))
}

async fn refusal(answer: Response) -> Fault {
    let status = answer.status();
    let body = read_all(answer).await.unwrap_or_default();
    if status == StatusCode::UNAUTHORIZED {
        return Fault::named(
            "access_denied".into(),
            "the hub does not accept this token".into(),
            Some("store a good one with `exeunt admin login`".into()),
        );
    }
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(body) => Fault::named(body.error.code, body.error.message, body.error.hint),
        Err(_) => Fault::new("hub_answer", format!("the hub answered {status}")),
    }
}

async fn read_all(mut answer: Response) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| broke_off(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Fault::new("hub_answer", "the hub's answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        Fault::new("hub_answer", format!("the hub's answer cannot be read: {error}"))
            .hint("are exeunt and exeunt-hub of one release?")
    })
}

/// What to do about a connection that did not stand.
fn hint_of(cause: &str) -> String {
    if cause.contains("UnknownIssuer") {
        return format!(
            "nobody whom this system trusts vouches for its certificate: name its authority with \
             `exeunt admin login --ca FILE` or EXEUNT_HUB_CA ({cause})"
        );
    }
    if cause.contains("certificate") {
        return format!("its certificate is not accepted, and nothing was sent: {cause}");
    }
    if cause.contains("InvalidContentType") {
        return format!("it does not speak TLS there: is its address http://…? ({cause})");
    }
    format!("is `exeunt-hub serve` running there? ({cause})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_send_a_token_in_clear_to_another_machine() {
        for text in ["http://hub.example", "http://10.0.0.1", "http://127.0.0.1.evil.example"] {
            assert!(HubAddress::parse(text, None).is_err(), "{text}");
        }
        for text in ["http://[::1]:7443", "https://hub.example"] {
            assert_eq!(HubAddress::parse(&format!("{text}/"), None).unwrap().as_str(), text);
        }
    }

    #[test]
    fn never_shows_its_token_in_debug_output() {
        let address = HubAddress::parse("http://127.0.0.1:1", None).unwrap();
        let hub = Hub::new(address, "s3cret".into()).unwrap();
        assert!(!format!("{hub:?}").contains("s3cret"));
    }
}
