//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-06): an identity provider
//! orders a person's sign-out here, as Okta's Universal Logout does.
//!
//! It refuses any proof but a one-time JWT that names this very endpoint, signed by a registered
//! transmitter.

use std::sync::Arc;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use exeunt_api::path;
use exeunt_domain::Jti;
use exeunt_ssf::PeerKeys;
use exeunt_ssf::discovery::issuer_path;
use exeunt_ssf::normalise::{Unresolvable, subject};
use exeunt_ssf::peer::verify_peer_jwt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Doors;
use crate::http::{ApiError, Json, StandardJson};
use crate::oauth::{Denied, bearer};
use crate::sequencer::now;
use crate::ssf::signals::{claimed, revocation, verified};
use crate::store::stream::{Act, Heard, StreamCommand, Transmitter};
use crate::store::{Command, Refused, Reply};
use crate::{Hub, introspect};

/// The endpoint.
pub const PATH: &str = "/v1/global-token-revocation";
/// Authorisation server metadata (RFC 8414 §3); the issuer's path, if any, follows.
pub const METADATA: &str = "/.well-known/oauth-authorization-server";
/// The `typ` of the JWT that proves the caller (Okta, "Build Universal Logout for your app"). An ID
/// token for this hub is none.
const TYP: &str = "global-token-revocation+jwt";

/// The doors of this part.
pub fn doors(doors: Doors, issuer: &str) -> Doors {
    let described = format!("{METADATA}{}", issuer_path(issuer));
    doors.open_at(METADATA, &described, metadata).open(Method::POST, PATH, revoke)
}

/// `GET /.well-known/oauth-authorization-server`: what there is, and where (RFC 8414 §2).
pub async fn metadata(State(hub): State<Arc<Hub>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", hub.url);
    Json(json!({
        "issuer": hub.issuer,
        "token_endpoint": at(path::TOKEN),
        "jwks_uri": at(path::JWKS),
        "introspection_endpoint": at(introspect::PATH),
        "global_token_revocation_endpoint": at(PATH),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported":
            ["private_key_jwt", "client_secret_basic", "client_secret_post"],
        "token_endpoint_auth_signing_alg_values_supported": ["EdDSA"],
    }))
}

/// What is asked: the draft's member, or the one of its first version, which is in use as well.
#[derive(Deserialize)]
struct Asked {
    sub_id: Option<Value>,
    subject: Option<Value>,
}

/// What proves the caller.
#[derive(Deserialize)]
struct Proof {
    jti: Jti,
}

/// `POST /v1/global-token-revocation`: 204 once the sign-out is durable, 404 for whom nobody here
/// knows; a refusal is in the shape of RFC 6749 §5.2.
pub async fn revoke(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    match take(&hub, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(denied) => {
            tracing::warn!(?denied, "a global token revocation was refused");
            denied.into_response()
        }
    }
}

async fn take(hub: &Arc<Hub>, request: Request) -> Result<(), Denied> {
    let (it, jti) = caller(hub, bearer(request.headers())?).await?;
    let StandardJson(asked) = StandardJson::<Asked>::from_request(request, hub).await?;
    let about = match (asked.sub_id, asked.subject) {
        (Some(one), None) | (None, Some(one)) => subject(&one),
        (Some(_), Some(_)) => Err(Unresolvable::Several),
        (None, None) => Err(Unresolvable::Missing),
    };
    let act = match about {
        Ok(subject) => revocation(hub, &it, subject)?,
        Err(why) => Act::Refuse { subject: None, why: Refused::Unresolvable(why) },
    };
    let heard = Heard {
        transmitter: it.id,
        issuer: it.issuer,
        jti,
        cause: None,
        event: "global-token-revocation".into(),
        rate_per_hour: it.rate_per_hour,
        aliases: Vec::new(),
        act,
    };
    let command = Command::Stream(StreamCommand::Heard(Box::new(heard)));
    let reply = hub.sequencer.submit(command).await.map_err(ApiError::from)?.reply;
    match reply.map_err(ApiError::from)? {
        Reply::SignedOut(_) => Ok(()),
        Reply::Repeated => Err(Denied::new("invalid_token", "this token was used before")),
        Reply::Unresolved => {
            Err(ApiError::not_found("nobody here is meant by this subject").into())
        }
        Reply::Done | Reply::Registered(_) | Reply::Proposal(_) | Reply::Enrolled { .. } => {
            Err(ApiError::internal("a revocation answered as something else").into())
        }
    }
}

/// The transmitter whose token this is, and the token's name.
async fn caller(hub: &Hub, token: &str) -> Result<(Transmitter, Jti), Denied> {
    let unproved = |why: String| Denied::new("invalid_token", why);
    let it = claimed(hub, token).await?;
    let it = it.ok_or_else(|| unproved("no registered transmitter issued this token".into()))?;
    let endpoint = format!("{}{PATH}", hub.url);
    let verify =
        |keys: &PeerKeys| verify_peer_jwt(token, keys, &[TYP], &it.issuer, &endpoint, now());
    let proof: Proof =
        verified(hub, &it, verify).await?.map_err(|error| unproved(error.to_string()))?;
    Ok((it, proof.jti))
}
