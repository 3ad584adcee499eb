//! What devices say: SETs signed by their wardens, pushed by their agents (RFC 8935).
//!
//! It refuses a SET that the pushing agent's own device did not sign.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::{Progress, SessionEstablished, SignOutRequested, StoresReturned};
use exeunt_domain::ReceiptBody;
use exeunt_domain::order::{
    PROGRESS_EVENT, RECEIPT_EVENT, SESSION_ESTABLISHED_EVENT, SIGN_OUT_REQUESTED_EVENT,
    STORES_RETURNED_EVENT,
};
use exeunt_domain::session::SessionHash;
use exeunt_ssf::{Expected, Jwks, VerifiedSet};

use crate::Hub;
use crate::http::{Compact, NotAccepted, SetRefused};
use crate::oauth::Agent;
use crate::revoke::refuse_purge;
use crate::sequencer::now;
use crate::store::command::{
    AtDevice, DeviceLimit, DeviceSession, Progressed, Received, Returned, SignOut, Source,
};
use crate::store::{AHEAD_MS, Command};

/// How far a device's clock may run ahead of the hub's before a SET of its counts as from a time
/// to come, in seconds. Devices keep poor time, and nothing is judged by theirs.
const AHEAD_SECS: u64 = AHEAD_MS / 1000;
/// At most so many stores of one such SET are noted.
const MOST_RETURNED: usize = 100;
/// The first moment a SET of ours can be from: 2020, in seconds.
const EARLIEST_SECS: u64 = 1_577_836_800;

/// `POST /ssf/events`: 202 once what the SET says is durable, and 202 for a repeat.
///
/// # Errors
/// [`NotAccepted`]: 400 in the RFC's shape when the SET is refused for good.
pub async fn push(
    State(hub): State<Arc<Hub>>,
    agent: Agent,
    Compact(compact): Compact,
) -> Result<StatusCode, NotAccepted> {
    let outcome = take(&hub, &agent, &compact).await;
    if let Err(NotAccepted::Set(refused)) = &outcome {
        let jti = exeunt_ssf::read_unverified(&compact).map(|set| set.jti.to_string());
        let jti = jti.unwrap_or_default();
        tracing::warn!(device = %agent.device, jti, ?refused, "a SET was refused");
    }
    outcome.map(|()| StatusCode::ACCEPTED)
}

async fn take(hub: &Hub, agent: &Agent, compact: &str) -> Result<(), NotAccepted> {
    let set = verified(hub, agent, compact)?;
    let from = Source { device: agent.device.clone(), epoch: agent.epoch, jti: set.jti.clone() };
    let command = match set.event_type() {
        RECEIPT_EVENT => receipt(hub, &set, from)?,
        STORES_RETURNED_EVENT => returned(&set, from)?,
        PROGRESS_EVENT => progress(&set, from)?,
        SESSION_ESTABLISHED_EVENT => session(hub, &set, from)?,
        SIGN_OUT_REQUESTED_EVENT => sign_out(hub, &set, from)?,
        other => {
            let say = format!("this hub takes no {other} events from devices");
            return Err(SetRefused::new("invalid_request", say).into());
        }
    };
    // A receipt is proof however late it comes, and is known by itself for ever.
    if set.event_type() != RECEIPT_EVENT {
        remembered(hub, set.iat)?;
    }
    hub.sequencer.submit(command).await?.reply?;
    Ok(())
}

/// Refuses a SET from before what this hub remembers to have seen.
///
/// # Errors
/// [`SetRefused`].
pub fn remembered(hub: &Hub, iat: u64) -> Result<(), SetRefused> {
    if iat < hub.limits.keep.oldest(now()).as_secs() {
        let say = "iat lies before what this hub remembers to have seen: is the clock right?";
        return Err(SetRefused::new("invalid_request", say));
    }
    Ok(())
}

