//! SETs that other parties push (RFC 8935), and what each may cause here.
//!
//! It refuses a SET about anyone but those of whom its transmitter may speak.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use exeunt_domain::{Subject, Tier};
use exeunt_ssf::normalise::{Ended, Scope, Signal, normalise};
use exeunt_ssf::peer::claimed_issuer;
use exeunt_ssf::{PeerKeys, Set, SetError, verify_peer};
use serde_json::json;
use tokio::time::Instant;

use crate::Hub;
use crate::http::{ApiError, Compact, Named, NotAccepted, SetRefused};
use crate::oauth::hash;
use crate::publish::lock;
use crate::receiver::remembered;
use crate::revoke::fresh_txn;
use crate::sequencer::now;
use crate::store::command::{DeviceLimit, SignOut};
use crate::store::stream::{Act, Heard, StreamCommand, Transmitter, actor};
use crate::store::{Command, Refused};

/// How far another party's clock may run ahead, in seconds.
const AHEAD_SECS: u64 = 600;
/// The first moment a SET can be from: 2020, in seconds.
const EARLIEST_SECS: u64 = 1_577_836_800;
/// How often within [`WINDOW`] an unknown key's name makes keys be fetched again.
const MOST_FORCED: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// How long fetched keys are good for.
const GOOD: Duration = Duration::from_secs(3600);

/// `POST /ssf/receive/{transmitter}`: exactly 202 once what the SET says is durable, and for a
/// repeat.
///
/// # Errors
/// [`NotAccepted`]: 400 in the RFC's shape when the SET is refused for good.
pub async fn receive(
    State(hub): State<Arc<Hub>>,
    Named(name): Named<String>,
    headers: HeaderMap,
    Compact(compact): Compact,
) -> Result<StatusCode, NotAccepted> {
    let outcome = take(&hub, &name, &headers, compact.trim()).await;
    if let Err(NotAccepted::Set(refused)) = &outcome {
        tracing::warn!(transmitter = name, ?refused, "a SET was refused");
    }
    outcome.map(|()| StatusCode::ACCEPTED)
}

async fn take(
    hub: &Hub,
    name: &str,
    headers: &HeaderMap,
    compact: &str,
) -> Result<(), NotAccepted> {
    let all = hub.views.read(|view| view.transmitters()).await.map_err(ApiError::from)?;
    let it = all.into_iter().find(|one| one.id == name);
    let it = it.ok_or_else(|| ApiError::not_found("no such transmitter"))?;
    if it.token.is_some_and(|token| bearer(headers).map(hash) != Some(token)) {
        let refused = SetRefused::new("authentication_failed", "the bearer token is not yours");
        return Err(refused.with_status(StatusCode::UNAUTHORIZED).into());
    }
    hear(hub, it, compact).await
}

