//! How requests are read and answered: bodies with a limit, errors in the shape of their RFC, and
//! the accept loop.
//!
//! It refuses oversized bodies, slow heads, unknown fields and wrong content types.

mod front;
mod head;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use exeunt_api::{ErrorBody, SetErrorBody, path};
use exeunt_check::wire;
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::Doors;
use crate::sequencer::Unavailable;
use crate::store::{Refused, StoreError};
use crate::{
    Hub, admin, approvals, audit_api, back_channel_logout, check_api, enrol, global_revocation,
    oauth, receipts, receiver, registry,
};
use crate::{
    connectors, forward_auth, introspect, lease, openapi, playbooks, provider_commands, revoke,
    sign_in, ssf, subjects, transmitter,
};

pub use serve::{Shown, serve};

/// Most that is read, and dropped, of a body that is too large.
const MOST_DROPPED: usize = 16 << 20;
/// How long that goes on.
const LINGER: std::time::Duration = std::time::Duration::from_millis(250);

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Every route of the hub.
pub fn router(hub: Arc<Hub>) -> Router {
    let (router, _) = doors(&hub).done();
    router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(hub.limits.body_bytes))
        .with_state(hub)
}

/// Every door of the hub, each under its rule.
#[must_use]
pub fn doors(hub: &Arc<Hub>) -> Doors {
    let txn = |base: &str, rest: &str| format!("{base}/{{txn}}{rest}");
    let doors = Doors::new(hub)
        .open(GET, path::HEALTH, health)
        .open(GET, path::JWKS, jwks)
        .open(POST, path::TOKEN, oauth::token)
        .open(POST, path::ENROL, enrol::enrol)
        .open(POST, path::LEASE, lease::renew)
        .open(POST, path::POLL, transmitter::poll)
        .open(POST, path::EVENTS, receiver::push)
        .open(GET, path::DEVICE_SESSIONS, registry::device_sessions)
        .open(GET, &txn(path::DEVICE_TXN, ""), revoke::device_txn)
        .open(POST, wire::SESSIONS, registry::register)
        .open(GET, wire::SESSIONS, registry::list)
        .open(POST, wire::SEEN, registry::seen)
        .open(DELETE, &format!("{}/{{session}}", wire::SESSIONS), registry::end)
        .open(GET, wire::CHECK, check_api::check)
        .open_to_any(forward_auth::PATH, forward_auth::forward_auth)
        .open_to_any(&format!("{}/", forward_auth::PATH), forward_auth::forward_auth)
        .open_to_any(&format!("{}/{{*asked}}", forward_auth::PATH), forward_auth::forward_auth)
        .open(POST, connectors::PATH, connectors::register)
        .open(GET, connectors::PATH, connectors::list)
        .open(DELETE, &format!("{}/{{name}}", connectors::PATH), connectors::remove)
        .open(POST, connectors::TEST, connectors::test)
        .open(POST, connectors::GRANTS, connectors::grant)
        .open(POST, introspect::PATH, introspect::introspect)
        .open(GET, wire::SNAPSHOT, check_api::snapshot)
        .open(GET, wire::DELTAS, check_api::deltas);
    let doors = global_revocation::doors(operators(doors), &hub.issuer);
    let doors = provider_commands::doors(back_channel_logout::doors(doors));
    ssf::doors(doors, &hub.issuer)
}

/// The doors of operators.
fn operators(doors: Doors) -> Doors {
    let txn = |base: &str, rest: &str| format!("{base}/{{txn}}{rest}");
    doors
        .open(GET, openapi::PATH, openapi::openapi)
        .open(POST, path::SIGN_IN, sign_in::begin)
        .open(POST, path::SIGN_IN_FINISH, sign_in::finish)
        .open(GET, path::OPERATOR, admin::operator)
        .open(POST, path::DEVICE_TOKENS, admin::device_token)
        .open(POST, path::ADMIN_TOKENS, admin::admin_token)
        .open(DELETE, &format!("{}/{{name}}", path::ADMIN_TOKENS), admin::remove_operator)
        .open(GET, path::DEVICES, admin::devices)
        .open(DELETE, &format!("{}/{{device}}", path::DEVICES), admin::remove_device)
        .open(GET, path::APPROVERS, approvals::approvers)
        .open(POST, path::APPROVERS, approvals::set)
        .open(GET, path::PROPOSALS, approvals::list)
        .open(POST, path::PROPOSALS, approvals::propose)
        .open(GET, &txn(path::PROPOSALS, ""), approvals::show)
        .open(POST, &txn(path::PROPOSALS, "/approve"), approvals::approve)
        .open(POST, &txn(path::PROPOSALS, "/withdraw"), approvals::withdraw)
        .open(POST, path::CHANGES, approvals::change)
        .open(POST, path::SERVICES, admin::service)
        .open(POST, path::SIGN_OUT, revoke::sign_out)
        .open(GET, path::PLAYBOOKS, playbooks::list)
        .open(POST, &format!("{}/{{playbook}}", path::PLAYBOOKS), playbooks::run)
        .open(GET, path::FOLLOWUPS, playbooks::followups)
        .open(POST, &format!("{}/{{id}}/tick", path::FOLLOWUPS), playbooks::tick)
        .open(GET, path::HOLDS, playbooks::holds)
        .open(POST, path::HOLDS, playbooks::hold)
        .open(POST, path::HOLDS_RELEASE, playbooks::release)
        .open(GET, path::SUBJECT, subjects::show)
        .open(POST, path::SUBJECT_JOIN, subjects::join)
        .open(POST, path::SUBJECT_SPLIT, subjects::split)
        .open(GET, &txn(path::TXN, ""), revoke::txn)
        .open(GET, &txn(path::TXN, "/events"), revoke::follow)
        .open(POST, &txn(path::TXN, "/cancel"), revoke::cancel)
        .open(POST, &txn(path::TXN, "/retry"), revoke::retry)
        .open(GET, &txn(path::RECEIPTS, ""), receipts::list)
        .open(GET, path::ALARMS, audit_api::alarms)
        .open(GET, path::AUDIT, audit_api::export)
        .open(GET, path::AUDIT_VERIFY, audit_api::verify)
}

