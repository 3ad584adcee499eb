//! Requests to other parties: pushes to receivers, the keys of transmitters, identity providers.
//!
//! It refuses private networks, but for hosts that an operator named, plain HTTP to any other host,
//! the hub itself, redirects, and every address but the one that it looked at.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use axum::http::{Method, Request, StatusCode, Uri};
use exeunt_signal::http::retry_after;
use hyper_util::rt::TokioIo;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest that a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer read, in bytes.
const LONGEST: usize = 256 << 10;

/// Why a request was not made, or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The text is no absolute URL of a host.
    #[error("not an absolute https URL of a host")]
    NoUrl,
    /// The host is in a private network, or is this hub.
    #[error(
        "this address is refused: a host in a private network is reached only when an operator \
         names it (--stream-host), and the hub itself never"
    )]
    Refused,
    /// The request would cross a network in the clear.
    #[error("this address is refused: beyond this machine only https is spoken")]
    InClear,
    /// The host has no address.
    #[error("the host has no address")]
    NoAddress,
    /// The other side's certificate is not accepted, or it does not speak TLS.
    #[error("no TLS connection: {0}")]
    NoTls(String),
    /// The other side did not answer in time, or not in HTTP.
    #[error("no answer")]
    NoAnswer,
}

/// Where other parties may be reached.
#[derive(Clone, Debug)]
pub struct Reach {
    own: SocketAddr,
    hosts: Arc<BTreeSet<String>>,
    tls: Arc<ClientConfig>,
}

/// What the other side answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Vec<u8>,
    /// How long it asks to wait (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
}

impl Reach {
    /// The public network by TLS, and `hosts`. A hub that itself listens on loopback, at `own`,
    /// reaches its neighbours there, too.
    #[must_use]
    pub fn new(own: SocketAddr, hosts: BTreeSet<String>, tls: Arc<ClientConfig>) -> Self {
        Self { own, hosts: Arc::new(hosts), tls }
    }

    /// The client's side of TLS towards other parties.
    #[must_use]
    pub fn tls(&self) -> &ClientConfig {
        &self.tls
    }

    /// Looks at a URL, and at where its host is now.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn admit(&self, url: &str) -> Result<(Uri, SocketAddr), OutboundError> {
        let uri: Uri = url.parse().map_err(|_| OutboundError::NoUrl)?;
        let usual = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            Some(_) | None => return Err(OutboundError::NoUrl),
        };
        let authority = uri.authority().ok_or(OutboundError::NoUrl)?;
        if authority.as_str().contains('@') || url.len() > 2048 {
            return Err(OutboundError::NoUrl);
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(usual);
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
        if usual == 80 && !named && !address.ip().to_canonical().is_loopback() {
            return Err(OutboundError::InClear);
        }
        Ok((uri, address))
    }

    fn may(&self, address: SocketAddr, named: bool) -> bool {
        let ip = address.ip().to_canonical();
        let own = self.own.ip().to_canonical();
        if (ip == own || ip.is_loopback()) && address.port() == self.own.port() {
            return false;
        }
        let nowhere = match ip {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
        };
        !nowhere && (named || is_public(ip) || (ip.is_loopback() && own.is_loopback()))
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
        self.send_within(method, url, headers, body, PATIENCE, LONGEST).await
    }

    /// The same, where the answer may take `patience` and have `longest` bytes.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn send_within(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: String,
        patience: Duration,
        longest: usize,
    ) -> Result<Answered, OutboundError> {
        let (uri, address) = self.admit(url).await?;
        let exchange = self.exchange(method, &uri, address, headers, body, longest);
        match tokio::time::timeout(patience, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(OutboundError::NoAnswer),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        uri: &Uri,
        address: SocketAddr,
        headers: HeaderMap,
        body: String,
        longest: usize,
    ) -> Result<Answered, OutboundError> {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            tracing::debug!(%error, %address, "no connection");
            OutboundError::NoAnswer
        })?;
        if uri.scheme_str() != Some("https") {
            return talk(stream, method, uri, headers, body, longest).await;
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| OutboundError::NoUrl)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        let stream = stream.map_err(|error| OutboundError::NoTls(error.to_string()))?;
        talk(stream, method, uri, headers, body, longest).await
    }
}

