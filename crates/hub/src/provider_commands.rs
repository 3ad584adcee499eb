//! OpenID Provider Commands 1.0, draft 02 (not a standard yet): a registered provider has every
//! session and token of one of its accounts invalidated.
//!
//! It refuses to be there unless the hub was started with `--provider-commands`, and every command
//! but `metadata` and `invalidate`.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use exeunt_domain::Subject;
use exeunt_ssf::{PeerKeys, ProviderCommand, verify_command};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Hub;
use crate::access::Doors;
use crate::http::{ApiError, Json};
use crate::oauth::Denied;
use crate::sequencer::now;
use crate::ssf::signals::{claimed, revocation, verified};
use crate::store::stream::{Heard, StreamCommand, Transmitter};
use crate::store::{Command, Reply};

/// The command endpoint.
pub const PATH: &str = "/v1/provider-commands";
/// What is done here.
const SUPPORTED: [&str; 2] = ["metadata", "invalidate"];

/// The door of this part.
pub fn doors(doors: Doors) -> Doors {
    doors.open(Method::POST, PATH, command)
}

#[derive(Deserialize)]
struct Asked {
    command_token: String,
}

/// `POST /v1/provider-commands`: 200 once what was asked is durable; 409 for an account that nobody
/// here knows; 404 where the hub does not take commands.
pub async fn command(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    if !hub.provider_commands {
        return ApiError::not_found("there is nothing here").into_response();
    }
    let no_store = [(CACHE_CONTROL, "no-store")];
    match take(&hub, request).await {
        Ok(answer) => (no_store, answer).into_response(),
        Err(denied) => {
            tracing::warn!(?denied, "a provider's command was refused");
            (no_store, denied).into_response()
        }
    }
}

async fn take(hub: &Arc<Hub>, request: Request) -> Result<Response, Denied> {
    let invalid = |why: String| Denied::new("invalid_request", why);
    let form = Form::<Asked>::from_request(request, &());
    let Ok(Ok(Form(asked))) = tokio::time::timeout(hub.limits.read_timeout, form).await else {
        return Err(invalid("the form has no command_token".into()));
    };
    let token = asked.command_token.trim();
    let Some(it) = claimed(hub, token).await? else {
        let say = "no registered provider issued this token";
        return Err(Denied::with_status(StatusCode::UNAUTHORIZED, "unrecognized_provider", say));
    };
    let endpoint = format!("{}{PATH}", hub.url);
    let verify = |keys: &PeerKeys| verify_command(token, keys, &it.issuer, &endpoint, now());
    let command = verified(hub, &it, verify).await?.map_err(|error| invalid(error.to_string()))?;
    if !it.client_ids().contains(&command.client_id.as_str()) {
        return Err(invalid("client_id is no client that is registered here".into()));
    }
    match command.command.as_str() {
        "metadata" => metadata(&it, &command, &endpoint),
        "invalidate" => invalidate(hub, &it, command).await,
        other => {
            let say = format!("this hub does {}, and not {other:.64}", SUPPORTED.join(" and "));
            Err(Denied::new("unsupported_command", say))
        }
    }
}

/// What this hub does; nothing of what the provider says of itself is kept.
fn metadata(
    it: &Transmitter,
    command: &ProviderCommand,
    endpoint: &str,
) -> Result<Response, Denied> {
    if command.sub.is_some() {
        return Err(Denied::new("invalid_request", "a metadata command is about no account"));
    }
    let body = json!({
        "context": { "iss": it.issuer, "tenant": command.tenant },
        "command_endpoint": endpoint,
        "client_id": command.client_id,
        "commands_supported": SUPPORTED,
    });
    Ok(Json(body).into_response())
}

/// Every session and token of the account.
async fn invalidate(
    hub: &Hub,
    it: &Transmitter,
    command: ProviderCommand,
) -> Result<Response, Denied> {
    let invalid = |why: &str| Denied::new("invalid_request", why);
    let sub =
        command.sub.ok_or_else(|| invalid("invalidate is about an account: sub is missing"))?;
    let person = Subject::parse(&format!("{}|{sub}", it.issuer));
    let person = person.map_err(|_| invalid("the token's sub is no name"))?;
    let heard = Heard {
        act: revocation(hub, it, person)?,
        transmitter: it.id.clone(),
        issuer: it.issuer.clone(),
        jti: command.jti,
        cause: None,
        event: "provider-command invalidate".into(),
        aliases: Vec::new(),
        rate_per_hour: it.rate_per_hour,
    };
    let command = Command::Stream(StreamCommand::Heard(Box::new(heard)));
    let reply = hub.sequencer.submit(command).await.map_err(ApiError::from)?.reply;
    let state = |state: &str| json!({ "sub": sub, "account_state": state });
    match reply.map_err(ApiError::from)? {
        Reply::SignedOut(_) => Ok(Json(state("active")).into_response()),
        Reply::Unresolved => {
            let mut body: Value = state("unknown");
            body["error"] = json!("incompatible_state");
            Ok((StatusCode::CONFLICT, Json(body)).into_response())
        }
        Reply::Repeated => Err(invalid("this token was used before")),
        Reply::Done | Reply::Registered(_) | Reply::Proposal(_) | Reply::Enrolled { .. } => {
            Err(ApiError::internal("a command answered as something else").into())
        }
    }
}