async fn health() -> &'static str {
    "ok\n"
}

async fn jwks(State(hub): State<Arc<Hub>>) -> Json<serde_json::Value> {
    Json(ssf::jwks(&hub))
}

async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

async fn wrong_method() -> ApiError {
    let code = StatusCode::METHOD_NOT_ALLOWED;
    ApiError::new(code, "method_not_allowed", "this endpoint has no such method")
}

/// A refusal of the JSON interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
}

impl ApiError {
    /// A refusal with the given status and code.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None }
    }

    /// The same refusal with a next step.
    #[must_use]
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// 400 `invalid_request`.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 401 `unauthorized`.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 403 `forbidden`.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404 `not_found`.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 500 `internal`. The log says more.
    #[must_use]
    pub fn internal(what: &str) -> Self {
        tracing::error!(what, "an internal contradiction");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the hub contradicts itself")
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody::new(self.code, self.message, self.hint);
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let status = match refused.code() {
            "invalid_request" => StatusCode::BAD_REQUEST,
            "not_found" | "unknown_subject" => StatusCode::NOT_FOUND,
            "conflict" | "preview_changed" => StatusCode::CONFLICT,
            "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::FORBIDDEN,
        };
        let error = Self::new(status, refused.code(), refused.to_string());
        match refused.code() {
            "unknown_subject" => error.hint("check the spelling; nobody was signed out"),
            "preview_changed" => error.hint("ask for the preview again; nobody was signed out"),
            "forbidden" if refused == Refused::NotYourKey => {
                error.hint("log in as yourself, and approve with your own key")
            }
            "conflict" if refused == Refused::NoApprovers => error
                .hint("name them: `exeunt admin approver add`, then `exeunt admin approver enact`"),
            "stale_auth" => error.hint("send the person through a fresh sign-in"),
            "on_hold" => error.hint("`exeunt admin hold list` says why, `hold release` ends it"),
            _ => error,
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        let (status, code) = match unavailable {
            Unavailable::Full => (StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
            Unavailable::Failed => (StatusCode::SERVICE_UNAVAILABLE, "storage_failed"),
            Unavailable::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, unavailable.to_string()).hint("nothing was done; try again later")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the record cannot be read");
        let code = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(code, "storage_failed", "the hub's record cannot be read")
    }
}

/// A refusal of a SET endpoint (RFC 8935 §2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRefused {
    status: StatusCode,
    err: &'static str,
    description: String,
}

impl SetRefused {
    /// 400 with the given code; 403 for `access_denied` where the endpoint says so itself.
    #[must_use]
    pub fn new(err: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, err, description: description.into() }
    }

    /// The same refusal with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Its code (RFC 8935 §2.4).
    #[must_use]
    pub fn err(&self) -> &'static str {
        self.err
    }

    /// Its sentence.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether the same SET would be refused again later.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST
    }
}

impl From<exeunt_ssf::SetError> for SetRefused {
    fn from(error: exeunt_ssf::SetError) -> Self {
        Self::new(error.err_code(), error.to_string())
    }
}

impl From<Refused> for SetRefused {
    fn from(refused: Refused) -> Self {
        Self::new(refused.err_code(), refused.to_string())
    }
}

impl IntoResponse for SetRefused {
    fn into_response(self) -> Response {
        let body = SetErrorBody { err: self.err.to_owned(), description: self.description };
        (self.status, Json(body)).into_response()
    }
}

/// What a SET endpoint may answer when it does not accept: the RFC's shape for what is wrong with
/// the SET, ours for everything around it.
#[derive(Clone, Debug)]
pub enum NotAccepted {
    /// The SET is refused for good.
    Set(SetRefused),
    /// The request is, or the hub cannot now.
    Request(ApiError),
}

