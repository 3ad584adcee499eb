//! Requests to other parties: pushes to receivers, and the keys of transmitters.
//!
//! It refuses every address but loopback and the hosts that an operator named, the hub itself,
//! redirects, and TLS, which this hub does not have yet.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{HOST, HeaderMap, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest that a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer read, in bytes.
const LONGEST: usize = 256 << 10;

/// Why a request was not made, or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The text is no absolute URL of a host.
    #[error("not an absolute http URL of a host")]
    NoUrl,
    /// The URL asks for TLS.
    #[error("this hub has no TLS yet, so that it reaches http URLs on loopback only")]
    NoTls,
    /// The host is neither loopback nor named by an operator.
    #[error("this address is refused: only loopback and hosts that an operator allows are reached")]
    Refused,
    /// The host has no address.
    #[error("the host has no address")]
    NoAddress,
    /// The other side did not answer in time, or not in HTTP.
    #[error("no answer")]
    NoAnswer,
}

/// Where other parties may be reached.
#[derive(Clone, Debug)]
pub struct Reach {
    own: SocketAddr,
    hosts: BTreeSet<String>,
}

/// What the other side answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reach {
    /// Loopback but for `own`, and `hosts`.
    #[must_use]
    pub fn new(own: SocketAddr, hosts: BTreeSet<String>) -> Self {
        Self { own, hosts }
    }

    /// Looks at a URL, and at where its host is now.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn admit(&self, url: &str) -> Result<(Uri, SocketAddr), OutboundError> {
        let uri: Uri = url.parse().map_err(|_| OutboundError::NoUrl)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(OutboundError::NoTls),
            Some(_) | None => return Err(OutboundError::NoUrl),
        }
        let authority = uri.authority().ok_or(OutboundError::NoUrl)?;
        if authority.as_str().contains('@') || url.len() > 2048 {
            return Err(OutboundError::NoUrl);
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(80);
        let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port)));
        let found: Vec<SocketAddr> = match found.await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(OutboundError::NoAddress),
        };
        let named = self.hosts.contains(&host);
        if !found.iter().all(|address| self.may(*address, named)) {
            return Err(OutboundError::Refused);
        }
        let address = found.into_iter().next().ok_or(OutboundError::NoAddress)?;
        Ok((uri, address))
    }

    fn may(&self, address: SocketAddr, named: bool) -> bool {
        let ip = address.ip().to_canonical();
        let own = ip == self.own.ip().to_canonical() || ip.is_loopback();
        if own && address.port() == self.own.port() {
            return false;
        }
        let nowhere = match ip {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
        };
        !nowhere && (ip.is_loopback() || named)
    }

    /// Makes one request, to the very address that was admitted.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Answered, OutboundError> {
        let (uri, address) = self.admit(url).await?;
        let exchange = exchange(method, &uri, address, headers, body);
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(OutboundError::NoAnswer),
        }
    }
}

async fn exchange(
    method: Method,
    uri: &Uri,
    address: SocketAddr,
    headers: HeaderMap,
    body: String,
) -> Result<Answered, OutboundError> {
    let lost = |error: &dyn std::fmt::Display| {
        tracing::debug!(%error, %address, "a request was not answered");
        OutboundError::NoAnswer
    };
    let stream = TcpStream::connect(address).await.map_err(|error| lost(&error))?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| lost(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| OutboundError::NoUrl)?;
    *request.headers_mut() = headers;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host).map_err(|_| OutboundError::NoUrl)?;
    request.headers_mut().insert(HOST, host);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let status = response.status();
        let body = axum::body::to_bytes(Body::new(response.into_body()), LONGEST).await;
        let body = body.map_err(|error| lost(&error))?.to_vec();
        Ok(Answered { status, body })
    };
    tokio::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        // The connection may be over as soon as the last byte is here.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(hosts: &[&str]) -> Reach {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        Reach::new("127.0.0.1:7443".parse().unwrap(), hosts)
    }

    #[tokio::test]
    async fn refuses_private_link_local_and_public_addresses_unless_an_operator_names_them() {
        for url in [
            "http://10.0.0.1/",
            "http://192.168.1.1/x",
            "http://172.16.0.1/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://[fd00::1]:80/",
            "http://[::ffff:10.0.0.1]/",
            "http://93.184.216.34/",
            "http://[::]/",
        ] {
            assert_eq!(reach(&[]).admit(url).await, Err(OutboundError::Refused), "{url}");
        }
        assert!(reach(&["10.0.0.1"]).admit("http://10.0.0.1/").await.is_ok());
        assert!(reach(&["0.0.0.0"]).admit("http://0.0.0.0/").await.is_err());
    }

    #[tokio::test]
    async fn reaches_loopback_but_never_the_hub_itself() {
        for url in ["http://127.0.0.1:9000/in", "http://[::1]:9000/in", "http://localhost:9000/"] {
            assert!(reach(&[]).admit(url).await.is_ok(), "{url}");
        }
        for url in ["http://127.0.0.1:7443/", "http://127.9.9.9:7443/", "http://[::1]:7443/"] {
            assert_eq!(reach(&[]).admit(url).await, Err(OutboundError::Refused), "{url}");
        }
    }

    #[tokio::test]
    async fn refuses_what_is_no_plain_http_url() {
        for url in ["ftp://127.0.0.1/", "/in", "", "http://u:p@127.0.0.1/", "http:///x"] {
            assert_eq!(reach(&[]).admit(url).await, Err(OutboundError::NoUrl), "{url}");
        }
        let tls = reach(&[]).admit("https://rp.example/in").await;
        assert_eq!(tls, Err(OutboundError::NoTls));
    }
}
