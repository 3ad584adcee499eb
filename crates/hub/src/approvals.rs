//! Approvers, proposals and approvals: what one operator alone may not do.
//!
//! It refuses to sign for anybody: approvals are made where the approver's key is.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::{
    ApproveRequest, ApproverList, ApproverRequest, ApproverResponse, ChangeRequest, Matter,
    NewApprover, ProposalInfo, ProposalList, ProposalRequest, Role, VERSION,
};
use exeunt_domain::{Act, Targets, Txn};
use exeunt_policy::Policy;
use exeunt_ssf::PublicJwk;

use crate::Hub;
use crate::admin::named;
use crate::http::{ApiError, Json, Named};
use crate::oauth::Admin;
use crate::registry::subject;
use crate::revoke::{fresh_txn, reason};
use crate::sequencer::{Unavailable, now};
use crate::store::approval::{ApprovalCommand, Approve, By, Propose, SetApprovers, Terms, Wish};
use crate::store::{Command, Refused, Reply};

/// Seconds that an order's approvals are good for, unless asked otherwise.
const USUAL: u64 = 86_400;
/// Seconds that any approvals are good for at most, and a change's unless asked otherwise.
const LONGEST: u64 = 30 * 86_400;
/// Least seconds: approvers and devices need some.
const LEAST: u64 = 60;
/// Largest policy, in bytes.
const LARGEST_POLICY: usize = 64 << 10;

/// `GET /v1/approvers`.
///
/// # Errors
/// [`ApiError`].
pub async fn approvers(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
) -> Result<Json<ApproverList>, ApiError> {
    Ok(Json(hub.views.read(|view| view.approvers()).await?))
}

/// `POST /v1/approvers`: at once while the set is not in force, else a proposal to those in it.
///
/// # Errors
/// [`ApiError`].
pub async fn set(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<ApproverRequest>,
) -> Result<Json<ApproverResponse>, ApiError> {
    if ask.add.is_empty() && ask.remove.is_empty() && ask.needed.is_none() {
        return Err(contradiction("name whom to add, whom to remove, or how many are needed"));
    }
    let add = ask.add.into_iter().map(joining).collect::<Result<_, _>>()?;
    let needed = ask.needed.map(|needed| {
        let needed = u32::try_from(needed).ok().filter(|needed| (1..=32).contains(needed));
        needed.ok_or_else(|| ApiError::invalid("needed is between 1 and 32"))
    });
    let needed = needed.transpose()?;
    let terms = terms(&hub, &admin, ask.reason, None, LONGEST)?;
    let set = SetApprovers { add, remove: ask.remove, needed, terms };
    let proposal = submit(&hub, ApprovalCommand::Set(set)).await?;
    let set = hub.views.read(|view| view.approvers()).await?;
    Ok(Json(ApproverResponse { v: VERSION, set, proposal }))
}

fn joining(one: NewApprover) -> Result<NewApprover, ApiError> {
    let say =
        "x is the public point of an Ed25519 key: copy what `exeunt admin approver init` said";
    let key = PublicJwk::from_x(&one.x).map_err(|_| contradiction(say))?;
    Ok(NewApprover { name: named("name", one.name)?, x: key.x().to_owned() })
}

/// `POST /v1/proposals`: an order that needs a quorum; with `preview`, nothing is kept.
///
/// # Errors
/// [`ApiError`].
pub async fn propose(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<ProposalRequest>,
) -> Result<Json<ProposalInfo>, ApiError> {
    let targets = targets(&ask)?;
    let user = ask.subject.as_deref().map(subject).transpose()?;
    if user.is_none() && targets.is_none() {
        return Err(contradiction("name a subject, or the devices, group or tenant, or everyone"));
    }
    let terms = terms(&hub, &admin, ask.reason, ask.good_for_s, USUAL)?;
    let propose = Propose { terms, wish: Wish::Order { tier: ask.tier, user, targets } };
    answer(&hub, propose, ask.preview).await
}

fn targets(ask: &ProposalRequest) -> Result<Option<Targets>, ApiError> {
    let devices = (!ask.devices.is_empty())
        .then(|| Targets::Devices { ids: ask.devices.iter().cloned().collect() });
    let group = ask.group.clone().map(|name| Targets::Group { name });
    let tenant = ask.tenant.clone().map(|name| Targets::Tenant { name });
    let everyone = ask.everyone.then_some(Targets::Everyone);
    let mut named = [devices, group, tenant, everyone].into_iter().flatten();
    let targets = named.next();
    if named.next().is_some() {
        return Err(contradiction("name one of devices, group, tenant and everyone"));
    }
    if ask.devices.len() > 64 {
        return Err(ApiError::invalid("at most 64 devices are named one by one: name their group"));
    }
    Ok(targets)
}

/// `POST /v1/changes`: a change of what enrolments fixed, or of the devices' policy.
///
/// # Errors
/// [`ApiError`].
pub async fn change(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<ChangeRequest>,
) -> Result<Json<ProposalInfo>, ApiError> {
    let (act, matter) = match (ask.orders_per_hour, ask.policy, ask.hub_key) {
        (Some(limit), None, false) => {
            let limit = u32::try_from(limit).ok().filter(|limit| (1..=10_000).contains(limit));
            let say = "orders_per_hour is between 1 and 10,000";
            let orders_per_hour = limit.ok_or_else(|| ApiError::invalid(say))?;
            (Act::OrderLimit { orders_per_hour }, Matter::default())
        }
        (None, Some(text), false) => policy(text)?,
        (None, None, true) => fresh_key(&hub).await?,
        (None, None, false)
        | (Some(_), Some(_), _)
        | (Some(_), None, true)
        | (None, Some(_), true) => {
            return Err(contradiction("name one thing that is to change"));
        }
    };
    let terms = terms(&hub, &admin, ask.reason, ask.good_for_s, LONGEST)?;
    answer(&hub, Propose { terms, wish: Wish::Change { act, matter } }, false).await
}

