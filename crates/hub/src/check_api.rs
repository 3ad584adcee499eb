//! The revocation check for relying services: one question, or the whole state and its changes.
//!
//! It refuses to call a sign-out verified before every running check of the service holds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{Method, Request, StatusCode};
use exeunt_check::wire::{self, CheckQuery, DeltasQuery, DeltasResponse, SnapshotResponse};
use exeunt_check::{SessionKey, SubjectHash};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionId, Subject};

use crate::Hub;
use crate::http::{ApiError, Json, Query};
use crate::oauth::{Client, bearer};
use crate::publish::lock;
use crate::registry::subject;
use crate::store::{Command, Revocations};

/// Longest long poll, in seconds: a guard hears from the hub at least so often.
const MOST_WAIT: u64 = 25;
/// A check that was silent for so long no longer runs.
const GONE: Duration = Duration::from_secs(60);
/// The name under which a service's questions to [`check`] count as one of its processes.
const ASKS_HERE: &str = "/v1/check";
/// Most processes of one service that are told apart.
const MOST_INSTANCES: usize = 1024;

/// Each process of one service: how far it is, and when it said so.
type Instances = HashMap<String, (u64, Instant)>;

/// How far each running check of each service is.
#[derive(Debug, Default)]
pub struct Guards {
    services: Mutex<HashMap<String, Instances>>,
}

impl Guards {
    /// Notes that `instance` of `client` holds `after`; the sequence that all running ones hold.
    fn reached(&self, client: &str, instance: String, after: u64) -> u64 {
        let now = Instant::now();
        let mut services = lock(&self.services);
        let instances = services.entry(client.to_owned()).or_default();
        instances.retain(|_, (_, seen)| now.duration_since(*seen) < GONE);
        if instances.len() < MOST_INSTANCES || instances.contains_key(&instance) {
            instances.insert(instance, (after, now));
        }
        instances.values().map(|(after, _)| *after).min().unwrap_or(0)
    }
}

/// `GET /v1/check?subject=&session=&issued_seq=`: 204 accepted, 401 refused.
///
/// # Errors
/// [`ApiError`].
pub async fn check(
    State(hub): State<Arc<Hub>>,
    client: Client,
    Query(ask): Query<CheckQuery>,
) -> Result<StatusCode, ApiError> {
    let id = SessionId::parse(ask.session).map_err(|e| ApiError::invalid(e.to_string()))?;
    let subject = subject(&ask.subject)?;
    let (status, held) = judge(&hub, &client.aud, &id, &subject, ask.issued_seq);
    asked_here(&hub, &client, held).await?;
    Ok(status)
}

/// The same question, when it can be answered without waiting: plain words in the query, a token
/// that is good, and no confirmation to write. None: [`check`] answers, and says what is wrong.
pub(crate) fn at_once<B>(hub: &Hub, request: &Request<B>) -> Option<StatusCode> {
    if request.method() != Method::GET || request.uri().path() != wire::CHECK {
        return None;
    }
    let ask = Plain::read(request.uri().query()?)?;
    let client = hub.tokens.service(bearer(request.headers()).ok()?)?;
    let aud = hub.shared.audience(&client)?;
    if hub.shared.has_unconfirmed(&aud) {
        return None;
    }
    let id = SessionId::parse(ask.session).ok()?;
    let (status, _) = judge(hub, &aud, &id, &subject(ask.subject).ok()?, ask.issued_seq);
    Some(status)
}

/// 204 or 401, and the sequence that was held then.
fn judge(
    hub: &Hub,
    aud: &str,
    id: &SessionId,
    subject: &Subject,
    issued_seq: u64,
) -> (StatusCode, u64) {
    let session = SessionKey::from(&SessionHash::of(aud, id));
    let subject = SubjectHash::of(subject);
    let (refused, held) = hub.shared.revocations(|state| {
        // A sequence that was never given out belongs to no session.
        let refused = !state.at_least(issued_seq)
            || issued_seq == 0
            || state.is_refused(subject, session, issued_seq).is_some();
        (refused, state.seq())
    });
    (if refused { StatusCode::UNAUTHORIZED } else { StatusCode::NO_CONTENT }, held)
}

/// A [`CheckQuery`] in which nothing is encoded.
#[derive(Debug, PartialEq, Eq)]
struct Plain<'a> {
    subject: &'a str,
    session: &'a str,
    issued_seq: u64,
}

impl<'a> Plain<'a> {
    /// None for anything but the three members, each once and each in plain words.
    fn read(query: &'a str) -> Option<Self> {
        if query.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
            return None;
        }
        let (mut subject, mut session, mut issued_seq) = (None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let earlier = match name {
                "subject" => subject.replace(value).is_some(),
                "session" => session.replace(value).is_some(),
                "issued_seq" => issued_seq.replace(value.parse().ok()?).is_some(),
                _ => return None,
            };
            if earlier {
                return None;
            }
        }
        Some(Self { subject: subject?, session: session?, issued_seq: issued_seq? })
    }
}

