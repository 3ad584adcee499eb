//! The hub: the registry, the revoke, the transmitter, the proof.
//!
//! It refuses to answer before what it answers is on disk.

pub mod access;
pub mod admin;
pub mod aliases;
pub mod approvals;
pub mod audit;
pub mod audit_api;
pub mod back_channel_logout;
pub mod backup;
pub mod check_api;
pub mod config;
pub mod connectors;
pub mod enrol;
pub mod events;
pub mod forward_auth;
pub mod global_revocation;
pub mod http;
pub mod introspect;
pub mod keys;
pub mod lease;
pub mod oauth;
pub mod openapi;
pub mod playbooks;
pub mod provider_commands;
pub mod publish;
pub mod receipts;
pub mod receiver;
pub mod registry;
pub mod revoke;
pub mod sequencer;
pub mod sign_in;
pub mod ssf;
mod start;
pub mod store;
pub mod subjects;
pub mod tls;
pub mod transmitter;
pub mod views;

use std::sync::Arc;

use tokio::sync::watch;

pub use config::{Config, Limits};
pub use start::{Running, StartError, start};

/// What every request works with.
#[derive(Debug)]
pub struct Hub {
    /// The data directory, held by this process.
    pub data: config::DataDir,
    /// The keys that sign orders and countersignatures.
    pub keys: Arc<keys::HubKeys>,
    /// The issuer name of this hub's SETs.
    pub issuer: String,
    /// The base URL that devices are told.
    pub url: String,
    /// Coverage hashes that receipts may carry; any, when there is none.
    pub expect_coverage: std::collections::BTreeSet<String>,
    /// Figures.
    pub limits: Limits,
    /// Readers of the record. They go before the sequencer: the connection that closes last tidies
    /// the log away, and only the writer's can.
    pub views: views::Views,
    /// Where commands go.
    pub sequencer: sequencer::Sequencer,
    /// Memory of the record.
    pub shared: Arc<publish::Shared>,
    /// Access tokens.
    pub tokens: oauth::Tokens,
    /// Running checks of relying services.
    pub guards: check_api::Guards,
    /// Shared Signals with other parties.
    pub ssf: ssf::Ssf,
    /// Identity providers, with their credentials.
    pub connectors: connectors::Book,
    /// The client that speaks to them.
    pub providers: connectors::Http,
    /// What is remembered of operators' calls.
    pub calls: access::Calls,
    /// What events of other parties end.
    pub events: events::Events,
    /// Whether providers' commands are taken (a draft).
    pub provider_commands: bool,
    /// Operators' sign-in at an identity provider, if there is one.
    pub sign_in: Option<sign_in::SignIn>,
    /// True once the hub is stopping.
    pub stopping: watch::Receiver<bool>,
}

impl Hub {
    /// How long an order is good for, in milliseconds.
    #[must_use]
    pub fn order_good_for_ms(&self) -> u64 {
        u64::try_from(self.limits.order_good_for.as_millis()).unwrap_or(u64::MAX)
    }
}
