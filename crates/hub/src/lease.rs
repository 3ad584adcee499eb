//! Leases: a device's right to go on without contact is renewed by the answer to a nonce of its warden.
//!
//! It refuses to renew without naming the last SET that was addressed to the device: a warden that
//! lacks it knows that somebody withholds it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use exeunt_domain::Jti;
use exeunt_domain::order::{LEASE_ASKED_EVENT, LEASE_EVENT};
use exeunt_ssf::poll::SET_MEDIA_TYPE;
use exeunt_ssf::{LeaseAsked, LeaseEvent, Set};

use crate::Hub;
use crate::http::{ApiError, Compact, NotAccepted, SetRefused};
use crate::oauth::Agent;
use crate::sequencer::now;
use crate::store::Command;
use crate::store::command::Standing;

/// `POST /v1/device/lease`: answers the hub's signed renewal, a compact SET. What the warden says that
/// it holds itself to is kept when it is news.
///
/// # Errors
/// [`NotAccepted`]: 400 when the request is not the device's own, or of an enrolment that is over.
pub async fn renew(
    State(hub): State<Arc<Hub>>,
    agent: Agent,
    Compact(compact): Compact,
) -> Result<Response, NotAccepted> {
    let set = crate::receiver::verified(&hub, &agent, &compact)?;
    let asked: LeaseAsked = set.event_as(LEASE_ASKED_EVENT)?;
    if asked.epoch != agent.epoch {
        return Err(SetRefused::new("access_denied", "this enrolment is over").into());
    }
    if asked.nonce.is_empty() || asked.nonce.len() > 256 {
        return Err(SetRefused::new("invalid_request", "a nonce has 1 to 256 bytes").into());
    }
    let known = hub.shared.device(&agent.device).and_then(|device| device.in_force);
    if known.as_deref() != Some(&asked.in_force) {
        let (device, epoch) = (agent.device.clone(), agent.epoch);
        let stands = Standing { device, epoch, in_force: asked.in_force };
        hub.sequencer.submit(Command::Stands(stands)).await?.reply?;
    }
    let device = agent.device.clone();
    let last_order =
        hub.views.read(move |view| view.last_order(&device)).await.map_err(ApiError::from)?;
    let now = now();
    let jti = exeunt_ssf::new_id(now).map_err(|_| ApiError::internal("no randomness"))?;
    let jti = Jti::parse(jti).map_err(|_| ApiError::internal("a fresh id is no id"))?;
    let event = LeaseEvent {
        device: agent.device.clone(),
        epoch: agent.epoch,
        nonce: asked.nonce,
        last_order,
        hub_time: now,
    };
    let about = serde_json::json!({ "format": "opaque", "id": agent.device });
    let set = Set::new(&hub.issuer, agent.device.as_str(), jti, now, LEASE_EVENT, &event)?;
    let compact = hub.keys.now().sign(&set.about(about))?;
    Ok(([(CONTENT_TYPE, SET_MEDIA_TYPE)], compact).into_response())
}