/// A SET that the agent's own device signed.
///
/// # Errors
/// [`NotAccepted`] for any other.
pub fn verified(hub: &Hub, agent: &Agent, compact: &str) -> Result<VerifiedSet, NotAccepted> {
    let device = hub.shared.device(&agent.device);
    let device = device.ok_or_else(|| SetRefused::new("access_denied", "no such device"))?;
    let expected =
        Expected { issuer: Some(agent.device.to_string()), audience: hub.issuer.clone() };
    let set = exeunt_ssf::verify(compact.trim(), &Jwks::of(&device.device_key), &expected)?;
    if set.iat < EARLIEST_SECS || set.iat > now().as_secs() + AHEAD_SECS {
        return Err(SetRefused::new("invalid_request", "iat is not of this time").into());
    }
    Ok(set)
}

/// Claims that name a transaction agree with the SET's own `txn`, when it has one.
fn agrees(set: &VerifiedSet, txn: &exeunt_domain::Txn) -> Result<(), NotAccepted> {
    match &set.txn {
        Some(named) if named != txn => {
            Err(SetRefused::new("invalid_request", "two transactions in one SET").into())
        }
        Some(_) | None => Ok(()),
    }
}

fn receipt(hub: &Hub, set: &VerifiedSet, from: Source) -> Result<Command, NotAccepted> {
    let body: ReceiptBody = set.event_as(RECEIPT_EVENT)?;
    agrees(set, &body.txn)?;
    let compact = set.compact().to_owned();
    let expected = &hub.expect_coverage;
    let unexpected_coverage = !expected.is_empty() && !expected.contains(&body.coverage);
    Ok(Command::Receipt(Received { from, compact, body: Box::new(body), unexpected_coverage }))
}

fn returned(set: &VerifiedSet, from: Source) -> Result<Command, NotAccepted> {
    let claims: StoresReturned = set.event_as(STORES_RETURNED_EVENT)?;
    agrees(set, &claims.after)?;
    if claims.epoch != from.epoch {
        return Err(SetRefused::new("access_denied", "this enrolment is over").into());
    }
    let StoresReturned { after, at, subject, contains, mut stores, .. } = claims;
    stores.truncate(MOST_RETURNED);
    Ok(Command::Returned(Returned { from, after, at, subject, stores, contains }))
}

fn progress(set: &VerifiedSet, from: Source) -> Result<Command, NotAccepted> {
    let claims: Progress = set.event_as(PROGRESS_EVENT)?;
    agrees(set, &claims.txn)?;
    if claims.epoch != from.epoch {
        return Err(SetRefused::new("access_denied", "this enrolment is over").into());
    }
    Ok(Command::Progress(Progressed { from, txn: claims.txn, outcome: claims.outcome }))
}

fn session(hub: &Hub, set: &VerifiedSet, from: Source) -> Result<Command, NotAccepted> {
    let claims: SessionEstablished = set.event_as(SESSION_ESTABLISHED_EVENT)?;
    let session = SessionHash::of(from.device.as_str(), &claims.session_id);
    Ok(Command::DeviceSession(DeviceSession {
        from,
        subject: claims.subject,
        session,
        kind: claims.kind,
        proof: claims.proof,
        since: claims.since,
        ended: claims.ended,
        good_for_ms: hub.order_good_for_ms(),
    }))
}

fn sign_out(hub: &Hub, set: &VerifiedSet, from: Source) -> Result<Command, NotAccepted> {
    let claims: SignOutRequested = set.event_as(SIGN_OUT_REQUESTED_EVENT)?;
    agrees(set, &claims.txn)?;
    if let Err(error) = refuse_purge(claims.tier) {
        return Err(SetRefused::new("access_denied", error.message()).into());
    }
    let session = SessionHash::of(from.device.as_str(), &claims.session);
    Ok(Command::SignOut(SignOut {
        actor: format!("device:{}", from.device),
        txn: claims.txn,
        subject: claims.subject,
        tier: claims.tier,
        reason: claims.reason.map(|reason| reason.chars().take(1024).collect()),
        only: None,
        idempotency_key: None,
        digest: None,
        cannot: Vec::new(),
        playbook: None,
        limit: DeviceLimit::NONE,
        at_device: Some(AtDevice { from, session, per_hour: hub.limits.requests_per_hour }),
        good_for_ms: hub.order_good_for_ms(),
    }))
}
