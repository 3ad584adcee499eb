//! The accept loop: HTTP/1.1, over TLS where there is a certificate, with deadlines on the handshake
//! and the head and a bound on connections.
//!
//! It refuses to cut an answer short: at the end every connection finishes what it is answering.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::front::Front;
use super::head::HeadDeadline;
use crate::Hub;
use crate::config::Limits;

/// How long answers under way may take once the hub is stopping.
const DRAIN: Duration = Duration::from_secs(10);
/// How the first record of a TLS connection begins (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Most that is read of a request that came in the clear.
const CLEAR_BYTES: u64 = 16 << 10;

/// What new connections are shown; None on a hub without TLS.
pub type Shown = Option<watch::Receiver<Arc<ServerConfig>>>;

/// What every lane serves.
#[derive(Clone)]
struct Served {
    front: Front,
    room: Arc<Semaphore>,
    within: Duration,
    shown: Shown,
    stopping: watch::Receiver<bool>,
}

/// Serves `hub` on `listener` until `stopping` turns true, or is dropped, and every answer under
/// way is out.
///
/// Each processor has a lane: a thread that accepts, reads and answers by itself. A connection
/// stays in its lane, so that no answer waits for another thread to be woken.
///
/// # Errors
/// The system gives no thread, or not the listener's descriptor a second time.
pub fn serve(
    listener: TcpListener,
    hub: Arc<Hub>,
    limits: &Limits,
    shown: Shown,
    stopping: watch::Receiver<bool>,
) -> io::Result<JoinSet<()>> {
    let room = Arc::new(Semaphore::new(limits.connections));
    let (front, within) = (Front::new(hub), limits.read_timeout);
    let served = Served { front, room, within, shown, stopping };
    let listener = listener.into_std()?;
    let mut lanes = JoinSet::new();
    for _ in 0..std::thread::available_parallelism()?.get() {
        let (listener, served) = (listener.try_clone()?, served.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, end) = oneshot::channel::<()>();
        std::thread::Builder::new().name("lane".into()).spawn(move || {
            runtime.block_on(lane(listener, served));
            // What still reads the record for nobody is not waited for.
            runtime.shutdown_background();
            drop(ended);
        })?;
        lanes.spawn(async move {
            // Dropped when the lane ends, however it ends.
            let _ended = end.await;
        });
    }
    Ok(lanes)
}

async fn lane(listener: std::net::TcpListener, served: Served) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a lane cannot listen"),
    };
    let mut stopping = served.stopping.clone();
    let mut connections = JoinSet::new();
    loop {
        // Waiting for room first leaves surplus clients in the listen queue.
        let accepted = async {
            let permit = Arc::clone(&served.room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            accepted = accepted => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let Ok(permit) = permit else { break };
        match stream {
            Ok((stream, _)) => {
                let one = connection(stream, served.clone());
                connections.spawn(async move {
                    one.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: let a connection end before trying again.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::select! {
                    _ = connections.join_next() => {}
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("connections were still open at the end and are cut");
    }
}

async fn connection(stream: TcpStream, served: Served) {
    let Served { front, within, shown, mut stopping, room: _ } = served;
    let tls = shown.map(|shown| Arc::clone(&shown.borrow()));
    // An answer is one small write: waiting to fill a segment would only delay it.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return exchange(stream, front, within, stopping).await };
    // Boxed, for a connection lives much longer than its handshake, and keeps the room of both.
    let handshake = Box::pin(tokio::time::timeout(within, shake(stream, tls)));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    match shaken {
        Ok(Ok(Some(stream))) => Box::pin(exchange(stream, front, within, stopping)).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// A TLS connection; None when the other side spoke something else, which it was told.
async fn shake(
    mut stream: TcpStream,
    tls: Arc<ServerConfig>,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        refuse_clear(&mut stream).await?;
        return Ok(None);
    }
    TlsAcceptor::from(tls).accept(stream).await.map(Some)
}

/// Answers whoever speaks plain HTTP, after reading: an unread request would reset the connection
/// before the answer is there.
async fn refuse_clear(stream: &mut TcpStream) -> io::Result<()> {
    let body = exeunt_api::ErrorBody::new(
        "tls_required",
        "this port speaks TLS, and what was sent came in the clear",
        Some("use https://; a token that was sent here in the clear should be replaced"),
    );
    let body = serde_json::to_string(&body)?;
    let (mut reading, mut writing) = stream.split();
    let mut reading = (&mut reading).take(CLEAR_BYTES);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && reading.read_buf(&mut head).await? > 0 {}
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    writing.write_all(answer.as_bytes()).await?;
    writing.shutdown().await
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    front: Front,
    within: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    let head = HeadDeadline::default();
    builder.timer(head.clone()).header_read_timeout(within);
    let served = builder.serve_connection(TokioIo::new(stream), front);
    tokio::pin!(served);
    tokio::select! {
        biased;
        ended = served.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            return;
        }
        _ = stopping.wait_for(|stopping| *stopping) => served.as_mut().graceful_shutdown(),
        () = head.late() => {
            tracing::debug!("a request's head took too long");
            return;
        }
    }
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
