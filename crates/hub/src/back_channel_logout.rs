//! OpenID Connect Back-Channel Logout 1.0: a registered provider says that a session of its own is
//! over, or every one of a person, and the sessions that came of it end here.
//!
//! It refuses to widen: a `sid` that no session here came of ends nobody.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use exeunt_domain::{Subject, Tier};
use exeunt_ssf::{Logout, PeerKeys, verify_logout};
use serde::Deserialize;

use crate::Hub;
use crate::access::Doors;
use crate::http::ApiError;
use crate::oauth::Denied;
use crate::sequencer::now;
use crate::ssf::signals::{claimed, revocation, verified};
use crate::store::stream::{Act, Heard, IdpSession, StreamCommand, Transmitter};
use crate::store::{Command, Refused, Reply};

/// The `backchannel_logout_uri` of this hub, and of the services whose sessions it keeps.
pub const PATH: &str = "/v1/back-channel-logout";
/// What the audit calls it.
const EVENT: &str = "back-channel-logout";

/// The door of this part.
pub fn doors(doors: Doors) -> Doors {
    doors.open(Method::POST, PATH, log_out)
}

#[derive(Deserialize)]
struct Asked {
    logout_token: String,
}

/// `POST /v1/back-channel-logout`: 200 once the end is durable (§2.8), 400 in the shape of RFC 6749
/// §5.2 for a token that is not believed or that may not.
pub async fn log_out(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let no_store = [(CACHE_CONTROL, "no-store")];
    match take(&hub, request).await {
        Ok(()) => (no_store, StatusCode::OK).into_response(),
        Err(denied) => {
            tracing::warn!(?denied, "a back-channel logout was refused");
            (no_store, denied).into_response()
        }
    }
}

async fn take(hub: &Arc<Hub>, request: Request) -> Result<(), Denied> {
    let invalid = |why: String| Denied::new("invalid_request", why);
    let form = Form::<Asked>::from_request(request, &());
    let Ok(Ok(Form(asked))) = tokio::time::timeout(hub.limits.read_timeout, form).await else {
        return Err(invalid("the form has no logout_token".into()));
    };
    let token = asked.logout_token.trim();
    let it = claimed(hub, token).await?;
    let it = it.ok_or_else(|| invalid("no registered provider issued this token".into()))?;
    let verify = |keys: &PeerKeys| verify_logout(token, keys, &it.issuer, &it.client_ids(), now());
    let logout = verified(hub, &it, verify).await?.map_err(|error| invalid(error.to_string()))?;
    let heard = Heard {
        jti: logout.jti.clone(),
        act: act(hub, &it, logout)?,
        transmitter: it.id,
        issuer: it.issuer,
        cause: None,
        event: EVENT.into(),
        aliases: Vec::new(),
        rate_per_hour: it.rate_per_hour,
    };
    let command = Command::Stream(StreamCommand::Heard(Box::new(heard)));
    let reply = hub.sequencer.submit(command).await.map_err(ApiError::from)?.reply;
    match reply {
        // Whoever has no session here is logged out here already (§2.7).
        Ok(Reply::SignedOut(_) | Reply::Done | Reply::Unresolved) => Ok(()),
        Ok(Reply::Repeated) => Err(invalid("this token was used before".into())),
        Ok(Reply::Registered(_) | Reply::Proposal(_) | Reply::Enrolled { .. }) => {
            Err(ApiError::internal("a log-out answered as something else").into())
        }
        Err(Refused::TooManySignals) => Err(ApiError::from(Refused::TooManySignals).into()),
        // §2.8 knows one status for everything else.
        Err(refused) => Err(invalid(refused.to_string())),
    }
}

fn act(hub: &Hub, it: &Transmitter, logout: Logout) -> Result<Act, Denied> {
    let person = logout.sub.map(|sub| {
        let named = Subject::parse(&format!("{}|{sub}", it.issuer));
        named.map_err(|_| Denied::new("invalid_request", "the token's sub is no name"))
    });
    let person = person.transpose()?;
    match (logout.sid, person) {
        (Some(_), person) if it.tier_ceiling == Tier::Lock => {
            Ok(Act::Refuse { subject: person, why: Refused::OnlyLocks })
        }
        (Some(sid), person) => {
            Ok(Act::IdpSession(Box::new(IdpSession { sid, person, by: it.clone() })))
        }
        (None, Some(person)) => Ok(revocation(hub, it, person)?),
        // The token was not believed without either.
        (None, None) => Err(Denied::new("invalid_request", "the token names nobody")),
    }
}
