//! What only an operator may do: mint enrolment tokens and operators' tokens, take these back,
//! register services, list and remove devices.
//!
//! It refuses to show a secret twice: each is in the answer that mints it, and nowhere else.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::{
    AdminTokenRequest, AdminTokenResponse, DeviceList, DeviceTokenRequest, DeviceTokenResponse,
    OperatorInfo, ServiceRequest, ServiceResponse, VERSION,
};
use exeunt_domain::{Approvers, DeviceId};
use exeunt_ssf::EnrolToken;

use crate::Hub;
use crate::http::{ApiError, Json, Named};
use crate::oauth::{Admin, hash};
use crate::sequencer::now;
use crate::store::command::MintToken;
use crate::store::{Command, Operator, Service};

/// Seconds that an enrolment token lives unless asked otherwise.
const USUAL_TTL: u64 = 3600;
/// Seconds that an enrolment token may live.
const LONGEST_TTL: u64 = 30 * 86_400;
/// Seconds that an operator's token may live, if it expires at all.
const LONGEST_OPERATOR: u64 = 365 * 86_400;

/// `POST /v1/device-tokens`: a one-time enrolment token.
///
/// # Errors
/// [`ApiError`].
pub async fn device_token(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<DeviceTokenRequest>,
) -> Result<(StatusCode, Json<DeviceTokenResponse>), ApiError> {
    let ttl = ask.ttl_s.unwrap_or(USUAL_TTL);
    if ttl == 0 || ttl > LONGEST_TTL {
        return Err(ApiError::invalid("ttl_s is between 1 and 2,592,000"));
    }
    let secret = random()?;
    let expires = now().plus_ms(ttl * 1000);
    let read = |view: &dyn crate::store::View| Ok((view.approvers()?, view.orders_per_hour()?));
    let (set, limit) = hub.views.read(read).await?;
    let keys = set.approvers.iter().map(|one| one.kid.clone()).collect();
    let approvers = set.needed.map(|needed| Approvers { keys, needed });
    let token = EnrolToken {
        v: VERSION,
        hub: hub.url.clone(),
        issuer: hub.issuer.clone(),
        secret: secret.clone(),
        thumbprints: vec![hub.keys.now().kid().clone()],
        approvers: approvers.clone(),
        orders_per_hour: Some(limit.unwrap_or(hub.limits.orders_per_hour)),
        group: ask.group.clone(),
        tenant: ask.tenant.clone(),
        name: ask.name.as_ref().map(ToString::to_string),
        expires,
    };
    let mint = MintToken {
        actor: admin.actor,
        secret: hash(&secret),
        name: ask.name,
        group: ask.group,
        tenant: ask.tenant,
        approvers,
        expires,
    };
    hub.sequencer.submit(Command::MintToken(mint)).await?.reply?;
    let minted = DeviceTokenResponse { v: VERSION, token: token.encode(), expires };
    Ok((StatusCode::CREATED, Json(minted)))
}

/// `POST /v1/admin-tokens`: a token for another operator.
///
/// # Errors
/// [`ApiError`].
pub async fn admin_token(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<AdminTokenRequest>,
) -> Result<(StatusCode, Json<AdminTokenResponse>), ApiError> {
    let name = named("name", ask.name)?;
    if ask.roles.is_empty() {
        return Err(ApiError::invalid("roles names one role at least"));
    }
    if ask.ttl_s.is_some_and(|ttl| ttl == 0 || ttl > LONGEST_OPERATOR) {
        return Err(ApiError::invalid("ttl_s is between 1 and 31,536,000"));
    }
    let mut roles = ask.roles;
    roles.sort_unstable();
    roles.dedup();
    let token = random()?;
    let expires = ask.ttl_s.map(|ttl| now().plus_ms(ttl.saturating_mul(1000)));
    let operator = Operator { token: hash(&token), name, roles, expires };
    let command = Command::AddOperator { actor: admin.actor, operator };
    hub.sequencer.submit(command).await?.reply?;
    Ok((StatusCode::CREATED, Json(AdminTokenResponse { v: VERSION, token })))
}

/// `DELETE /v1/admin-tokens/{name}`: every token of an operator ends.
///
/// # Errors
/// [`ApiError`]; 409 for the last administrator whose token does not expire.
pub async fn remove_operator(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(name): Named<String>,
) -> Result<StatusCode, ApiError> {
    let name = named("name", name).map_err(|error| ApiError::not_found(error.message()))?;
    let command = Command::RemoveOperator { actor: admin.actor, name };
    hub.sequencer.submit(command).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/operator`: who is asking, and what they may do.
pub async fn operator(admin: Admin) -> Json<OperatorInfo> {
    Json(OperatorInfo { v: VERSION, name: admin.name, roles: admin.roles, expires: admin.expires })
}

/// `POST /v1/services`: credentials for a relying service.
///
/// # Errors
/// [`ApiError`].
pub async fn service(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<ServiceRequest>,
) -> Result<(StatusCode, Json<ServiceResponse>), ApiError> {
    let client_id = exeunt_ssf::new_id(now()).map_err(|_| ApiError::internal("no randomness"))?;
    let client_secret = random()?;
    let service = Service {
        client_id: client_id.clone(),
        name: named("name", ask.name)?,
        aud: named("aud", ask.aud)?,
        secret: hash(&client_secret),
        scopes: crate::ssf::scopes(ask.scopes)?,
    };
    let command = Command::AddService { actor: admin.actor, service };
    hub.sequencer.submit(command).await?.reply?;
    let minted = ServiceResponse { v: VERSION, client_id, client_secret };
    Ok((StatusCode::CREATED, Json(minted)))
}

/// `GET /v1/devices`: every enrolled device.
///
/// # Errors
/// [`ApiError`].
pub async fn devices(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
) -> Result<Json<DeviceList>, ApiError> {
    let mut devices = hub.views.read(|view| view.devices()).await?;
    for device in &mut devices {
        device.last_seen = hub.shared.mail.last_seen(&device.id);
    }
    Ok(Json(DeviceList { v: VERSION, devices }))
}

/// `DELETE /v1/devices/{device}`: its enrolment ends at once. A later one is a new epoch.
///
/// # Errors
/// [`ApiError`].
pub async fn remove_device(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(device): Named<DeviceId>,
) -> Result<StatusCode, ApiError> {
    let command = Command::RemoveDevice { actor: admin.actor, device };
    hub.sequencer.submit(command).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

fn random() -> Result<String, ApiError> {
    exeunt_ssf::random_token().map_err(|_| ApiError::internal("no randomness"))
}

pub(crate) fn named(what: &str, text: String) -> Result<String, ApiError> {
    let text = text.trim().to_owned();
    if text.is_empty() || text.chars().count() > 256 || text.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "{what} has 1 to 256 characters, and no control characters"
        )));
    }
    Ok(text)
}