impl<T: Into<SetRefused>> From<T> for NotAccepted {
    fn from(refused: T) -> Self {
        NotAccepted::Set(refused.into())
    }
}

impl From<ApiError> for NotAccepted {
    fn from(error: ApiError) -> Self {
        NotAccepted::Request(error)
    }
}

impl From<Unavailable> for NotAccepted {
    fn from(unavailable: Unavailable) -> Self {
        NotAccepted::Request(unavailable.into())
    }
}

impl IntoResponse for NotAccepted {
    fn into_response(self) -> Response {
        match self {
            NotAccepted::Set(refused) => refused.into_response(),
            NotAccepted::Request(error) => error.into_response(),
        }
    }
}

/// A JSON body of ours: unknown fields are refused by the type itself.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let json = HeaderValue::from_static("application/json");
                ([(CONTENT_TYPE, json)], body).into_response()
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let bytes = body(request, hub, "application/json").await?;
        // An array would fill a type's members in their order, and name none of them.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(ApiError::invalid("the body must be a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Json).map_err(|e| ApiError::invalid(e.to_string()))
    }
}

/// A JSON body of a standard: the same reading, named apart because its types tolerate extensions.
#[derive(Clone, Debug)]
pub struct StandardJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for StandardJson<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        Json::from_request(request, hub).await.map(|Json(value)| Self(value))
    }
}

/// The compact SET of a push (RFC 8935 §2.1).
#[derive(Clone, Debug)]
pub struct Compact(pub String);

impl FromRequest<Arc<Hub>> for Compact {
    type Rejection = NotAccepted;
    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Self, NotAccepted> {
        let bytes = body(request, hub, exeunt_ssf::poll::SET_MEDIA_TYPE).await?;
        match String::from_utf8(bytes) {
            Ok(compact) => Ok(Self(compact)),
            Err(_) => Err(SetRefused::new("invalid_request", "the body is no compact SET").into()),
        }
    }
}

/// Query parameters; unknown ones are refused by the type itself.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|e| ApiError::invalid(e.body_text()))
    }
}

/// One identifier from the path. What can name nothing is not found.
#[derive(Clone, Debug)]
pub struct Named<T>(pub T);

impl<T, S> FromRequestParts<S> for Named<T>
where
    T: TryFrom<String>,
    T::Error: std::fmt::Display,
    S: Send + Sync,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let text = text.map_err(|error| ApiError::not_found(error.body_text()))?.0;
        T::try_from(text).map(Self).map_err(|error| ApiError::not_found(error.to_string()))
    }
}

/// The body of a request, if its type and length are what they should be.
///
/// # Errors
/// [`ApiError`]: 415, 413, 408 or 400.
pub async fn body(request: Request, hub: &Hub, media: &str) -> Result<Vec<u8>, ApiError> {
    if !is_media(request.headers(), media) {
        let say = format!("the body must be {media}");
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", say));
    }
    let limit = hub.limits.body_bytes;
    match tokio::time::timeout(hub.limits.read_timeout, whole(request, limit)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            let say = format!("the body is over {limit} bytes");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", say))
        }
        Ok(Err(_)) => Err(ApiError::invalid("the body was cut short")),
        Err(_) => {
            let code = StatusCode::REQUEST_TIMEOUT;
            Err(ApiError::new(code, "invalid_request", "the body came too slowly"))
        }
    }
}

/// All of a body; None when it is over `limit`. Of one that is, what comes within a moment is read all
/// the same, and dropped: an unread body would reset the connection before the answer is there.
async fn whole(request: Request, limit: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let body = request.into_body();
    let announced = hyper::body::Body::size_hint(&body).lower();
    let mut frames = body.into_data_stream();
    let mut bytes = Vec::new();
    if announced <= limit as u64 {
        loop {
            let Some(frame) = frames.next().await else { return Ok(Some(bytes)) };
            let frame = frame?;
            if bytes.len() + frame.len() > limit {
                break;
            }
            bytes.extend_from_slice(&frame);
        }
    }
    let drop_some = async {
        let mut dropped = 0;
        while let (true, Some(Ok(frame))) = (dropped < MOST_DROPPED, frames.next().await) {
            dropped += frame.len();
        }
    };
    // However far it came.
    let _ended = tokio::time::timeout(LINGER, drop_some).await;
    Ok(None)
}

fn is_media(headers: &HeaderMap, media: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.map(|text| text.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(media))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_operators_name_the_shared_doors_alike() {
        assert_eq!(wire::SESSIONS, path::SESSIONS);
        assert_eq!(wire::TOKEN, path::TOKEN);
    }

    #[test]
    fn reads_a_media_type_whatever_its_case_and_parameters() {
        let is = |text: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            is_media(&headers, "application/json")
        };
        assert!(is("application/json") && is("Application/JSON; charset=utf-8"));
        assert!(!is("application/jsonp") && !is("text/plain") && !is(""));
        assert!(!is_media(&HeaderMap::new(), "application/json"));
    }
}
