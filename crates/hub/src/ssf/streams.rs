//! A receiver's hold on its stream (SSF 1.0 §8.1): configuration, status, subjects, verification.
//!
//! It refuses to tell another party's stream from one that does not exist.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use exeunt_api::path;
use exeunt_ssf::discovery::{POLL, PUSH};
use exeunt_ssf::stream::{Delivery, SUPPORTED, Status, Wishes, overreach};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Hub;
use crate::http::{ApiError, Json, Query, StandardJson};
use crate::oauth::{Client, Manages, Reads};
use crate::sequencer::now;
use crate::store::Command;
use crate::store::stream::{Stream, StreamCommand};

/// Which stream a request is about.
#[derive(Debug, Default, Deserialize)]
pub struct Which {
    stream_id: Option<String>,
}

impl Which {
    fn named(self) -> Result<String, ApiError> {
        self.stream_id.ok_or_else(|| ApiError::invalid("stream_id is missing"))
    }
}

/// The caller's stream of that name.
///
/// # Errors
/// [`ApiError`] 404 also for a stream of someone else.
pub async fn own(hub: &Hub, client: &Client, name: &str) -> Result<Stream, ApiError> {
    let id = client.id.clone();
    let mine = hub.views.read(move |view| view.streams(Some(&id))).await?;
    let found = mine.into_iter().find(|stream| stream.id == name);
    found.ok_or_else(|| ApiError::not_found("no such stream"))
}

/// `GET /ssf/streams`: one, or all of the caller's.
///
/// # Errors
/// [`ApiError`].
pub async fn read(
    State(hub): State<Arc<Hub>>,
    Reads(client): Reads,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    if let Some(name) = which.stream_id {
        return Ok(Json(shown(&hub, &own(&hub, &client, &name).await?)));
    }
    let mine = hub.views.read(move |view| view.streams(Some(&client.id))).await?;
    Ok(Json(mine.iter().map(|stream| shown(&hub, stream)).collect()))
}