/// Notes a question that was answered from the hub's own state at `held`: a service that asks the
/// hub each time holds whatever the hub holds.
///
/// # Errors
/// [`ApiError`] when a confirmation cannot be written.
pub(crate) async fn asked_here(hub: &Hub, client: &Client, held: u64) -> Result<(), ApiError> {
    if !hub.shared.has_unconfirmed(&client.aud) {
        return Ok(());
    }
    let all_hold = hub.guards.reached(&client.id, ASKS_HERE.into(), held);
    confirm(hub, client, all_hold).await
}

/// `GET /v1/check/snapshot`: the whole revocation state.
///
/// # Errors
/// [`ApiError`].
pub async fn snapshot(
    State(hub): State<Arc<Hub>>,
    client: Client,
) -> Result<Json<SnapshotResponse>, ApiError> {
    let Revocations { seq, watermarks, denied } = hub.views.read(|view| view.revocations()).await?;
    // The record is ahead of memory for an instant after each commit; the deltas that the caller
    // asks for next come from memory.
    let mut head = hub.shared.head();
    let reached = head.wait_for(|head| head.seq >= seq).await.is_ok();
    if !reached {
        return Err(crate::sequencer::Unavailable::Stopped.into());
    }
    let denied = denied.into_iter().map(|(hash, seq)| (hash.to_hex(), seq)).collect();
    Ok(Json(SnapshotResponse { seq, aud: client.aud, watermarks, denied }))
}

/// `GET /v1/check/deltas?after=SEQ&wait=S&instance=NAME`: changes after `after`, by long poll; an
/// empty answer is a heartbeat. `after` also tells the hub how far this check is.
///
/// # Errors
/// [`ApiError`]; 410 `snapshot_needed` when changes after `after` are no longer kept.
pub async fn deltas(
    State(hub): State<Arc<Hub>>,
    client: Client,
    Query(ask): Query<DeltasQuery>,
) -> Result<Json<DeltasResponse>, ApiError> {
    let instance: String = ask.instance.unwrap_or_default().chars().take(64).collect();
    let all_hold = hub.guards.reached(&client.id, instance, ask.after);
    confirm(&hub, &client, all_hold).await?;
    let mut moved = hub.shared.moved();
    let mut stopping = hub.stopping.clone();
    let deadline = tokio::time::sleep(Duration::from_secs(ask.wait.min(MOST_WAIT)));
    tokio::pin!(deadline);
    let mut last = ask.wait == 0;
    loop {
        // Listening before looking: a change in between is seen as one.
        moved.mark_unchanged();
        let Some((seq, deltas)) = hub.shared.deltas(ask.after) else {
            let say = "changes after this sequence are no longer kept";
            let gone = ApiError::new(StatusCode::GONE, "snapshot_needed", say);
            return Err(gone.hint("take a snapshot and go on from there"));
        };
        if last || !deltas.is_empty() {
            return Ok(Json(DeltasResponse { after: ask.after, seq, deltas }));
        }
        tokio::select! {
            changed = moved.changed() => last = changed.is_err(),
            () = &mut deadline => last = true,
            _ = stopping.wait_for(|stopping| *stopping) => last = true,
        }
    }
}

async fn confirm(hub: &Hub, client: &Client, seq: u64) -> Result<(), ApiError> {
    if !hub.shared.take_unconfirmed(&client.aud, seq) {
        return Ok(());
    }
    let command = Command::Confirmed { aud: client.aud.clone(), seq };
    let outcome = hub.sequencer.submit(command).await;
    if outcome.is_err() {
        hub.shared.put_unconfirmed(&client.aud, seq);
    }
    outcome?.reply?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_plain_members_are_answered_at_once() {
        let plain = Plain::read("issued_seq=7&subject=alice&session=s1");
        assert_eq!(plain, Some(Plain { subject: "alice", session: "s1", issued_seq: 7 }));
        for query in [
            "",
            "subject=alice&session=s1",
            "subject=alice&session=s1&issued_seq=x",
            "subject=alice&session=s1&issued_seq=7&more=1",
            "subject=alice&subject=bob&session=s1&issued_seq=7",
            "subject=al%69ce&session=s1&issued_seq=7",
            "subject=al+ice&session=s1&issued_seq=7",
            "subject=alice&session=s1&issued_seq=7&",
        ] {
            assert_eq!(Plain::read(query), None, "{query}");
        }
    }

    #[test]
    fn a_service_holds_only_what_its_slowest_running_check_holds() {
        let guards = Guards::default();
        assert_eq!(guards.reached("site", "a".into(), 7), 7);
        assert_eq!(guards.reached("site", "b".into(), 5), 5);
        assert_eq!(guards.reached("site", "a".into(), 9), 5);
        assert_eq!(guards.reached("site", "b".into(), 9), 9);
        assert_eq!(guards.reached("other", "a".into(), 1), 1);
    }
}
