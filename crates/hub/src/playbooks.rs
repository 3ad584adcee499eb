//! The doors of playbooks, of what is to be seen to afterwards, and of holds.
//!
//! It refuses a sign-out of its own: a playbook goes by the same command as every other.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::playbook::{
    FollowupList, HoldList, HoldRequest, PLAYBOOKS, Playbook, PlaybookInfo, PlaybookList,
    PlaybookRequest, TickRequest,
};
use exeunt_api::{Role, SignOutResponse, VERSION};
use exeunt_domain::{Tier, Timestamp};
use serde::Deserialize;

use crate::Hub;
use crate::http::{ApiError, Json, Named, Query};
use crate::oauth::Admin;
use crate::registry::subject;
use crate::revoke::{cannot, fresh_txn, signed_out};
use crate::sequencer::now;
use crate::store::Command;
use crate::store::command::{PlaceHold, ReleaseHold, SignOut, Tick};
use crate::subjects::{reasoned, worded};

/// How far an operator's clock may run ahead, in milliseconds.
const AHEAD_MS: u64 = 60_000;

/// `GET /v1/playbooks`: each, described.
pub async fn list(_admin: Admin) -> Json<PlaybookList> {
    Json(PlaybookList { v: VERSION, playbooks: PLAYBOOKS.iter().map(PlaybookInfo::from).collect() })
}

/// `POST /v1/playbooks/{playbook}`: the sign-out of a subject everywhere, and what belongs to it.
///
/// # Errors
/// [`ApiError`]; 403 for a hold by whoever may only sign out.
pub async fn run(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(name): Named<String>,
    Json(ask): Json<PlaybookRequest>,
) -> Result<Json<SignOutResponse>, ApiError> {
    let playbook = Playbook::named(&name).map_err(|no| ApiError::not_found(no.to_string()))?;
    let may = |role: &Role| matches!(role, Role::Responder | Role::Administrator);
    if playbook.hold && !admin.roles.iter().any(may) {
        let say = "this puts the subject on hold, and needs one of the roles responder, \
            administrator";
        return Err(ApiError::forbidden(say));
    }
    if ask.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.chars().count() > 256) {
        return Err(ApiError::invalid("the idempotency key has 1 to 256 characters"));
    }
    let reason = ask.reason.map(worded).transpose()?;
    let command = SignOut {
        actor: admin.actor,
        txn: fresh_txn()?,
        subject: subject(&ask.subject)?,
        tier: Tier::SignOut,
        reason: Some(reason.unwrap_or_else(|| playbook.when.to_owned())),
        only: None,
        idempotency_key: ask.idempotency_key,
        digest: ask.digest,
        cannot: cannot(&hub, Tier::SignOut),
        playbook: Some(playbook),
        at_device: None,
        limit: hub.limits.devices,
        good_for_ms: hub.order_good_for_ms(),
    };
    if ask.preview {
        let shown = hub.views.read(move |view| view.preview(&command)).await?;
        return Ok(Json(shown?.into()));
    }
    signed_out(&hub, Command::SignOut(command)).await
}

/// Which follow-ups.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    subject: Option<String>,
    #[serde(default)]
    all: bool,
}

/// `GET /v1/followups?subject=&all=`: what is open, or all of it.
///
/// # Errors
/// [`ApiError`].
pub async fn followups(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Query(ask): Query<Which>,
) -> Result<Json<FollowupList>, ApiError> {
    let of = ask.subject.as_deref().map(subject).transpose()?;
    let followups = hub.views.read(move |view| view.followups(of.as_ref(), ask.all)).await??;
    Ok(Json(FollowupList { v: VERSION, followups }))
}

/// `POST /v1/followups/{id}/tick`: it was seen to.
///
/// # Errors
/// [`ApiError`]; 409 for what was done before the sessions had ended and only counts afterwards.
pub async fn tick(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(id): Named<String>,
    Json(ask): Json<TickRequest>,
) -> Result<StatusCode, ApiError> {
    let id = id.parse().map_err(|_| ApiError::not_found("a follow-up is named by its number"))?;
    let note = ask.note.map(worded).transpose()?;
    let done_at = ask.done_at.map(Timestamp);
    if done_at.is_some_and(|at| at > now().plus_ms(AHEAD_MS)) {
        return Err(ApiError::invalid("done_at lies in the future"));
    }
    let command = Tick { actor: admin.actor, id, note, done_at };
    hub.sequencer.submit(Command::Tick(command)).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/holds`: every hold in force.
///
/// # Errors
/// [`ApiError`].
pub async fn holds(State(hub): State<Arc<Hub>>, _admin: Admin) -> Result<Json<HoldList>, ApiError> {
    let holds = hub.views.read(|view| view.holds()).await?;
    Ok(Json(HoldList { v: VERSION, holds }))
}

/// `POST /v1/holds`: no session of the subject begins from now on.
///
/// # Errors
/// [`ApiError`].
pub async fn hold(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<HoldRequest>,
) -> Result<StatusCode, ApiError> {
    let (subject, reason) = (subject(&ask.subject)?, reasoned(ask.reason)?);
    let command = PlaceHold { actor: admin.actor, subject, reason };
    hub.sequencer.submit(Command::PlaceHold(command)).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/holds/release`: sessions of the subject may begin again.
///
/// # Errors
/// [`ApiError`]; 404 for a subject that is not on hold.
pub async fn release(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<HoldRequest>,
) -> Result<StatusCode, ApiError> {
    let (subject, reason) = (subject(&ask.subject)?, reasoned(ask.reason)?);
    let command = ReleaseHold { actor: admin.actor, subject, reason };
    hub.sequencer.submit(Command::ReleaseHold(command)).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}
