//! The accept loop: HTTP/1.1 with deadlines on the head and a bound on connections.
//!
//! It refuses to cut an answer short: at the end every connection finishes what it is answering.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::Limits;

/// How long answers under way may take once the hub is stopping.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves `router` on `listener` until `stopping` turns true and every answer under way is out.
///
/// # Cancel safety
/// Dropping it cuts every connection.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        // Waiting for room first leaves surplus clients in the listen queue.
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
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
                let one = connection(stream, router.clone(), limits.clone(), stopping.clone());
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

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    // An answer is one small write: waiting to fill a segment would only delay it.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.read_timeout);
    let service = TowerToHyperService::new(router);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        ended = served.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            return;
        }
        _ = stopping.wait_for(|stopping| *stopping) => served.as_mut().graceful_shutdown(),
    }
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
