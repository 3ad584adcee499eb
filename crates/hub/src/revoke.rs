//! Sign-out by an operator, and the state of a transaction as it changes.
//!
//! It refuses tier `purge`: that is proposed, and carried out when enough approvers signed it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use exeunt_api::{CannotEnd, Role, SignOutRequest, SignOutResponse, TxnState};
use exeunt_domain::{Tier, Txn};
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;

use crate::http::{ApiError, Json, Named};
use crate::oauth::{Admin, Agent};
use crate::registry::subject;
use crate::sequencer::now;
use crate::store::command::{EndScope, Retry, Scope, SignOut};
use crate::store::{Command, Reply, StoreError};
use crate::{Hub, connectors};

/// `POST /v1/sign-out`: durable before the answer; with `preview`, nothing is touched.
///
/// # Errors
/// [`ApiError`]; 403 for whoever may act on one subject only and names a device or an application.
pub async fn sign_out(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(mut ask): Json<SignOutRequest>,
) -> Result<Json<SignOutResponse>, ApiError> {
    let tier = ask.tier.unwrap_or(Tier::SignOut);
    refuse_purge(tier)?;
    if ask.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.chars().count() > 256) {
        return Err(ApiError::invalid("the idempotency key has 1 to 256 characters"));
    }
    let of_subject = ask.subject.take();
    let (subject_text, scope) = whom(of_subject, &mut ask)?;
    let Some(text) = subject_text else {
        return end_scope(&hub, admin, scope, tier, ask).await;
    };
    let preview = ask.preview;
    let command = SignOut {
        actor: admin.actor,
        txn: fresh_txn()?,
        subject: subject(&text)?,
        tier,
        reason: reason(ask.reason)?,
        only: ask.device,
        idempotency_key: ask.idempotency_key,
        digest: ask.digest,
        cannot: cannot(&hub, tier),
        playbook: None,
        at_device: None,
        limit: hub.limits.devices,
        good_for_ms: hub.order_good_for_ms(),
    };
    if preview {
        let (subject, everywhere) = (command.subject.clone(), command.only.is_none());
        let shown = hub.views.read(move |view| view.preview(&command)).await??;
        let (federated, not_listed) = if everywhere && tier != Tier::Lock {
            connectors::listed(&hub, &subject).await
        } else {
            Default::default()
        };
        return Ok(Json(SignOutResponse { federated, not_listed, ..shown.into() }));
    }
    signed_out(&hub, Command::SignOut(command)).await
}

/// Whose, or what: exactly one.
fn whom(
    subject: Option<String>,
    ask: &mut SignOutRequest,
) -> Result<(Option<String>, Option<Scope>), ApiError> {
    match (subject, ask.session.take(), ask.application.take(), &ask.device) {
        (Some(subject), None, None, _) => Ok((Some(subject), None)),
        (None, Some(session), None, None) => {
            let fine = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            if !(16..=64).contains(&session.len()) || !session.chars().all(fine) {
                let say = "session is 16 to 64 hexadecimal digits, as lists show it";
                return Err(ApiError::invalid(say));
            }
            Ok((None, Some(Scope::Session(session))))
        }
        (None, None, Some(aud), None) => {
            if aud.is_empty() || aud.chars().count() > 256 || aud.chars().any(char::is_control) {
                return Err(ApiError::invalid("application is an audience"));
            }
            Ok((None, Some(Scope::Application(aud))))
        }
        (None, None, None, Some(device)) => Ok((None, Some(Scope::Device(device.clone())))),
        (None, None, None, None)
        | (Some(_), Some(_), _, _)
        | (Some(_), _, Some(_), _)
        | (None, Some(_), Some(_), _)
        | (None, Some(_), _, Some(_))
        | (None, _, Some(_), Some(_)) => {
            let say = "exactly one of subject, session, application and device says what ends; \
                device also goes with subject";
            Err(ApiError::invalid(say))
        }
    }
}

async fn end_scope(
    hub: &Hub,
    admin: Admin,
    scope: Option<Scope>,
    tier: Tier,
    ask: SignOutRequest,
) -> Result<Json<SignOutResponse>, ApiError> {
    let Some(scope) = scope else {
        return Err(ApiError::internal("a sign-out of nobody and nothing"));
    };
    if tier != Tier::SignOut {
        return Err(ApiError::invalid("a lock is about one subject: name it"));
    }
    let one_person = matches!(scope, Scope::Session(_));
    let may = |role: &Role| matches!(role, Role::Responder | Role::Administrator);
    if !one_person && !admin.roles.iter().any(may) {
        let say = "this reaches more than one subject, and needs one of the roles responder, \
            administrator";
        return Err(ApiError::forbidden(say));
    }
    if ask.preview {
        let shown = hub.views.read(move |view| view.preview_scope(&scope)).await?;
        return Ok(Json(shown?.into()));
    }
    let command = EndScope {
        actor: admin.actor,
        txn: fresh_txn()?,
        scope,
        reason: ask.reason,
        idempotency_key: ask.idempotency_key,
        digest: ask.digest,
        limit: hub.limits.devices,
        good_for_ms: hub.order_good_for_ms(),
    };
    signed_out(hub, Command::EndScope(command)).await
}

/// Has a sign-out carried out, and answers what it ended.
///
/// # Errors
/// [`ApiError`].
pub async fn signed_out(hub: &Hub, command: Command) -> Result<Json<SignOutResponse>, ApiError> {
    match hub.sequencer.submit(command).await?.reply? {
        Reply::SignedOut(done) => Ok(Json((*done).into())),
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
pub(crate) fn cannot(hub: &Hub, tier: Tier) -> Vec<CannotEnd> {
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

/// `POST /v1/txn/{txn}/retry`: asks again the devices and identity providers that failed, under the
/// same transaction; answers how it stands then. Where none failed, nothing happens.
///
/// # Errors
/// [`ApiError`]; 409 for a transaction that was cancelled.
pub async fn retry(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<Json<TxnState>, ApiError> {
    let (limit, good_for_ms) = (hub.limits.devices, hub.order_good_for_ms());
    let command = Retry { actor: admin.actor, txn: txn.clone(), limit, good_for_ms };
    hub.sequencer.submit(Command::Retry(command)).await?.reply?;
    Ok(Json(state(&hub, txn).await?))
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
