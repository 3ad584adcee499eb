//! Token introspection (RFC 7662) of session ids, plain or signed (RFC 9701).
//!
//! It refuses to say anything but `active: false` of another service's sessions.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use exeunt_api::OAuthErrorBody;
use exeunt_domain::SessionId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Hub;
use crate::forward_auth::live;
use crate::http::{ApiError, Json};
use crate::oauth::{Client, basic, client_by_secret, client_by_token};
use crate::sequencer::now;

/// The endpoint.
pub const PATH: &str = "/oauth/introspect";
/// The media type and, without `application/`, the `typ` of a signed answer (RFC 9701 §5).
const SIGNED: &str = "application/token-introspection+jwt";
const SIGNED_TYP: &str = "token-introspection+jwt";

#[derive(Deserialize)]
struct Asked {
    token: String,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// `POST /oauth/introspect`: whether a session id of the calling service is accepted now.
///
/// # Errors
/// [`ApiError`] when the record cannot be read; a malformed or unproved request is answered in the
/// shape of RFC 6749 §5.2.
pub async fn introspect(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let form = Form::<Asked>::from_request(request, &());
    let Ok(Ok(Form(asked))) = tokio::time::timeout(hub.limits.read_timeout, form).await else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "invalid_request", "the form has no token"));
    };
    let Some(client) = caller(&hub, &headers, &asked) else {
        let say = "the client did not prove who it is";
        return Ok(refuse(StatusCode::UNAUTHORIZED, "invalid_client", say));
    };
    let live = match SessionId::parse(asked.token) {
        Ok(id) => live(&hub, &client, &id).await?,
        Err(_) => None,
    };
    let answer = match live {
        Some(info) => json!({
            "active": true,
            "sub": info.subject.key(),
            "sub_id": info.subject,
            "iss": hub.issuer,
            "aud": info.aud,
            "client_id": client.id,
            "token_type": "session",
            "iat": info.since.as_secs(),
            "auth_time": info.auth_time.as_secs(),
        }),
        None => json!({ "active": false }),
    };
    let no_store = [(CACHE_CONTROL, "no-store")];
    if wants_signed(&headers) {
        let compact = sign(&hub, &client, answer)?;
        return Ok((no_store, [(CONTENT_TYPE, SIGNED)], compact).into_response());
    }
    Ok((no_store, Json(answer)).into_response())
}

/// The answer as a JWT (RFC 9701 §5), by the key in the hub's JWKS.
fn sign(hub: &Hub, client: &Client, answer: Value) -> Result<String, ApiError> {
    let claims = json!({
        "iss": hub.issuer, "aud": client.id, "iat": now().as_secs(), "token_introspection": answer,
    });
    let signed = hub.keys.now().sign_jwt(SIGNED_TYP, &claims);
    signed.map_err(|_| ApiError::internal("an introspection answer cannot be signed"))
}

fn wants_signed(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut media = accepted.flat_map(|text| text.split(','));
    media.any(|one| one.split(';').next().is_some_and(|name| name.trim() == SIGNED))
}

/// The calling service: by its access token, or by its secret in the header or the form.
fn caller(hub: &Hub, headers: &HeaderMap, asked: &Asked) -> Option<Client> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return client_by_secret(hub, asked.client_id.as_ref()?, asked.client_secret.as_ref()?);
    };
    let header = value.to_str().ok()?;
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            client_by_token(hub, token.trim())
        }
        Some(_) | None => {
            let (id, secret) = basic(header)?;
            client_by_secret(hub, &id, &secret)
        }
    }
}

fn refuse(status: StatusCode, error: &str, description: &str) -> Response {
    let body =
        OAuthErrorBody { error: error.to_owned(), error_description: description.to_owned() };
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let basic = axum::http::HeaderValue::from_static("Basic");
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    response
}
