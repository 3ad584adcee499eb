//! Other parties that may speak to this hub, as an operator registers them.
//!
//! It refuses a transmitter without bounds: whom it may speak about, how much it may cause, and
//! how often, is part of its registration.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::VERSION;
use exeunt_domain::Tier;
use exeunt_ssf::PeerKeys;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RECEIVE;
use crate::Hub;
use crate::http::{ApiError, Json, Named};
use crate::oauth::{Admin, hash};
use crate::revoke::refuse_purge;
use crate::sequencer::now;
use crate::store::Command;
use crate::store::stream::{StreamCommand, Transmitter};

/// Sign-outs an hour unless asked otherwise.
const USUAL_RATE: u64 = 60;
/// Most sign-outs an hour.
const HIGHEST_RATE: u64 = 100_000;

/// A transmitter to register.
#[derive(Debug, schemars::JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransmitterRequest {
    /// The issuer of its SETs.
    #[schemars(length(min = 1, max = 1024))]
    issuer: String,
    /// Its keys, or
    jwks: Option<Value>,
    /// where they are.
    jwks_uri: Option<String>,
    /// Our name there; our issuer name when absent.
    aud: Option<String>,
    /// Whom it may speak about.
    may_speak_about: Scope,
    /// The most that it may cause.
    tier_ceiling: Option<Tier>,
    /// How many sign-outs an hour it may cause.
    #[serde(default, deserialize_with = "exeunt_api::number::whole")]
    #[schemars(range(min = 1, max = HIGHEST_RATE))]
    rate_per_hour: Option<u64>,
    /// `push`.
    delivery: Option<DeliveryMethod>,
    /// Its pushes must carry a bearer token, which the answer names once.
    #[serde(default)]
    with_token: bool,
}

/// How a transmitter's SETs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeliveryMethod {
    Push,
    Poll,
}

/// Whom a transmitter may speak about.
#[derive(Clone, Debug, Default, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Issuers of `iss_sub` subjects.
    #[serde(default)]
    issuers: Vec<String>,
    /// Domains of `email` and `account` subjects.
    #[serde(default)]
    domains: Vec<String>,
}

/// A registered transmitter.
#[derive(Debug, schemars::JsonSchema, Serialize)]
pub struct TransmitterInfo {
    v: u16,
    id: String,
    issuer: String,
    aud: String,
    jwks_uri: Option<String>,
    may_speak_about: Scope,
    tier_ceiling: Tier,
    rate_per_hour: u64,
    delivery: DeliveryMethod,
    /// Where it pushes.
    endpoint_url: String,
    /// What its pushes must carry. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_header: Option<String>,
}

/// `GET /v1/transmitters`.
#[derive(Debug, schemars::JsonSchema, Serialize)]
pub struct TransmitterList {
    v: u16,
    transmitters: Vec<TransmitterInfo>,
}

