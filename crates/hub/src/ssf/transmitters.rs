//! Other parties that may speak to this hub, as an operator registers them.
//!
//! It refuses a transmitter without bounds: whom it may speak about, how much it may cause, and
//! how often, is part of its registration.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::transmitter::{HIGHEST_RATE, MOST_CLIENTS};
use exeunt_api::{
    DeliveryMethod, ExpectRequest, PollSettings, Scope, StreamInfo, TransmitterInfo,
    TransmitterList, TransmitterRequest, VERSION,
};
use exeunt_domain::Tier;
use exeunt_ssf::PeerKeys;
use serde_json::Value;

use super::RECEIVE;
use super::polled::{Entry, PolledError, Remote, introduce};
use crate::Hub;
use crate::http::{ApiError, Json, Named};
use crate::oauth::{Admin, hash};
use crate::revoke::refuse_purge;
use crate::sequencer::now;
use crate::store::Command;
use crate::store::stream::{Standing, StreamCommand, Transmitter};

/// Sign-outs an hour unless asked otherwise.
const USUAL_RATE: u64 = 60;

/// `POST /v1/transmitters`.
///
/// # Errors
/// [`ApiError`].
pub async fn register(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(mut ask): Json<TransmitterRequest>,
) -> Result<(StatusCode, Json<TransmitterInfo>), ApiError> {
    refuse_purge(ask.tier_ceiling.unwrap_or(Tier::SignOut))?;
    bounded(&ask)?;
    let polled = match ask.poll.take() {
        Some(settings) => Some(polled(&hub, &mut ask, settings).await?),
        None => None,
    };
    keys_given(&hub, ask.jwks.as_ref(), ask.jwks_uri.as_deref()).await?;
    let issuer = ask.issuer.ok_or_else(|| ApiError::invalid("issuer is missing"))?;
    let id = exeunt_ssf::new_id(now()).map_err(|_| ApiError::internal("no randomness"))?;
    let token = ask.with_token.then(exeunt_ssf::random_token).transpose();
    let token = token.map_err(|_| ApiError::internal("no randomness"))?;
    let domains = ask.may_speak_about.domains.iter().map(|domain| domain.to_ascii_lowercase());
    let transmitter = Box::new(Transmitter {
        id: id.clone(),
        issuer,
        aud: ask.aud.unwrap_or_else(|| hub.issuer.clone()),
        jwks: ask.jwks,
        jwks_uri: ask.jwks_uri,
        domains: domains.collect(),
        issuers: ask.may_speak_about.issuers,
        tier_ceiling: ask.tier_ceiling.unwrap_or(Tier::SignOut),
        rate_per_hour: ask.rate_per_hour.unwrap_or(USUAL_RATE),
        token: token.as_deref().map(hash),
        clients: ask.clients,
        stream: Standing::default(),
    });
    // How it is reached comes first: whoever is registered is polled, also after a crash here.
    let is_polled = polled.is_some();
    if polled.is_some() {
        written(&hub, &id, polled)?;
    }
    let header = token.map(|token| format!("Bearer {token}"));
    let answer = TransmitterInfo { authorization_header: header, ..shown(&hub, &transmitter) };
    let command = StreamCommand::AddTransmitter { actor: admin.actor, transmitter };
    let done = hub.sequencer.submit(Command::Stream(command)).await.map_err(ApiError::from);
    if let Err(error) = done.and_then(|applied| applied.reply.map_err(ApiError::from)) {
        if is_polled {
            written(&hub, &id, None)?;
        }
        return Err(error);
    }
    hub.ssf.polled.follow();
    Ok((StatusCode::CREATED, Json(answer)))
}

fn bounded(ask: &TransmitterRequest) -> Result<(), ApiError> {
    let rate_per_hour = ask.rate_per_hour.unwrap_or(USUAL_RATE);
    if rate_per_hour == 0 || rate_per_hour > HIGHEST_RATE {
        return Err(ApiError::invalid(format!("rate_per_hour is between 1 and {HIGHEST_RATE}")));
    }
    if ask.clients.len() > MOST_CLIENTS {
        return Err(ApiError::invalid(format!("at most {MOST_CLIENTS} clients are taken")));
    }
    let Scope { issuers, domains } = &ask.may_speak_about;
    let texts =
        issuers.iter().chain(domains).chain(&ask.clients).chain(&ask.issuer).chain(&ask.aud);
    for text in texts {
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err(ApiError::invalid("names have 1 to 1,024 bytes and no control characters"));
        }
    }
    if issuers.is_empty() && domains.is_empty() {
        return Err(ApiError::invalid("may_speak_about names an issuer or a domain at least"));
    }
    Ok(())
}

