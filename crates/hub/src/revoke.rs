//! Sign-out by an operator, and the state of a transaction as it changes.
//!
//! It refuses tier `purge`: that is proposed, and carried out when enough approvers signed it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use exeunt_api::{CannotEnd, SignOutRequest, SignOutResponse, TxnState};
use exeunt_domain::{Tier, Txn};
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;

use crate::Hub;
use crate::http::{ApiError, Json, Named};
use crate::oauth::{Admin, Agent};
use crate::registry::subject;
use crate::sequencer::now;
use crate::store::command::SignOut;
use crate::store::{Command, Reply, StoreError};

/// `POST /v1/sign-out`: durable before the answer; with `preview`, nothing is touched.
///
/// # Errors
/// [`ApiError`].
pub async fn sign_out(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<SignOutRequest>,
) -> Result<Json<SignOutResponse>, ApiError> {
    let tier = ask.tier.unwrap_or(Tier::SignOut);
    refuse_purge(tier)?;
    if ask.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.chars().count() > 256) {
        return Err(ApiError::invalid("the idempotency key has 1 to 256 characters"));
    }
    let command = SignOut {
        actor: admin.actor,
        txn: fresh_txn()?,
        subject: subject(&ask.subject)?,
        tier,
        reason: reason(ask.reason)?,
        only: ask.device,
        idempotency_key: ask.idempotency_key,
        digest: ask.digest,
        at_device: None,
        limit: hub.limits.devices,
        good_for_ms: hub.order_good_for_ms(),
    };
    if ask.preview {
        let shown = hub.views.read(move |view| view.preview(&command)).await?;
        return Ok(Json(SignOutResponse { cannot: cannot(&hub, tier), ..shown?.into() }));
    }
    match hub.sequencer.submit(Command::SignOut(command)).await?.reply? {
        Reply::SignedOut(done) => {
            Ok(Json(SignOutResponse { cannot: cannot(&hub, tier), ..(*done).into() }))
        }
        Reply::Done
        | Reply::Repeated
        | Reply::Unresolved
        | Reply::Registered(_)
        | Reply::Proposal(_)
        | Reply::Enrolled { .. } => {
            Err(ApiError::internal("a sign-out answered as something else"))
        }
    }
}

/// Words for the record, if they are short enough.
///
/// # Errors
/// [`ApiError`] 400.
pub fn reason(words: Option<String>) -> Result<Option<String>, ApiError> {
    if words.as_ref().is_some_and(|words| words.chars().count() > 1024) {
        return Err(ApiError::invalid("the reason is over 1,024 characters"));
    }
    Ok(words)
}

/// What identity providers keep alive after a sign-out.
fn cannot(hub: &Hub, tier: Tier) -> Vec<CannotEnd> {
    if tier == Tier::Lock {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (place, one) in hub.connectors.all() {
        for gap in one.settings.connector().does_not_cover() {
            let (what, until) = (gap.what.to_owned(), gap.how_long.to_owned());
            all.push(CannotEnd { place: place.clone(), what, until });
        }
    }
    all
}

/// Refuses what needs a quorum.
///
/// # Errors
/// [`ApiError`] 403 `tier_refused`.
pub fn refuse_purge(tier: Tier) -> Result<(), ApiError> {
    match tier {
        Tier::Lock | Tier::SignOut => Ok(()),
        Tier::Purge => {
            let say = "purge needs a quorum of approvers";
            let error = ApiError::new(StatusCode::FORBIDDEN, "tier_refused", say);
            Err(error
                .hint("propose it: `exeunt admin sign-out --tier purge`, or POST /v1/proposals"))
        }
    }
}

/// `POST /v1/txn/{txn}/cancel`: expect nothing further. What was revoked stays revoked.
///
/// # Errors
/// [`ApiError`].
pub async fn cancel(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<StatusCode, ApiError> {
    let command = Command::Cancel { actor: admin.actor, txn };
    hub.sequencer.submit(command).await?.reply?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/txn/{txn}`: how a transaction stands, for an operator.
///
/// # Errors
/// [`ApiError`].
pub async fn txn(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<Json<TxnState>, ApiError> {
    Ok(Json(state(&hub, txn).await?))
}

/// `GET /v1/device/txn/{txn}`: how a transaction stands, for a device that is a target of it.
///
/// # Errors
/// [`ApiError`]; 404 also when the device is no target, so that it learns nothing.
pub async fn device_txn(
    State(hub): State<Arc<Hub>>,
    agent: Agent,
    Named(txn): Named<Txn>,
) -> Result<Json<TxnState>, ApiError> {
    let found = hub.views.read(move |view| view.txn(&txn, Some(&agent.device))).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("no such transaction of this device"))
}

/// `GET /v1/txn/{txn}/events`: server-sent events, one state a change, until every target's
/// outcome is final.
///
/// # Errors
/// [`ApiError`].
pub async fn follow(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    // Listening before looking: no change falls in between.
    let changes = hub.shared.txns();
    let first = state(&hub, txn.clone()).await?;
    let stopping = hub.stopping.clone();
    let follower = Follower { hub, txn, changes, stopping, next: Some(first), last: None };
    let events = futures_util::stream::unfold(follower, Follower::step);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A fresh transaction name.
///
/// # Errors
/// [`ApiError`] when the system gives no randomness.
pub fn fresh_txn() -> Result<Txn, ApiError> {
    let id = exeunt_ssf::new_id(now()).map_err(|_| ApiError::internal("no randomness"))?;
    Txn::parse(id).map_err(|_| ApiError::internal("a fresh id is no id"))
}

async fn state(hub: &Hub, txn: Txn) -> Result<TxnState, ApiError> {
    let found = hub.views.read(move |view| view.txn(&txn, None)).await?;
    found.ok_or_else(|| ApiError::not_found("no such transaction"))
}

struct Follower {
    hub: Arc<Hub>,
    txn: Txn,
    changes: tokio::sync::broadcast::Receiver<Txn>,
    stopping: tokio::sync::watch::Receiver<bool>,
    /// A state that was read and not sent.
    next: Option<TxnState>,
    /// The state that was sent last.
    last: Option<TxnState>,
}

impl Follower {
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.last.as_ref().is_some_and(TxnState::is_final) {
            return None;
        }
        let state = match self.next.take() {
            Some(state) => state,
            None => self.changed().await?,
        };
        let event = Event::default().event("txn").json_data(&state).ok()?;
        self.last = Some(state);
        Some((Ok(event), self))
    }

    /// The next state that differs from the last one sent; None when the hub stops or cannot read.
    async fn changed(&mut self) -> Option<TxnState> {
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(txn) if txn != self.txn => continue,
                    // Having missed some, look.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
            let txn = self.txn.clone();
            let read: Result<_, StoreError> =
                self.hub.views.read(move |view| view.txn(&txn, None)).await;
            let state = read.ok()??;
            if self.last.as_ref() != Some(&state) {
                return Some(state);
            }
        }
    }
}
