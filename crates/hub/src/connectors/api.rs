//! Where operators register identity providers, and relying services hand over what is to be
//! revoked there.
//!
//! It refuses to show a credential or a token again.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use exeunt_api::VERSION;
use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};

use super::{BookError, NotCovered, Registered, Settings, call};
use crate::Hub;
use crate::http::{ApiError, Json};
use crate::oauth::{Admin, Client};
use crate::ssf::outbound::OutboundError;
use crate::store::Command;

/// Providers.
pub const PATH: &str = "/v1/connectors";
/// Tokens handed over for one of them.
pub const GRANTS: &str = "/v1/connectors/{name}/grants";
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
#[derive(Debug, schemars::JsonSchema, Serialize)]
pub struct ConnectorInfo {
    v: u16,
    name: String,
    kind: &'static str,
    mechanism: &'static str,
    does_not_cover: &'static [NotCovered],
    audiences: Vec<String>,
}

impl ConnectorInfo {
    fn of(name: String, one: Registered) -> Self {
        let connector = one.settings.connector();
        Self {
            v: VERSION,
            name,
            kind: one.settings.kind(),
            mechanism: connector.mechanism(),
            does_not_cover: connector.does_not_cover(),
            audiences: one.audiences,
        }
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
    for address in ask.settings.connector().addresses() {
        call::address(address).map_err(|error| ApiError::invalid(error.to_string()))?;
        match hub.ssf.reach.admit(address).await {
            // A provider may be away while it is registered; calls look again.
            Ok(_) | Err(OutboundError::NoAddress) => {}
            Err(error) => return Err(ApiError::invalid(format!("{address}: {error}"))),
        }
    }
    let one = Registered { settings: ask.settings, audiences: ask.audiences };
    let (name, kind) = (ask.name, one.settings.kind());
    let (writing, named, kept) = (Arc::clone(&hub), name.clone(), one.clone());
    blocking(move || writing.connectors.register(&writing.data, &named, kept)).await?;
    let command = Command::AddConnector { actor: admin.actor, name: name.clone(), kind };
    hub.sequencer.submit(command).await?.reply?;
    Ok((StatusCode::CREATED, Json(ConnectorInfo::of(name, one))))
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
    Ok(Json(all.map(|(name, one)| ConnectorInfo::of(name, one)).collect()))
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
        Ok(Err(BookError::Data(error))) => {
            tracing::error!(%error, "the connectors' file was not written");
            let code = StatusCode::SERVICE_UNAVAILABLE;
            Err(ApiError::new(code, "storage_failed", "the connectors' file was not written"))
        }
        Ok(Err(BookError::Damaged(_))) | Err(_) => {
            Err(ApiError::internal("the connectors' file cannot be written as JSON"))
        }
    }
}
