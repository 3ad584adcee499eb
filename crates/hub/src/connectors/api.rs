//! Where operators register identity providers, and relying services hand over what is to be
//! revoked there.
//!
//! It refuses to show a credential or a token again.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use exeunt_api::{ConnectorGap, ConnectorInfo, ConnectorTest, VERSION, path};
use exeunt_domain::Subject;
use serde::Deserialize;

use super::run::{client, remains};
use super::{BookError, Failed, Registered, Settings, call};
use crate::Hub;
use crate::http::{ApiError, Json};
use crate::oauth::{Admin, Client};
use crate::ssf::outbound::OutboundError;
use crate::store::Command;

/// Providers.
pub const PATH: &str = path::CONNECTORS;
/// Tokens handed over for one of them.
pub const GRANTS: &str = "/v1/connectors/{name}/grants";
/// Tries one of them.
pub const TEST: &str = "/v1/connectors/{name}/test";
/// Longest token, in bytes.
const LONGEST: usize = 8192;

/// `POST /v1/connectors`.
#[derive(Debug, schemars::JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorRequest {
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,64}$"))]
    name: String,
    settings: Settings,
    /// The audiences whose services may hand over tokens for it.
    #[serde(default)]
    audiences: Vec<String>,
}

/// A provider, without its credentials.
fn shown(name: String, one: Registered) -> ConnectorInfo {
    let connector = one.settings.connector();
    let gaps = connector.does_not_cover().iter().map(|gap| ConnectorGap {
        what: gap.what.to_owned(),
        how_long: gap.how_long.to_owned(),
        lapses_after_s: gap.lapses_after_s,
    });
    ConnectorInfo {
        v: VERSION,
        name,
        kind: one.settings.kind().to_owned(),
        mechanism: connector.mechanism().to_owned(),
        does_not_cover: gaps.collect(),
        renewal: connector.renewal().to_owned(),
        audiences: one.audiences,
    }
}

/// `POST /v1/connectors`: registers a provider, or replaces the one of that name.
///
/// # Errors
/// [`ApiError`]; 400 for an address that the hub may not call.
pub async fn register(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<ConnectorRequest>,
) -> Result<(StatusCode, Json<ConnectorInfo>), ApiError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if ask.name.is_empty() || ask.name.len() > 64 || !ask.name.chars().all(fine) {
        return Err(ApiError::invalid("name has 1 to 64 letters, digits, '-', '_' and '.'"));
    }
    let connector = ask.settings.connector();
    if let Some(fault) = connector.fault() {
        return Err(ApiError::invalid(fault));
    }
    for address in connector.addresses() {
        call::address(address).map_err(|error| ApiError::invalid(error.to_string()))?;
        match hub.ssf.reach.admit(address).await {
            // A provider may be away while it is registered; calls look again.
            Ok(_) | Err(OutboundError::NoAddress) => {}
            Err(error) => return Err(ApiError::invalid(format!("{address}: {error}"))),
        }
    }
    let remains = remains(connector);
    let one = Registered { settings: ask.settings, audiences: ask.audiences };
    let (name, kind) = (ask.name, one.settings.kind());
    let (writing, named, kept) = (Arc::clone(&hub), name.clone(), one.clone());
    blocking(move || writing.connectors.register(&writing.data, &named, kept)).await?;
    let command = Command::AddConnector { actor: admin.actor, name: name.clone(), kind, remains };
    hub.sequencer.submit(command).await?.reply?;
    Ok((StatusCode::CREATED, Json(shown(name, one))))
}

/// `GET /v1/connectors`.
///
/// # Errors
/// [`ApiError`].
pub async fn list(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
) -> Result<Json<Vec<ConnectorInfo>>, ApiError> {
    let all = hub.connectors.all().into_iter();
    Ok(Json(all.map(|(name, one)| shown(name, one)).collect()))
}

/// `DELETE /v1/connectors/{name}`: forgets a provider, its credentials and the tokens that were
/// handed over for it. Sign-outs that wait for it end as unreachable.
///
/// # Errors
/// [`ApiError`]; 404 for none of that name.
pub async fn remove(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    // The record first: from then on no sign-out waits for it.
    let command = Command::RemoveConnector { actor: admin.actor, name: name.clone() };
    hub.sequencer.submit(command).await?.reply?;
    blocking(move || hub.connectors.remove(&hub.data, &name).map(drop)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/connectors/{name}/test`: tries a provider's credentials and ends nothing.
///
/// # Errors
/// [`ApiError`]; 404 for none of that name.
pub async fn test(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Path(name): Path<String>,
) -> Result<Json<ConnectorTest>, ApiError> {
    let one = hub.connectors.get(&name);
    let one = one.ok_or_else(|| ApiError::not_found("no such provider"))?;
    let (connector, began) = (one.settings.connector(), Instant::now());
    let tried = async { connector.test(&client(&hub, connector).await?).await };
    let (works, said) = match tried.await {
        Ok(said) => (true, said),
        Err(Failed::Denied(why)) => {
            (false, format!("{why}; renew the credentials: {}", connector.renewal()))
        }
        Err(failed) => (false, failed.to_string()),
    };
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(ConnectorTest { v: VERSION, name, works, said, ms }))
}

/// `POST /v1/connectors/{name}/grants`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    subject: Subject,
    token: String,
}

/// A relying service hands over a refresh token, to be revoked when its subject is signed out.
///
/// # Errors
/// [`ApiError`]; 404 also when the service may hand over nothing for that provider.
pub async fn grant(
    State(hub): State<Arc<Hub>>,
    client: Client,
    Path(name): Path<String>,
    Json(ask): Json<GrantRequest>,
) -> Result<StatusCode, ApiError> {
    let known = hub.connectors.get(&name).is_some_and(|one| one.audiences.contains(&client.aud));
    if !known {
        return Err(ApiError::not_found("no such provider of this service"));
    }
    if ask.token.is_empty() || ask.token.len() > LONGEST {
        return Err(ApiError::invalid("a token has 1 to 8,192 bytes"));
    }
    let subject = Subject::parse(&ask.subject.key());
    let subject = subject.map_err(|error| ApiError::invalid(error.to_string()))?;
    blocking(move || hub.connectors.keep(&hub.data, &name, &subject, ask.token)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn blocking(
    write: impl FnOnce() -> Result<(), BookError> + Send + 'static,
) -> Result<(), ApiError> {
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(BookError::Full)) => {
            let code = StatusCode::INSUFFICIENT_STORAGE;
            Err(ApiError::new(code, "storage_full", BookError::Full.to_string()))
        }
        Ok(Err(BookError::NoKey)) => {
            let code = StatusCode::CONFLICT;
            Err(ApiError::new(code, "no_connectors_key", BookError::NoKey.to_string())
                .hint("start exeunt-hub with --connectors-key FILE; it makes the key"))
        }
        Ok(Err(error @ (BookError::Data(_) | BookError::Seal(_)))) => {
            tracing::error!(%error, "the connectors' file was not written");
            let code = StatusCode::SERVICE_UNAVAILABLE;
            Err(ApiError::new(code, "storage_failed", "the connectors' file was not written"))
        }
        Ok(Err(BookError::Damaged(_))) | Err(_) => {
            Err(ApiError::internal("the connectors' file cannot be written as JSON"))
        }
    }
}