/// A key that waits in the data directory. Without approvers in force none is made.
async fn fresh_key(hub: &Arc<Hub>) -> Result<(Act, Matter), ApiError> {
    if hub.views.read(|view| view.approvers()).await?.needed.is_none() {
        return Err(Refused::NoApprovers.into());
    }
    let held = Arc::clone(hub);
    let made = tokio::task::spawn_blocking(move || held.keys.generate(&held.data)).await;
    let key = match made {
        Ok(Ok(key)) => key,
        Ok(Err(error)) => {
            tracing::error!(%error, "no key could be made");
            return Err(Unavailable::Failed.into());
        }
        Err(_) => return Err(ApiError::internal("a key was not made")),
    };
    let act = Act::HubKeys { keys: [key.kid().clone()].into() };
    Ok((act, Matter { hub_key: Some(key.x().to_owned()), ..Matter::default() }))
}

fn policy(text: String) -> Result<(Act, Matter), ApiError> {
    if text.len() > LARGEST_POLICY {
        return Err(ApiError::invalid("the policy is over 65,536 bytes"));
    }
    Policy::parse("policy", &text).map_err(|error| contradiction(&error.to_string()))?;
    let act = Act::Policy { sha256: Policy::digest(&text) };
    Ok((act, Matter { policy: Some(text), ..Matter::default() }))
}

async fn answer(hub: &Hub, ask: Propose, preview: bool) -> Result<Json<ProposalInfo>, ApiError> {
    if preview {
        return Ok(Json(hub.views.read(move |view| view.draft(&ask, now())).await??));
    }
    let kept = submit(hub, ApprovalCommand::Propose(ask)).await?;
    kept.map(Json).ok_or_else(|| ApiError::internal("a proposal answered as something else"))
}

/// `GET /v1/proposals`: the newest, newest first.
///
/// # Errors
/// [`ApiError`].
pub async fn list(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
) -> Result<Json<ProposalList>, ApiError> {
    let proposals = hub.views.read(|view| view.proposals(now())).await?;
    Ok(Json(ProposalList { v: VERSION, proposals }))
}

/// `GET /v1/proposals/{txn}`.
///
/// # Errors
/// [`ApiError`].
pub async fn show(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<Json<ProposalInfo>, ApiError> {
    let found = hub.views.read(move |view| view.proposal(&txn, now())).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("no such proposal"))
}

/// `POST /v1/proposals/{txn}/approve`: with the last approval that it needs, it is carried out
/// before the answer.
///
/// # Errors
/// [`ApiError`].
pub async fn approve(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(txn): Named<Txn>,
    Json(ask): Json<ApproveRequest>,
) -> Result<Json<ProposalInfo>, ApiError> {
    let good_for_ms = hub.order_good_for_ms();
    let approve = Approve { by: by(&admin), txn, approval: ask.approval, good_for_ms };
    let kept = submit(&hub, ApprovalCommand::Approve(approve)).await?;
    kept.map(Json).ok_or_else(|| ApiError::internal("an approval answered as something else"))
}

/// `POST /v1/proposals/{txn}/withdraw`: by whoever proposed it, or an administrator.
///
/// # Errors
/// [`ApiError`].
pub async fn withdraw(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<StatusCode, ApiError> {
    let may_any = admin.roles.contains(&Role::Administrator);
    submit(&hub, ApprovalCommand::Withdraw { by: by(&admin), txn, may_any }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn submit(hub: &Hub, ask: ApprovalCommand) -> Result<Option<ProposalInfo>, ApiError> {
    match hub.sequencer.submit(Command::Approval(Box::new(ask))).await?.reply? {
        Reply::Proposal(info) => Ok(Some(*info)),
        Reply::Done | Reply::Repeated => Ok(None),
        Reply::Unresolved | Reply::Registered(_) | Reply::SignedOut(_) | Reply::Enrolled { .. } => {
            Err(ApiError::internal("an approval answered as something else"))
        }
    }
}

/// A request that is well formed and asks for nothing that could be.
fn contradiction(say: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "conflict", say)
}

fn by(admin: &Admin) -> By {
    By { actor: admin.actor.clone(), name: admin.name.clone() }
}

fn terms(
    hub: &Hub,
    admin: &Admin,
    words: Option<String>,
    good_for_s: Option<u64>,
    usual: u64,
) -> Result<Terms, ApiError> {
    let good_for = good_for_s.unwrap_or(usual);
    if !(LEAST..=LONGEST).contains(&good_for) {
        return Err(ApiError::invalid("good_for_s is between 60 and 2,592,000"));
    }
    Ok(Terms {
        by: by(admin),
        hub: hub.issuer.clone(),
        txn: fresh_txn()?,
        reason: reason(words)?,
        good_for_ms: good_for * 1000,
    })
}
