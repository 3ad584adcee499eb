//! Shared Signals with other parties: this hub as a transmitter and as a receiver (SSF 1.0).
//!
//! It refuses to sign for other parties with the key that devices obey.

pub mod outbound;
pub mod poll;
pub mod polled;
pub mod push;
pub mod signals;
pub mod streams;
pub mod transmitters;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::Method;
use exeunt_api::path;
use exeunt_ssf::RsaSigner;
use exeunt_ssf::discovery::{
    AuthorizationScheme, Metadata, OAUTH, POLL, PUSH, WELL_KNOWN, issuer_path,
};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};

use crate::Hub;
use crate::access::Doors;
use crate::http::{ApiError, Json};
use crate::publish::lock;
use crate::store::stream::Waiting;

/// Streams.
pub const STREAMS: &str = "/ssf/streams";
/// A stream's status.
pub const STATUS: &str = "/ssf/status";
/// Takes a subject into a stream.
pub const ADD_SUBJECT: &str = "/ssf/subjects/add";
/// Takes a subject out of a stream.
pub const REMOVE_SUBJECT: &str = "/ssf/subjects/remove";
/// Asks for a verification event.
pub const VERIFY: &str = "/ssf/verify";
/// Where transmitters push; a `/TRANSMITTER` follows.
pub const RECEIVE: &str = "/ssf/receive";
/// Transmitters, for operators.
pub const TRANSMITTERS: &str = path::TRANSMITTERS;

/// The file of the key that signs streams.
pub const KEY_FILE: &str = "ssf-key";
/// What a client may do with its stream.
const SCOPES: [&str; 2] = ["ssf.read", "ssf.manage"];

/// What this part of a running hub keeps.
#[derive(Debug)]
pub struct Ssf {
    signer: OnceCell<RsaSigner>,
    /// Where other parties may be reached.
    pub reach: outbound::Reach,
    /// Transmitters that this hub polls.
    pub polled: polled::Polled,
    keys: Mutex<HashMap<String, signals::Fetched>>,
}

impl Ssf {
    /// Nothing yet, for a hub that may call within `reach` and polls those of `book`.
    #[must_use]
    pub fn new(reach: outbound::Reach, book: polled::Book) -> Self {
        let polled = polled::Polled::new(book);
        Self { signer: OnceCell::new(), reach, polled, keys: Mutex::default() }
    }
}

/// The doors of this part.
pub fn doors(doors: Doors, issuer: &str) -> Doors {
    let discovered = format!("{WELL_KNOWN}{}", issuer_path(issuer));
    doors
        .open_at(WELL_KNOWN, &discovered, discovery)
        .open(Method::GET, STREAMS, streams::read)
        .open(Method::POST, STREAMS, streams::create)
        .open(Method::PATCH, STREAMS, streams::update)
        .open(Method::PUT, STREAMS, streams::replace)
        .open(Method::DELETE, STREAMS, streams::delete)
        .open(Method::GET, STATUS, streams::status)
        .open(Method::POST, STATUS, streams::set_status)
        .open(Method::POST, ADD_SUBJECT, streams::add_subject)
        .open(Method::POST, REMOVE_SUBJECT, streams::remove_subject)
        .open(Method::POST, VERIFY, streams::verify)
        .open(Method::POST, &format!("{}/{{stream}}", path::POLL), poll::poll)
        .open(Method::POST, &format!("{RECEIVE}/{{transmitter}}"), signals::receive)
        .open(Method::POST, TRANSMITTERS, transmitters::register)
        .open(Method::GET, TRANSMITTERS, transmitters::list)
        .open(Method::DELETE, &format!("{TRANSMITTERS}/{{transmitter}}"), transmitters::remove)
        .open(Method::POST, &format!("{TRANSMITTERS}/{{transmitter}}/expect"), transmitters::expect)
}

/// `GET /.well-known/ssf-configuration`.
///
/// # Errors
/// [`ApiError`] when no signing key can be made.
pub async fn discovery(State(hub): State<Arc<Hub>>) -> Result<Json<Metadata>, ApiError> {
    // Whoever reads this looks for the key next.
    signer(&hub).await?;
    let at = |path: &str| Some(format!("{}{path}", hub.url));
    Ok(Json(Metadata {
        spec_version: Some("1_0".into()),
        issuer: hub.issuer.clone(),
        jwks_uri: at(path::JWKS),
        delivery_methods_supported: vec![PUSH.into(), POLL.into()],
        configuration_endpoint: at(STREAMS),
        status_endpoint: at(STATUS),
        add_subject_endpoint: at(ADD_SUBJECT),
        remove_subject_endpoint: at(REMOVE_SUBJECT),
        verification_endpoint: at(VERIFY),
        critical_subject_members: Vec::new(),
        authorization_schemes: vec![AuthorizationScheme { spec_urn: OAUTH.into() }],
        default_subjects: Some("ALL".into()),
    }))
}

