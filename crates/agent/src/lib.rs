//! The agent: it carries the hub's SETs down to the warden and the warden's SETs up to the hub.
//!
//! It refuses to order anything, to read what it carries, and to hold a key that proves more than
//! who carries.

pub mod book;
pub mod context;
pub mod downlink;
pub mod local;
pub mod state;
pub mod uplink;
pub mod warden;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;

use crate::context::Context;
use crate::state::StateDir;
use crate::warden::WardenLine;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the public key is published.
    pub runtime_dir: PathBuf,
    /// Where the private key and the hub's address are kept.
    pub state_dir: PathBuf,
    /// The warden's socket.
    pub warden_socket: PathBuf,
    /// The agent's own.
    pub agent_socket: PathBuf,
    /// Whose certificates the hub may show.
    pub trust: exeunt_signal::Trust,
}

/// Runs the agent until `stop` ends.
///
/// # Errors
/// When its key, its socket or its threads are not to be had. What comes later is retried, not
/// returned.
pub async fn serve(settings: &Settings, stop: impl Future<Output = ()>) -> Result<()> {
    let state = StateDir::open(&settings.state_dir)?;
    let key = state.transport_key()?;
    let listener = local::listen(&settings.agent_socket)?;
    state::publish_key(&settings.runtime_dir, &key)?;
    let http = exeunt_signal::http::client(&settings.trust)?;
    let context = Arc::new(Context::new(http, key, state)?);
    let line = |name| {
        WardenLine::start(&settings.warden_socket, name).context("starting a line to the warden")
    };
    let (down, up, asking) = (line("down")?, line("up")?, line("asking")?);
    local::serve(listener, Arc::clone(&context), asking, Handle::current())?;
    tracing::info!(enrolled = context.hub().borrow().is_some(), "the agent serves");
    tokio::select! {
        () = stop => {}
        ended = downlink::run(Arc::clone(&context), down) => ended?,
        ended = uplink::run(Arc::clone(&context), up) => ended?,
    }
    tracing::info!("the agent stops");
    Ok(())
}