/// Looks up names for a client of its own, under the same rules: what is not allowed has no address
/// there. Addresses in the place of names are to be admitted beforehand.
impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            let host = name.as_str().trim_end_matches('.').to_ascii_lowercase();
            let named = reach.hosts.contains(&host);
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if !found.iter().all(|address| reach.may(*address, named)) {
                return Err(OutboundError::Refused.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is of the public network (the special ones: RFC 6890 and its registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 224;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Global unicast, but for Teredo and the rest of 2001::/23, documentation and 6to4, some of
    // which carry an IPv4 address within.
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x0200)
        && !(a == 0x2001 && b == 0x0db8)
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    method: Method,
    uri: &Uri,
    headers: HeaderMap,
    body: String,
    longest: usize,
) -> Result<Answered, OutboundError> {
    let lost = |error: &dyn std::fmt::Display| {
        tracing::debug!(%error, "a request was not answered");
        OutboundError::NoAnswer
    };
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
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|text| retry_after(text, SystemTime::now()));
        let body = axum::body::to_bytes(Body::new(response.into_body()), longest).await;
        let body = body.map_err(|error| lost(&error))?.to_vec();
        Ok(Answered { status, body, retry_after })
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
        at("127.0.0.1:7443", hosts)
    }

    fn at(own: &str, hosts: &[&str]) -> Reach {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let tls = exeunt_signal::tls::client_config(&exeunt_signal::Trust::Platform).unwrap();
        Reach::new(own.parse().unwrap(), hosts, Arc::new(tls))
    }

    #[tokio::test]
    async fn refuses_private_and_special_addresses_unless_an_operator_names_them() {
        let reach = reach(&["10.0.0.1", "0.0.0.0"]);
        for host in [
            "10.0.0.2",
            "192.168.1.1",
            "172.16.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "203.0.113.5",
            "240.0.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:10.0.0.2]",
            "[64:ff9b::a00:1]",
            "[2002:a00:1::1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[::]",
            "[ff02::1]",
        ] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}/x");
                assert_eq!(reach.admit(&url).await, Err(OutboundError::Refused), "{url}");
            }
        }
        assert!(reach.admit("http://10.0.0.1/").await.is_ok());
        assert!(reach.admit("https://10.0.0.1/").await.is_ok());
    }

    #[tokio::test]
    async fn reaches_the_public_network_by_tls_only() {
        for host in ["93.184.216.34", "[2606:4700::1111]"] {
            assert!(reach(&[]).admit(&format!("https://{host}/in")).await.is_ok(), "{host}");
            let clear = reach(&[]).admit(&format!("http://{host}/in")).await;
            assert_eq!(clear, Err(OutboundError::InClear), "{host}");
        }
    }

    #[tokio::test]
    async fn reaches_loopback_from_loopback_but_never_the_hub_itself() {
        for url in ["http://127.0.0.1:9000/in", "https://[::1]:9000/in", "http://localhost:9000/"] {
            assert!(reach(&[]).admit(url).await.is_ok(), "{url}");
            let outside = at("192.0.2.1:7443", &[]).admit(url).await;
            assert_eq!(outside, Err(OutboundError::Refused), "{url}");
        }
        for url in ["http://127.0.0.1:7443/", "http://127.9.9.9:7443/", "https://[::1]:7443/"] {
            assert_eq!(reach(&[]).admit(url).await, Err(OutboundError::Refused), "{url}");
        }
    }

    #[tokio::test]
    async fn a_client_of_its_own_finds_no_private_address_under_a_name() {
        let looked = |reach: Reach| async move {
            let found = reach.resolve("localhost".parse().unwrap()).await;
            found.map(Iterator::count).map_err(|error| error.to_string())
        };
        assert!(looked(at("192.0.2.1:7443", &[])).await.unwrap_err().contains("refused"));
        assert!(looked(at("192.0.2.1:7443", &["localhost"])).await.unwrap() > 0);
        assert!(looked(reach(&[])).await.unwrap() > 0);
    }

    #[tokio::test]
    async fn refuses_what_is_no_http_url() {
        for url in ["ftp://127.0.0.1/", "/in", "", "http://u:p@127.0.0.1/", "http:///x"] {
            assert_eq!(reach(&[]).admit(url).await, Err(OutboundError::NoUrl), "{url}");
        }
    }
}