/// The hub's public keys: the one that devices obey, those that signed before it, and the one that signs streams, once there
/// is one.
#[must_use]
pub fn jwks(hub: &Hub) -> Value {
    let signer = hub.ssf.signer.get().map(RsaSigner::jwk);
    let own = hub.keys.published().keys.into_iter().map(|key| json!(key));
    json!({ "keys": own.chain(signer.cloned()).collect::<Vec<_>>() })
}

/// The scopes that a client is registered with.
///
/// # Errors
/// [`ApiError`] for any other.
pub fn scopes(asked: Vec<String>) -> Result<Vec<String>, ApiError> {
    match asked.iter().find(|one| !SCOPES.contains(&one.as_str())) {
        Some(_) => Err(ApiError::invalid(format!("scopes are {}", SCOPES.join(" and ")))),
        None => Ok(asked),
    }
}

/// The key that signs streams: stored, or made at first use.
///
/// # Errors
/// [`ApiError`].
pub async fn signer(hub: &Arc<Hub>) -> Result<&RsaSigner, ApiError> {
    let held = Arc::clone(hub);
    let made = hub.ssf.signer.get_or_try_init(|| async move {
        tokio::task::spawn_blocking(move || load_signer(&held, true))
            .await
            .map_err(|_| ApiError::internal("the making of a key was cut short"))?
            .and_then(|made| made.ok_or_else(|| ApiError::internal("no key was made")))
    });
    made.await
}

/// Takes the key that an earlier run made, if one did.
///
/// # Errors
/// [`ApiError`].
pub fn take_stored_signer(hub: &Hub) -> Result<(), ApiError> {
    if let Some(signer) = load_signer(hub, false)? {
        // Nothing else sets it before requests are served.
        let _ = hub.ssf.signer.set(signer);
    }
    Ok(())
}

fn load_signer(hub: &Hub, make: bool) -> Result<Option<RsaSigner>, ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "the key that signs streams cannot be used");
        ApiError::internal("the key that signs streams cannot be used")
    };
    if let Some(pem) = hub.data.secret(KEY_FILE).map_err(|error| failed(&error))? {
        return RsaSigner::from_pem(&pem).map(Some).map_err(|error| failed(&error));
    }
    if !make {
        return Ok(None);
    }
    let signer = RsaSigner::generate().map_err(|error| failed(&error))?;
    hub.data.write_secret(KEY_FILE, signer.to_pem()).map_err(|error| failed(&error))?;
    tracing::info!(kid = signer.kid(), "made the key that signs streams");
    Ok(Some(signer))
}

/// Signs what goes out to a receiver.
///
/// # Errors
/// [`ApiError`].
pub async fn sign(hub: &Arc<Hub>, sets: Vec<Waiting>) -> Result<Vec<(Waiting, String)>, ApiError> {
    let signer = signer(hub).await?.clone();
    let issuer = hub.issuer.clone();
    let signing = move || {
        let mut signed = Vec::with_capacity(sets.len());
        for mut set in sets {
            set.claims["iss"] = json!(issuer);
            let compact = signer.sign(&set.claims);
            let compact = compact.map_err(|_| ApiError::internal("a SET cannot be signed"))?;
            signed.push((set, compact));
        }
        Ok(signed)
    };
    tokio::task::spawn_blocking(signing)
        .await
        .map_err(|_| ApiError::internal("the signing was cut short"))?
}

/// Bells that wake whoever waits for a stream.
#[derive(Debug)]
pub struct Bells {
    each: Mutex<HashMap<String, watch::Sender<u64>>>,
    any: watch::Sender<u64>,
}

impl Default for Bells {
    fn default() -> Self {
        Self { each: Mutex::default(), any: watch::Sender::new(0) }
    }
}

impl Bells {
    /// Wakes whoever waits for one of `streams`.
    pub fn ring(&self, streams: &[String]) {
        if streams.is_empty() {
            return;
        }
        let mut each = lock(&self.each);
        for stream in streams {
            if let Some(bell) = each.get(stream) {
                bell.send_modify(|count| *count += 1);
                if bell.is_closed() {
                    each.remove(stream);
                }
            }
        }
        self.any.send_modify(|count| *count += 1);
    }

    /// Listens for news of `stream`.
    #[must_use]
    pub fn listen(&self, stream: &str) -> watch::Receiver<u64> {
        let mut each = lock(&self.each);
        each.entry(stream.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Listens for news of any stream.
    #[must_use]
    pub fn any(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }
}