/// Asks a transmitter that is to be polled for what an operator need not say.
async fn polled(
    hub: &Hub,
    ask: &mut TransmitterRequest,
    settings: PollSettings,
) -> Result<Entry, ApiError> {
    if ask.jwks.is_some() || ask.jwks_uri.is_some() || ask.with_token {
        let say =
            "with poll, the transmitter's metadata says where its keys are, and nothing is pushed";
        return Err(ApiError::invalid(say));
    }
    let (remote, found) = introduce(hub, settings.clone()).await?;
    let metadata = remote.metadata();
    if ask.issuer.as_ref().is_some_and(|issuer| *issuer != metadata.issuer) {
        return Err(ApiError::invalid(format!("the transmitter calls itself {}", metadata.issuer)));
    }
    ask.issuer = Some(metadata.issuer.clone());
    if metadata.jwks_uri.is_none() {
        return Err(ApiError::invalid("poll: the transmitter's metadata names no jwks_uri"));
    }
    ask.jwks_uri = metadata.jwks_uri.clone();
    match &ask.aud {
        Some(aud) if !found.aud.is_empty() && !found.aud.contains(aud) => {
            let say = format!("the stream there is for {}", found.aud.join(", "));
            return Err(ApiError::invalid(say));
        }
        Some(_) => {}
        None => ask.aud = found.aud.first().cloned(),
    }
    // The same as for what an operator says.
    bounded(ask)?;
    Ok(Entry { settings, stream: found.at })
}

fn written(hub: &Hub, id: &str, entry: Option<Entry>) -> Result<(), ApiError> {
    hub.ssf.polled.book.put(&hub.data, id, entry).map_err(|error: PolledError| {
        tracing::error!(%error, "the file of polled transmitters cannot be written");
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "storage_failed",
            "the file of polled transmitters cannot be written",
        )
    })
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

/// `DELETE /v1/transmitters/{transmitter}`: nothing of it is taken from now on. A stream that this
/// hub created there is deleted if the transmitter answers.
///
/// # Errors
/// [`ApiError`].
pub async fn remove(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(transmitter): Named<String>,
) -> Result<StatusCode, ApiError> {
    let actor = admin.actor;
    let command = StreamCommand::RemoveTransmitter { actor, transmitter: transmitter.clone() };
    hub.sequencer.submit(Command::Stream(command)).await?.reply?;
    if let Some(entry) = hub.ssf.polled.book.get(&transmitter) {
        written(&hub, &transmitter, None)?;
        hub.ssf.polled.follow();
        if entry.stream.ours
            && let Err(error) = farewell(&hub, &entry).await
        {
            tracing::warn!(transmitter, %error, "our stream there was not deleted");
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn farewell(hub: &Hub, entry: &Entry) -> Result<(), super::polled::RemoteError> {
    let remote = Remote::discover(hub.ssf.reach.clone(), entry.settings.clone()).await?;
    remote.delete(&entry.stream.id).await
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
    let polled = hub.ssf.polled.book.get(&it.id);
    let (delivery, endpoint_url) = match polled {
        Some(entry) => (DeliveryMethod::Poll, entry.stream.endpoint),
        None => (DeliveryMethod::Push, format!("{}{RECEIVE}/{}", hub.url, it.id)),
    };
    TransmitterInfo {
        v: VERSION,
        id: it.id.clone(),
        issuer: it.issuer.clone(),
        aud: it.aud.clone(),
        clients: it.clients.clone(),
        jwks_uri: it.jwks_uri.clone(),
        may_speak_about: Scope { issuers: it.issuers.clone(), domains: it.domains.clone() },
        tier_ceiling: it.tier_ceiling,
        rate_per_hour: it.rate_per_hour,
        delivery,
        stream: StreamInfo {
            status: it.stream.status.clone().unwrap_or_else(|| "enabled".into()),
            reason: it.stream.reason.clone(),
            at: it.stream.at,
            awaiting_since: it.stream.awaited,
            verified_at: it.stream.verified,
        },
        link: hub.ssf.polled.link(&it.id),
        endpoint_url,
        authorization_header: None,
    }
}
