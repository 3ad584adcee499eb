//! The session registry's doors: services register and end, devices and operators look.
//!
//! It refuses a service any audience but its own: the audience comes from its token, never from
//! its words.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::{HubSession, SessionList, VERSION};
use exeunt_check::wire::{SeenRequest, SessionRequest, SessionResponse};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionId, Subject, Timestamp};
use serde::Deserialize;

use crate::http::{ApiError, Json, Named, Query};
use crate::oauth::{Admin, Agent, Client};
use crate::sequencer::now;
use crate::store::command::Register;
use crate::store::{Command, Reply};
use crate::{Hub, subjects};

/// Anything earlier is a time in seconds: 100,000,000,000 ms is March 1973.
const EARLIEST: Timestamp = Timestamp(100_000_000_000);
/// How far a service's clock may run ahead, in milliseconds.
const AHEAD_MS: u64 = 60_000;
/// Most sessions that are told at a time to be in use.
const MOST_SEEN: usize = 1000;
/// Longest text for people, in characters.
const LONGEST: usize = 256;

/// `POST /v1/sessions`: a relying service has begun a session.
///
/// # Errors
/// [`ApiError`]; 403 `stale_auth` when the person authenticated before the subject was signed out.
pub async fn register(
    State(hub): State<Arc<Hub>>,
    client: Client,
    Json(ask): Json<SessionRequest>,
) -> Result<(StatusCode, Json<SessionResponse>), ApiError> {
    if ask.auth_time < EARLIEST {
        return Err(ApiError::invalid("auth_time is in milliseconds since 1970"));
    }
    if ask.auth_time > now().plus_ms(AHEAD_MS) {
        return Err(ApiError::invalid("auth_time lies in the future"));
    }
    if ask.expires.is_some_and(|at| at <= now()) {
        return Err(ApiError::invalid("expires has passed; it is in milliseconds since 1970"));
    }
    let device = ask.device.map(|text| shown("device", text)).transpose()?;
    let label = ask.label.map(|text| shown("label", text)).transpose()?;
    let place = ask.place.map(|text| shown("place", text)).transpose()?;
    let label = label.unwrap_or_else(|| match &device {
        Some(device) => format!("{} on {device}", client.name),
        None => client.name.clone(),
    });
    let subject = checked(ask.subject)?;
    let aliases = match &ask.id_token {
        Some(token) => subjects::names_in(&hub, token, &subject, ask.auth_time).await?,
        None => Vec::new(),
    };
    let command = Command::Register(Register {
        actor: client.actor(),
        session: SessionHash::of(&client.aud, &ask.session_id),
        aud: client.aud,
        subject,
        aliases,
        expires: ask.expires,
        kind: ask.kind,
        auth_time: ask.auth_time,
        device,
        label,
        place: place.unwrap_or(client.name),
        idp_sid: ask.idp_sid.map(|text| shown("idp_sid", text)).transpose()?,
    });
    match hub.sequencer.submit(command).await?.reply? {
        Reply::Registered(seq) => {
            Ok((StatusCode::CREATED, Json(SessionResponse { v: VERSION, seq })))
        }
        Reply::Done
        | Reply::Repeated
        | Reply::Unresolved
        | Reply::SignedOut(_)
        | Reply::Proposal(_)
        | Reply::Enrolled { .. } => {
            Err(ApiError::internal("a registration answered as something else"))
        }
    }
}

/// `DELETE /v1/sessions/{id}`: a relying service has ended one of its own.
///
/// # Errors
/// [`ApiError`].
pub async fn end(
    State(hub): State<Arc<Hub>>,
    client: Client,
    Named(session): Named<SessionId>,
) -> Result<StatusCode, ApiError> {
    let session = SessionHash::of(&client.aud, &session);
    let command = Command::End { actor: client.actor(), session };
    hub.sequencer.submit(command).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/seen`: sessions of a relying service were in use lately. What is not its own,
/// or over, is passed over.
///
/// # Errors
/// [`ApiError`].
pub async fn seen(
    State(hub): State<Arc<Hub>>,
    client: Client,
    Json(ask): Json<SeenRequest>,
) -> Result<StatusCode, ApiError> {
    if ask.session_ids.len() > MOST_SEEN {
        return Err(ApiError::invalid("at most 1,000 sessions at a time"));
    }
    let sessions = ask.session_ids.iter().map(|id| SessionHash::of(&client.aud, id)).collect();
    hub.sequencer.submit(Command::Seen { aud: client.aud, sessions }).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose sessions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfSubject {
    subject: String,
}

impl OfSubject {
    /// As people type it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.subject
    }
}

/// `GET /v1/sessions?subject=`: what the registry knows of a subject, for an operator.
///
/// # Errors
/// [`ApiError`].
pub async fn list(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Query(ask): Query<OfSubject>,
) -> Result<Json<SessionList>, ApiError> {
    let subject = subject(&ask.subject)?;
    let sessions = hub.views.read(move |view| view.sessions(&subject)).await??;
    Ok(Json(SessionList { v: VERSION, sessions }))
}

/// `GET /v1/device/sessions?subject=`: live sessions of a subject who is signed in at the asking
/// device.
///
/// # Errors
/// [`ApiError`]; 403 when the subject has no live session there.
pub async fn device_sessions(
    State(hub): State<Arc<Hub>>,
    agent: Agent,
    Query(ask): Query<OfSubject>,
) -> Result<Json<Vec<HubSession>>, ApiError> {
    let subject = subject(&ask.subject)?;
    let device = agent.device;
    let found = hub.views.read(move |view| view.sessions_for(&device, &subject)).await?;
    found.map(Json).ok_or_else(|| ApiError::forbidden("the subject is not signed in there"))
}

/// A subject as people type it.
///
/// # Errors
/// [`ApiError`] 400.
pub fn subject(text: &str) -> Result<Subject, ApiError> {
    Subject::parse(text).map_err(|error| ApiError::invalid(error.to_string()))
}

/// A subject as a message carries it, held to what the registry is keyed by.
fn checked(given: Subject) -> Result<Subject, ApiError> {
    let read = subject(&given.key())?;
    // Two formats that share a key would share a watermark.
    if read.key() == given.key() { Ok(read) } else { Err(ApiError::invalid("the subject")) }
}

fn shown(what: &str, text: String) -> Result<String, ApiError> {
    if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        let say = format!("{what} is over {LONGEST} characters or holds control characters");
        return Err(ApiError::invalid(say));
    }
    Ok(text)
}
