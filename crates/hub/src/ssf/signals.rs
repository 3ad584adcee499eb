//! SETs that other parties push (RFC 8935), and what each may cause here.
//!
//! It refuses a SET about anyone but those of whom its transmitter may speak.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use exeunt_domain::Subject;
use exeunt_ssf::normalise::{Ended, Scope, Signal, normalise};
use exeunt_ssf::{PeerKeys, Set, SetError, verify_peer};
use serde_json::json;

use crate::Hub;
use crate::http::{ApiError, Compact, Named, NotAccepted, SetRefused};
use crate::oauth::hash;
use crate::publish::lock;
use crate::revoke::fresh_txn;
use crate::sequencer::now;
use crate::store::command::{DeviceLimit, SignOut};
use crate::store::stream::{Act, Heard, StreamCommand, Transmitter, actor};
use crate::store::{Command, Refused};

/// How far another party's clock may run ahead, in seconds.
const AHEAD_SECS: u64 = 600;
/// The first moment a SET can be from: 2020, in seconds.
const EARLIEST_SECS: u64 = 1_577_836_800;
/// How old fetched keys must be before an unknown key's name makes them be fetched again.
const FRESH: Duration = Duration::from_secs(60);
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
    let set = verified(hub, &it, compact).await?;
    if set.iat < EARLIEST_SECS || set.iat > now().as_secs() + AHEAD_SECS {
        return Err(SetRefused::new("invalid_request", "iat is not of this time").into());
    }
    let heard = Heard {
        act: act(hub, &it, &set)?,
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

async fn verified(hub: &Hub, it: &Transmitter, compact: &str) -> Result<Set, NotAccepted> {
    let first = keys(hub, it, GOOD).await?;
    match verify_peer(compact, &first, &it.issuer, &it.aud) {
        // The key may be new there.
        Err(SetError::UnknownKey(_)) if it.jwks_uri.is_some() => {
            let again = keys(hub, it, FRESH).await?;
            Ok(verify_peer(compact, &again, &it.issuer, &it.aud)?)
        }
        outcome => Ok(outcome?),
    }
}

/// A transmitter's keys, not older than `age` if they are fetched.
async fn keys(hub: &Hub, it: &Transmitter, age: Duration) -> Result<PeerKeys, NotAccepted> {
    if let Some(jwks) = &it.jwks {
        return Ok(PeerKeys::read(jwks));
    }
    let held = lock(&hub.ssf.keys).get(&it.id).cloned();
    if let Some((keys, at)) = held
        && at.elapsed() < age
    {
        return Ok(keys);
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let url = it.jwks_uri.as_deref().unwrap_or_default();
    let fetched = hub.ssf.reach.send(Method::GET, url, headers, String::new()).await;
    let fetched = fetched.ok().filter(|answer| answer.status == StatusCode::OK);
    let jwks = fetched.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let Some(jwks) = jwks else {
        tracing::warn!(transmitter = it.id, "the transmitter's keys cannot be fetched");
        let say = "the transmitter's keys cannot be fetched now; try again later";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", say).into());
    };
    let keys = PeerKeys::read(&jwks);
    let now = tokio::time::Instant::now();
    lock(&hub.ssf.keys).insert(it.id.clone(), (keys.clone(), now));
    Ok(keys)
}

fn act(hub: &Hub, it: &Transmitter, set: &Set) -> Result<Act, ApiError> {
    let ended = match normalise(set) {
        Ok(Signal::End(ended)) => ended,
        Ok(Signal::Verification { state }) => return Ok(Act::Verified { state }),
        Ok(Signal::StreamUpdated { status, reason }) => {
            let short = |text: String| text.chars().take(256).collect::<String>();
            let (status, reason) = (short(status), reason.map(short));
            return Ok(Act::Noted(json!({ "status": status, "reason": reason })));
        }
        Ok(Signal::Other) => return Ok(Act::Noted(json!("nothing to do"))),
        Err(why) => return Ok(Act::Refuse { subject: None, why: Refused::Unresolvable(why) }),
    };
    if !may_speak_about(it, &ended.user) {
        let why = Refused::NotItsSubject;
        return Ok(Act::Refuse { subject: Some(ended.user), why });
    }
    let Ended { user: subject, scope, reason, at: _ } = ended;
    if scope != Scope::All {
        return Ok(Act::Session { subject, scope });
    }
    Ok(Act::SignOut(Box::new(SignOut {
        actor: actor(&it.id),
        txn: fresh_txn()?,
        subject,
        tier: it.tier_ceiling,
        reason,
        only: None,
        idempotency_key: None,
        digest: None,
        at_device: None,
        // Its own rate bounds it.
        limit: DeviceLimit::NONE,
        good_for_ms: hub.order_good_for_ms(),
    })))
}

/// Whether a transmitter may speak about a subject. A name that only two sides understand is
/// nobody's to speak about.
fn may_speak_about(it: &Transmitter, subject: &Subject) -> bool {
    let within = |address: &str| {
        address.rsplit_once('@').is_some_and(|(_, domain)| {
            it.domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
        })
    };
    match subject {
        Subject::Email { email } => within(email),
        Subject::Account { uri } => within(uri),
        Subject::IssSub { iss, .. } => it.issuers.contains(iss),
        Subject::Opaque { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::Tier;

    #[test]
    fn a_transmitter_speaks_only_about_its_own_issuers_and_domains() {
        let it = Transmitter {
            id: "t".into(),
            issuer: "https://idp.example".into(),
            aud: "hub".into(),
            jwks: None,
            jwks_uri: None,
            issuers: vec!["https://idp.example".into()],
            domains: vec!["corp.example".into()],
            tier_ceiling: Tier::SignOut,
            rate_per_hour: 1,
            token: None,
        };
        let may = |text: &str| may_speak_about(&it, &Subject::parse(text).unwrap());
        assert!(may("a@corp.example") && may("acct:a@corp.example"));
        assert!(may("https://idp.example|u1"));
        for other in
            ["a@sub.corp.example", "a@corp.example.evil", "https://other.example|u1", "alice"]
        {
            assert!(!may(other), "{other}");
        }
    }
}