/// `POST /v1/transmitters`.
///
/// # Errors
/// [`ApiError`].
pub async fn register(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<TransmitterRequest>,
) -> Result<(StatusCode, Json<TransmitterInfo>), ApiError> {
    let tier_ceiling = ask.tier_ceiling.unwrap_or(Tier::SignOut);
    refuse_purge(tier_ceiling)?;
    if ask.delivery == Some(DeliveryMethod::Poll) {
        return Err(ApiError::invalid("this hub does not poll transmitters yet: use push"));
    }
    let rate_per_hour = ask.rate_per_hour.unwrap_or(USUAL_RATE);
    if rate_per_hour == 0 || rate_per_hour > HIGHEST_RATE {
        return Err(ApiError::invalid(format!("rate_per_hour is between 1 and {HIGHEST_RATE}")));
    }
    keys_given(&hub, ask.jwks.as_ref(), ask.jwks_uri.as_deref()).await?;
    let aud = ask.aud.unwrap_or_else(|| hub.issuer.clone());
    let Scope { issuers, domains } = ask.may_speak_about;
    for text in issuers.iter().chain(&domains).chain([&ask.issuer, &aud]) {
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err(ApiError::invalid("names have 1 to 1,024 bytes and no control characters"));
        }
    }
    if issuers.is_empty() && domains.is_empty() {
        return Err(ApiError::invalid("may_speak_about names an issuer or a domain at least"));
    }
    let domains = domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
    let id = exeunt_ssf::new_id(now()).map_err(|_| ApiError::internal("no randomness"))?;
    let token = ask.with_token.then(exeunt_ssf::random_token).transpose();
    let token = token.map_err(|_| ApiError::internal("no randomness"))?;
    let transmitter = Box::new(Transmitter {
        id: id.clone(),
        issuer: ask.issuer,
        aud,
        jwks: ask.jwks,
        jwks_uri: ask.jwks_uri,
        issuers,
        domains,
        tier_ceiling,
        rate_per_hour,
        token: token.as_deref().map(hash),
    });
    let header = token.map(|token| format!("Bearer {token}"));
    let answer = TransmitterInfo { authorization_header: header, ..shown(&hub, &transmitter) };
    let command = StreamCommand::AddTransmitter { actor: admin.actor, transmitter };
    hub.sequencer.submit(Command::Stream(command)).await?.reply?;
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn keys_given(hub: &Hub, jwks: Option<&Value>, uri: Option<&str>) -> Result<(), ApiError> {
    match (jwks, uri) {
        (Some(jwks), None) => {
            if PeerKeys::read(jwks).is_empty() {
                let say = "jwks holds no key that can be used: RS256 of 2048 bits, ES256 or EdDSA";
                return Err(ApiError::invalid(say));
            }
            Ok(())
        }
        (None, Some(uri)) => {
            let admitted = hub.ssf.reach.admit(uri).await;
            admitted.map(drop).map_err(|error| ApiError::invalid(format!("jwks_uri: {error}")))
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(ApiError::invalid("give one of jwks and jwks_uri"))
        }
    }
}

/// `GET /v1/transmitters`.
///
/// # Errors
/// [`ApiError`].
pub async fn list(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
) -> Result<Json<TransmitterList>, ApiError> {
    let all = hub.views.read(|view| view.transmitters()).await?;
    let transmitters = all.iter().map(|one| shown(&hub, one)).collect();
    Ok(Json(TransmitterList { v: VERSION, transmitters }))
}

/// A state to expect.
#[derive(Debug, schemars::JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectRequest {
    #[schemars(length(min = 1, max = 1024))]
    state: String,
}

/// `POST /v1/transmitters/{transmitter}/expect`: the operator has asked that party for a
/// verification event with this state.
///
/// # Errors
/// [`ApiError`].
pub async fn expect(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(transmitter): Named<String>,
    Json(ask): Json<ExpectRequest>,
) -> Result<StatusCode, ApiError> {
    if ask.state.is_empty() || ask.state.len() > 1024 {
        return Err(ApiError::invalid("the state has 1 to 1,024 bytes"));
    }
    let command = StreamCommand::Expect { actor: admin.actor, transmitter, state: ask.state };
    hub.sequencer.submit(Command::Stream(command)).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(hub: &Hub, it: &Transmitter) -> TransmitterInfo {
    TransmitterInfo {
        v: VERSION,
        id: it.id.clone(),
        issuer: it.issuer.clone(),
        aud: it.aud.clone(),
        jwks_uri: it.jwks_uri.clone(),
        may_speak_about: Scope { issuers: it.issuers.clone(), domains: it.domains.clone() },
        tier_ceiling: it.tier_ceiling,
        rate_per_hour: it.rate_per_hour,
        delivery: DeliveryMethod::Push,
        endpoint_url: format!("{}{RECEIVE}/{}", hub.url, it.id),
        authorization_header: None,
    }
}