/// `POST /ssf/streams`.
///
/// # Errors
/// [`ApiError`].
pub async fn create(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    StandardJson(body): StandardJson<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let id = exeunt_ssf::new_id(now()).map_err(|_| ApiError::internal("no randomness"))?;
    let wishes = wishes(&hub, &body, &json!({}), &id).await?;
    super::signer(&hub).await?;
    let stream = Stream {
        id,
        client: client.id.clone(),
        aud: client.aud.clone(),
        wishes,
        status: Status::Enabled,
        reason: None,
    };
    let answer = shown(&hub, &stream);
    submit(&hub, StreamCommand::Create { actor: client.actor(), stream }).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `PATCH /ssf/streams`: what is not named stays.
///
/// # Errors
/// [`ApiError`].
pub async fn update(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    StandardJson(body): StandardJson<Value>,
) -> Result<Json<Value>, ApiError> {
    configure(&hub, &client, &body, true).await
}

/// `PUT /ssf/streams`: what is not named goes.
///
/// # Errors
/// [`ApiError`].
pub async fn replace(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    StandardJson(body): StandardJson<Value>,
) -> Result<Json<Value>, ApiError> {
    configure(&hub, &client, &body, false).await
}

async fn configure(
    hub: &Hub,
    client: &Client,
    body: &Value,
    keep: bool,
) -> Result<Json<Value>, ApiError> {
    let name = body.get("stream_id").and_then(Value::as_str);
    let name = name.ok_or_else(|| ApiError::invalid("stream_id is missing"))?;
    let mut stream = own(hub, client, name).await?;
    let asked = wishes(hub, body, &shown(hub, &stream), name).await?;
    stream.wishes = if keep { stream.wishes.patched(asked) } else { asked };
    submit(
        hub,
        StreamCommand::Configure {
            actor: client.actor(),
            stream: stream.id.clone(),
            wishes: stream.wishes.clone(),
        },
    )
    .await?;
    Ok(Json(shown(hub, &stream)))
}

/// `DELETE /ssf/streams?stream_id=`.
///
/// # Errors
/// [`ApiError`].
pub async fn delete(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    Query(which): Query<Which>,
) -> Result<StatusCode, ApiError> {
    let stream = own(&hub, &client, &which.named()?).await?.id;
    submit(&hub, StreamCommand::Delete { actor: client.actor(), stream }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A stream's status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusBody {
    stream_id: String,
    status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `GET /ssf/status?stream_id=`.
///
/// # Errors
/// [`ApiError`].
pub async fn status(
    State(hub): State<Arc<Hub>>,
    Reads(client): Reads,
    Query(which): Query<Which>,
) -> Result<Json<StatusBody>, ApiError> {
    let Stream { id, status, reason, .. } = own(&hub, &client, &which.named()?).await?;
    Ok(Json(StatusBody { stream_id: id, status, reason }))
}

/// `POST /ssf/status`.
///
/// # Errors
/// [`ApiError`].
pub async fn set_status(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    StandardJson(body): StandardJson<StatusBody>,
) -> Result<Json<StatusBody>, ApiError> {
    let stream = own(&hub, &client, &body.stream_id).await?.id;
    let reason = body.reason.clone();
    bounded("reason", reason.as_deref())?;
    let (actor, status) = (client.actor(), body.status);
    submit(&hub, StreamCommand::SetStatus { actor, stream, status, reason }).await?;
    Ok(Json(body))
}

/// A subject to take in or out.
#[derive(Debug, Deserialize)]
pub struct SubjectBody {
    stream_id: String,
    subject: Value,
}

/// `POST /ssf/subjects/add`.
///
/// # Errors
/// [`ApiError`].
pub async fn add_subject(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    StandardJson(body): StandardJson<SubjectBody>,
) -> Result<StatusCode, ApiError> {
    include(&hub, &client, body, true).await?;
    Ok(StatusCode::OK)
}

/// `POST /ssf/subjects/remove`.
///
/// # Errors
/// [`ApiError`].
pub async fn remove_subject(
    State(hub): State<Arc<Hub>>,
    Manages(client): Manages,
    StandardJson(body): StandardJson<SubjectBody>,
) -> Result<StatusCode, ApiError> {
    include(&hub, &client, body, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn include(
    hub: &Hub,
    client: &Client,
    body: SubjectBody,
    included: bool,
) -> Result<(), ApiError> {
    let stream = own(hub, client, &body.stream_id).await?.id;
    let subject = exeunt_ssf::normalise::subject(&body.subject);
    let subject = subject.map_err(|error| ApiError::invalid(error.to_string()))?;
    let actor = client.actor();
    submit(hub, StreamCommand::Subject { actor, stream, subject, included }).await
}

/// A wish for a verification event.
#[derive(Debug, Deserialize)]
pub struct VerifyBody {
    stream_id: String,
    state: Option<String>,
}

/// `POST /ssf/verify`: the event follows by itself.
///
/// # Errors
/// [`ApiError`]; 429 within the least interval.
pub async fn verify(
    State(hub): State<Arc<Hub>>,
    Reads(client): Reads,
    StandardJson(body): StandardJson<VerifyBody>,
) -> Result<StatusCode, ApiError> {
    let stream = own(&hub, &client, &body.stream_id).await?.id;
    bounded("state", body.state.as_deref())?;
    let every = hub.limits.verification_every;
    let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    let (actor, state) = (client.actor(), body.state);
    submit(&hub, StreamCommand::Verify { actor, stream, state, every_ms }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn submit(hub: &Hub, command: StreamCommand) -> Result<(), ApiError> {
    hub.sequencer.submit(Command::Stream(command)).await?.reply?;
    Ok(())
}

fn bounded(what: &str, text: Option<&str>) -> Result<(), ApiError> {
    match text {
        Some(text) if text.len() > 1024 => {
            Err(ApiError::invalid(format!("{what} is over 1,024 bytes")))
        }
        Some(_) | None => Ok(()),
    }
}

fn poll_url(hub: &Hub, stream: &str) -> String {
    format!("{}{}/{stream}", hub.url, path::POLL)
}

/// A stream as its receiver sees it.
fn shown(hub: &Hub, stream: &Stream) -> Value {
    let mut delivery = stream.wishes.delivery.clone().unwrap_or_default();
    if delivery.method == POLL {
        delivery.endpoint_url = Some(poll_url(hub, &stream.id));
    }
    let mut shown = json!({
        "stream_id": stream.id,
        "iss": hub.issuer,
        "aud": stream.aud,
        "events_supported": SUPPORTED,
        "events_delivered": stream.wishes.delivered(),
        "delivery": delivery,
        "min_verification_interval": hub.limits.verification_every.as_secs(),
    });
    if let Some(events) = &stream.wishes.events_requested {
        shown["events_requested"] = json!(events);
    }
    if let Some(description) = &stream.wishes.description {
        shown["description"] = json!(description);
    }
    if let Some(within) = stream.wishes.exeunt_subject_in_event {
        shown["exeunt_subject_in_event"] = json!(within);
    }
    shown
}

/// What a receiver asks for, checked.
async fn wishes(
    hub: &Hub,
    body: &Value,
    current: &Value,
    stream: &str,
) -> Result<Wishes, ApiError> {
    if !body.is_object() {
        return Err(ApiError::invalid("a stream's configuration is an object"));
    }
    if let Some(name) = overreach(body, current) {
        return Err(ApiError::invalid(format!("{name} is the transmitter's to set")));
    }
    let mut wishes = Wishes::deserialize(body).map_err(|e| ApiError::invalid(e.to_string()))?;
    bounded("description", wishes.description.as_deref())?;
    let events = wishes.events_requested.as_ref();
    if events.is_some_and(|events| events.len() > 64 || events.iter().any(|e| e.len() > 1024)) {
        return Err(ApiError::invalid("events_requested is too long"));
    }
    if let Some(delivery) = &mut wishes.delivery {
        deliverable(hub, delivery, stream).await?;
    }
    Ok(wishes)
}

async fn deliverable(hub: &Hub, delivery: &mut Delivery, stream: &str) -> Result<(), ApiError> {
    match delivery.method.as_str() {
        POLL => {
            let ours = poll_url(hub, stream);
            if delivery.endpoint_url.as_ref().is_some_and(|given| *given != ours) {
                return Err(ApiError::invalid("with poll, endpoint_url is the transmitter's"));
            }
            if delivery.authorization_header.is_some() {
                return Err(ApiError::invalid("with poll, there is no authorization_header"));
            }
            delivery.endpoint_url = None;
            Ok(())
        }
        PUSH => {
            let url = delivery.endpoint_url.as_deref();
            let url = url.ok_or_else(|| ApiError::invalid("with push, endpoint_url is needed"))?;
            let admitted = hub.ssf.reach.admit(url).await;
            admitted.map_err(|error| ApiError::invalid(format!("endpoint_url: {error}")))?;
            match &delivery.authorization_header {
                Some(header) if header.len() > 4096 || HeaderValue::from_str(header).is_err() => {
                    Err(ApiError::invalid("authorization_header is no header value"))
                }
                Some(_) | None => Ok(()),
            }
        }
        _ => Err(ApiError::invalid(format!("the delivery methods are {PUSH} and {POLL}"))),
    }
}
