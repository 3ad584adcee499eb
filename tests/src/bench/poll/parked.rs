//! The bare server beside the hub: it parks a request over TLS until a bell rings.
//!
//! It refuses to do more: no routes, no tokens, no record, no limits.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use exeunt_signal::tls::{certificates, provider};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::talk;

/// Its name among the benches.
pub(crate) const NAME: &str = "bare-parked";

/// What it is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Serve with this certificate; it answers its address.
    Serve { cert: PathBuf, key: PathBuf },
    /// Answer every parked request with one entry of so many bytes.
    Ring { bytes: usize },
}

struct Bell {
    rung: Notify,
    answer: Mutex<Bytes>,
}

/// Serves until it is killed.
pub(crate) fn serve() -> Result<()> {
    let mut asks = talk::asked::<Ask>();
    let Some(Ask::Serve { cert, key }) = asks.next().transpose()? else {
        anyhow::bail!("it was not told what to serve with")
    };
    let bell = Arc::new(Bell { rung: Notify::new(), answer: Mutex::default() });
    let tls = TlsAcceptor::from(Arc::new(settings(&cert, &key)?));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address: SocketAddr = listener.local_addr()?;
    runtime.spawn(accept(listener, tls, Arc::clone(&bell)));
    talk::say(&address)?;
    let mut rings = 0;
    for ask in asks {
        if let Ask::Ring { bytes } = ask? {
            rings += 1;
            let sets = serde_json::json!({ format!("bare-{rings}"): "x".repeat(bytes) });
            let answer = serde_json::json!({ "sets": sets, "moreAvailable": false });
            *bell.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.to_string().into();
            bell.rung.notify_waiters();
        }
    }
    Ok(())
}

/// The hub's own settings of TLS.
fn settings(cert: &std::path::Path, key: &std::path::Path) -> Result<ServerConfig> {
    let key = PrivateKeyDer::from_pem_file(key).context("the key")?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(cert)?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, bell: Arc<Bell>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(one(stream, tls.clone(), Arc::clone(&bell)));
    }
}

/// A client that goes away ends its own connection and nothing else.
async fn one(stream: TcpStream, tls: TlsAcceptor, bell: Arc<Bell>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else { return };
    let answer = service_fn(|request| answer(request, Arc::clone(&bell)));
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, bell: Arc<Bell>) -> Result<Response<Body>, Infallible> {
    let rung = bell.rung.notified();
    tokio::pin!(rung);
    rung.as_mut().enable();
    if at_once(request).await {
        return Ok(Response::new(Body::from(r#"{"sets":{},"moreAvailable":false}"#)));
    }
    rung.await;
    let answer = bell.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Response::new(Body::from(answer)))
}

/// Whether the request is not to be parked. Nothing of it is kept.
async fn at_once(request: Request<Incoming>) -> bool {
    let asked = axum::body::to_bytes(Body::new(request.into_body()), 1 << 16).await;
    let asked = asked.unwrap_or_default();
    memchr::memmem::find(&asked, b"\"returnImmediately\":true").is_some()
}
