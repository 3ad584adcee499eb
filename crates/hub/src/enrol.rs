//! Enrolment: a device presents its keys under a one-time secret, and gets the hub's in return.
//!
//! It refuses a SET that the presented key did not sign itself: no device enrols another's key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use exeunt_domain::order::{ENROL_EVENT, ENROLLED_EVENT};
use exeunt_domain::{DeviceId, Jti};
use exeunt_ssf::poll::SET_MEDIA_TYPE;
use exeunt_ssf::{EnrolEvent, EnrolledEvent, Expected, Jwks, Set};

use crate::Hub;
use crate::http::{ApiError, Compact, NotAccepted, SetRefused};
use crate::sequencer::now;
use crate::store::command::Enrol;
use crate::store::{Command, Reply};

/// `POST /v1/enroll`: answers the hub's signed word, a compact SET.
///
/// # Errors
/// [`NotAccepted`]: 403 `access_denied` for a used, unknown or expired secret, or a taken name.
pub async fn enrol(
    State(hub): State<Arc<Hub>>,
    Compact(compact): Compact,
) -> Result<Response, NotAccepted> {
    let compact = compact.trim();
    let claims: EnrolEvent = exeunt_ssf::read_unverified(compact)?.event_as(ENROL_EVENT)?;
    let expected = Expected { issuer: None, audience: hub.issuer.clone() };
    let set = exeunt_ssf::verify(compact, &Jwks::of(&claims.device_jwk), &expected)?;
    // Again from the verified SET: the first reading only found the key.
    let claims: EnrolEvent = set.event_as(ENROL_EVENT)?;
    if claims.device_jwk.kid() == claims.agent_jwk.kid() {
        let say = "the device key and the agent key must differ";
        return Err(SetRefused::new("invalid_key", say).into());
    }
    let command = Command::Enrol(Box::new(Enrol {
        secret: crate::oauth::hash(&claims.secret),
        jti: set.jti.clone(),
        name: device_name(&claims.name)?,
        device_key: claims.device_jwk,
        agent_key: claims.agent_jwk,
        mode: claims.mode,
    }));
    match hub.sequencer.submit(command).await?.reply {
        Ok(Reply::Enrolled { device, epoch }) => {
            tracing::info!(%device, epoch, "a device was enrolled");
            answer(&hub, device, epoch)
        }
        Ok(
            Reply::Done
            | Reply::Repeated
            | Reply::Unresolved
            | Reply::Registered(_)
            | Reply::SignedOut(_)
            | Reply::Proposal(_),
        ) => Err(ApiError::internal("an enrolment answered as something else").into()),
        Err(refused) => {
            tracing::warn!(jti = %set.jti, %refused, "an enrolment was refused");
            let denied = SetRefused::new("access_denied", refused.to_string());
            Err(denied.with_status(StatusCode::FORBIDDEN).into())
        }
    }
}

/// A host name as a device id: what is no printable ASCII becomes a hyphen.
fn device_name(name: &str) -> Result<DeviceId, SetRefused> {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' };
    let name: String = name.trim().chars().take(64).map(kept).collect();
    DeviceId::parse(name)
        .map_err(|error| SetRefused::new("invalid_request", format!("the name: {error}")))
}

fn answer(hub: &Hub, device: DeviceId, epoch: u64) -> Result<Response, NotAccepted> {
    let now = now();
    let jti = exeunt_ssf::new_id(now).map_err(|_| ApiError::internal("no randomness"))?;
    let jti = Jti::parse(jti).map_err(|_| ApiError::internal("a fresh id is no id"))?;
    let about = serde_json::json!({ "format": "opaque", "id": device });
    let key = hub.keys.now();
    let event = EnrolledEvent {
        device: device.clone(),
        epoch,
        hub_jwks: Jwks::of(key.jwk()),
        hub_time: now,
        orders_per_hour: hub.limits.orders_per_hour,
    };
    let set = Set::new(&hub.issuer, device.as_str(), jti, now, ENROLLED_EVENT, &event)?;
    let compact = key.sign(&set.about(about))?;
    Ok(([(CONTENT_TYPE, SET_MEDIA_TYPE)], compact).into_response())
}
