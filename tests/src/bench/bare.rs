//! The bare server that others are measured beside: it answers 204.
//!
//! It refuses to do more: no routes, no log, no limits.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use anyhow::Result;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Its name among the benches.
pub(super) const NAME: &str = "bare-server";

/// Prints its address and serves until it is killed.
pub(super) fn serve() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let answer = service_fn(|_| async {
                    let mut answer = Response::new(Body::empty());
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                    Ok::<_, Infallible>(answer)
                });
                // A client that goes away ends its own connection and nothing else.
                let _ended =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    })
}