/// Takes a SET of a transmitter, however it came. Durable when it returns.
///
/// # Errors
/// [`NotAccepted`]; [`SetRefused::is_final`] says whether it may be tried again.
pub(crate) async fn hear(hub: &Hub, it: Transmitter, compact: &str) -> Result<(), NotAccepted> {
    let verify = |keys: &PeerKeys| verify_peer(compact, keys, &it.issuer, &it.aud);
    let set = verified(hub, &it, verify).await??;
    if set.iat < EARLIEST_SECS || set.iat > now().as_secs() + AHEAD_SECS {
        return Err(SetRefused::new("invalid_request", "iat is not of this time").into());
    }
    remembered(hub, set.iat)?;
    let (act, aliases) = act(hub, &it, &set)?;
    let heard = Heard {
        act,
        aliases,
        transmitter: it.id,
        issuer: it.issuer,
        jti: set.jti.clone(),
        cause: set.txn.clone(),
        event: set.event_type().chars().take(256).collect(),
        rate_per_hour: it.rate_per_hour,
    };
    let command = Command::Stream(StreamCommand::Heard(Box::new(heard)));
    match hub.sequencer.submit(command).await?.reply {
        Ok(_) => Ok(()),
        Err(Refused::TooManySignals) => {
            let refused = SetRefused::from(Refused::TooManySignals);
            Err(refused.with_status(StatusCode::TOO_MANY_REQUESTS).into())
        }
        Err(refused) => Err(refused.into()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The transmitter that a JWT says it is of. Nothing of it is believed yet.
///
/// # Errors
/// [`ApiError`] when the record cannot be read.
pub(crate) async fn claimed(hub: &Hub, compact: &str) -> Result<Option<Transmitter>, ApiError> {
    let Some(issuer) = claimed_issuer(compact) else { return Ok(None) };
    let all = hub.views.read(|view| view.transmitters()).await?;
    Ok(all.into_iter().find(|one| one.issuer == issuer))
}

/// Keys that were fetched.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    keys: PeerKeys,
    at: Instant,
    /// When an unknown key's name made them be fetched, within the last [`WINDOW`].
    forced: Vec<Instant>,
}

/// What `verify` makes of a transmitter's token, with its keys of now.
///
/// # Errors
/// [`ApiError`] when the keys cannot be had.
pub(crate) async fn verified<T>(
    hub: &Hub,
    it: &Transmitter,
    verify: impl Fn(&PeerKeys) -> Result<T, SetError>,
) -> Result<Result<T, SetError>, ApiError> {
    match verify(&keys(hub, it, false).await?) {
        // The key may be new there.
        Err(SetError::UnknownKey(_)) if it.jwks_uri.is_some() => {
            Ok(verify(&keys(hub, it, true).await?))
        }
        outcome => Ok(outcome),
    }
}

/// A transmitter's keys. `anew`: those that are held lack one; they are fetched again, as often as
/// strangers' names may cause that.
async fn keys(hub: &Hub, it: &Transmitter, anew: bool) -> Result<PeerKeys, ApiError> {
    if let Some(jwks) = &it.jwks {
        return Ok(PeerKeys::read(jwks));
    }
    let held = lock(&hub.ssf.keys).get(&it.id).cloned();
    let mut forced = Vec::new();
    if let Some(held) = held {
        forced = held.forced;
        forced.retain(|at| at.elapsed() < WINDOW);
        let may = anew && forced.len() < MOST_FORCED;
        if !may && held.at.elapsed() < GOOD {
            return Ok(held.keys);
        }
        if anew {
            forced.push(Instant::now());
        }
    }
    let keys = fetched(hub, it).await?;
    let held = Fetched { keys: keys.clone(), at: Instant::now(), forced };
    lock(&hub.ssf.keys).insert(it.id.clone(), held);
    Ok(keys)
}

async fn fetched(hub: &Hub, it: &Transmitter) -> Result<PeerKeys, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let url = it.jwks_uri.as_deref().unwrap_or_default();
    let fetched = hub.ssf.reach.send(Method::GET, url, headers, String::new()).await;
    let fetched = fetched.ok().filter(|answer| answer.status == StatusCode::OK);
    let jwks = fetched.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let Some(jwks) = jwks else {
        tracing::warn!(transmitter = it.id, "the transmitter's keys cannot be fetched");
        let say = "the transmitter's keys cannot be fetched now; try again later";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", say));
    };
    Ok(PeerKeys::read(&jwks))
}

/// What a SET asks for, and the other names that it gives the person.
fn act(hub: &Hub, it: &Transmitter, set: &Set) -> Result<(Act, Vec<Subject>), ApiError> {
    let alone = |act: Act| Ok((act, Vec::new()));
    let signal = match normalise(set) {
        Ok(Signal::Verification { state }) => return alone(Act::Verified { state }),
        Ok(Signal::StreamUpdated { status, reason }) => {
            let short = |text: String| text.chars().take(256).collect::<String>();
            return alone(Act::StreamUpdated { status: short(status), reason: reason.map(short) });
        }
        Ok(Signal::Other) => return alone(Act::Noted(json!("nothing to do"))),
        Ok(Signal::End(ended)) => Ok(ended),
        Err(why) => Err(why),
    };
    let Some(tier) = hub.events.tier_of(set.event_type(), it.tier_ceiling) else {
        return alone(Act::Noted(json!("by policy, this event ends nothing")));
    };
    let ended = match signal {
        Ok(ended) => ended,
        Err(why) => return alone(Act::Refuse { subject: None, why: Refused::Unresolvable(why) }),
    };
    let Ended { user: subject, aliases, scope, reason, at: _ } = ended;
    // Who may speak about one name only joins no other to it.
    if let Some(other) = aliases.iter().find(|name| !it.may_speak_about(name)) {
        return alone(Act::Refuse { subject: Some(other.clone()), why: Refused::NotItsSubject });
    }
    if scope != Scope::All && it.may_speak_about(&subject) {
        if tier == Tier::Lock {
            return alone(Act::Refuse { subject: Some(subject), why: Refused::OnlyLocks });
        }
        return Ok((Act::Session { subject, scope }, aliases));
    }
    Ok((everywhere(hub, it, subject, tier, reason)?, aliases))
}

/// The sign-out of a subject within the transmitter's bounds, or the refusal.
///
/// # Errors
/// [`ApiError`] without randomness.
fn everywhere(
    hub: &Hub,
    it: &Transmitter,
    subject: Subject,
    tier: Tier,
    reason: Option<String>,
) -> Result<Act, ApiError> {
    if !it.may_speak_about(&subject) {
        return Ok(Act::Refuse { subject: Some(subject), why: Refused::NotItsSubject });
    }
    Ok(Act::SignOut(Box::new(SignOut {
        actor: actor(&it.id),
        txn: fresh_txn()?,
        subject,
        tier,
        reason,
        only: None,
        idempotency_key: None,
        digest: None,
        cannot: Vec::new(),
        playbook: None,
        at_device: None,
        // Its own rate bounds it.
        limit: DeviceLimit::NONE,
        good_for_ms: hub.order_good_for_ms(),
    })))
}

/// The same for whoever is to be told that the subject's sessions are revoked, which a lock does not
/// do.
///
/// # Errors
/// [`ApiError`] without randomness.
pub(crate) fn revocation(hub: &Hub, it: &Transmitter, subject: Subject) -> Result<Act, ApiError> {
    if it.tier_ceiling == Tier::Lock {
        return Ok(Act::Refuse { subject: Some(subject), why: Refused::OnlyLocks });
    }
    everywhere(hub, it, subject, it.tier_ceiling, None)
}
