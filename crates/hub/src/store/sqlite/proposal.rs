//! Proposals: what needs a quorum waits here until enough approvers signed it, and is then carried
//! out in the same transaction that takes the last signature.
//!
//! It refuses an approval that is not the sender's own, of this very proposal, in time, and of
//! somebody else's demand.

use std::collections::BTreeSet;

use exeunt_api::{ApprovedBy, Matter, ProposalInfo, ProposalStatus, Reach, VERSION};
use exeunt_domain::approval::USUAL_QUORUM;
use exeunt_domain::{Act, Approval, Kid, Proposal, Quorum, Targets, Tier, Timestamp, Txn};
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::words::{id, meaning, object};
use super::{Done, Note, Stop, Work, approver, change, wide};
use crate::store::approval::{ApprovalCommand, Approve, By, Terms, Wish};
use crate::store::{Refused, Reply, StoreError};

/// Most proposals in one list.
const LISTED: usize = 100;
/// Most devices that a reach names.
const NAMED: usize = 100;

pub(super) fn carry_out(work: &mut Work<'_>, ask: &ApprovalCommand) -> Result<Done, Stop> {
    match ask {
        ApprovalCommand::Set(ask) => approver::set(work, ask),
        ApprovalCommand::Propose(ask) => propose(work, &ask.terms, &ask.wish),
        ApprovalCommand::Approve(ask) => approve(work, ask),
        ApprovalCommand::Withdraw { by, txn, may_any } => withdraw(work, by, txn, *may_any),
    }
}

/// What the audit says of a refusal.
pub(super) fn note_of_refusal(ask: &ApprovalCommand) -> Note {
    match ask {
        ApprovalCommand::Set(ask) => Note::new(&ask.terms.by.actor, "approvers-refused"),
        ApprovalCommand::Propose(ask) => {
            Note::new(&ask.terms.by.actor, "proposal-refused").under(&ask.terms.txn)
        }
        ApprovalCommand::Approve(ask) => {
            Note::new(&ask.by.actor, "approval-refused").under(&ask.txn)
        }
        ApprovalCommand::Withdraw { by, txn, .. } => {
            Note::new(&by.actor, "withdrawal-refused").under(txn)
        }
    }
}

/// Keeps a proposal.
///
/// # Errors
/// [`Stop`].
pub(super) fn propose(work: &mut Work<'_>, terms: &Terms, wish: &Wish) -> Result<Done, Stop> {
    let info = drafted(work.db, terms, wish, work.now)?;
    work.db
        .prepare_cached(
            "INSERT INTO proposals (txn, seq, proposal, digest, reason, everywhere, matter, status,
               needed, reach) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', ?8, ?9)",
        )?
        .execute(params![
            terms.txn.as_str(),
            work.seq,
            text(&info.proposal)?,
            info.digest,
            terms.reason,
            is_everywhere(wish),
            text(&info.matter)?,
            info.needed,
            text(&info.reach)?
        ])?;
    let note = Note::new(&terms.by.actor, "proposed")
        .under(&terms.txn)
        .because(terms.reason.clone())
        .with(json!({
            "act": info.proposal.act, "targets": info.proposal.targets, "digest": info.digest,
            "deadline": info.proposal.deadline, "devices": info.reach.devices,
        }));
    let note = Note { subject: subject_of(&info.proposal), ..note };
    Ok(Done::noted(Reply::Proposal(Box::new(info)), note))
}

/// What would be kept, touching nothing.
///
/// # Errors
/// [`Stop`].
pub(super) fn drafted(
    db: &Connection,
    terms: &Terms,
    wish: &Wish,
    now: Timestamp,
) -> Result<ProposalInfo, Stop> {
    let set = approver::list(db)?;
    let needed = set.needed.ok_or(Refused::NoApprovers)?;
    let (targets, act, matter) = match wish {
        Wish::Order { tier, user, targets } => {
            let targets = match (targets, user) {
                (Some(targets), _) => targets.clone(),
                (None, Some(subject)) => wide::devices_of(db, subject)?,
                (None, None) => return Err(Refused::Unsound("nobody and nothing is named").into()),
            };
            (targets, Act::Order { tier: *tier, user: user.clone() }, Matter::default())
        }
        Wish::Change { act, matter } => (Targets::Everyone, act.clone(), matter.clone()),
    };
    if let Targets::Devices { ids } = &targets
        && wide::members(db, &targets, now)?.len() != ids.len()
    {
        return Err(Refused::UnknownDevice.into());
    }
    let own = set.approvers.iter().find(|one| one.name == terms.by.name);
    let proposal = Proposal {
        hub: terms.hub.clone(),
        txn: terms.txn.clone(),
        targets,
        act,
        requester: terms.by.actor.clone(),
        requester_key: own.map(|one| one.kid.clone()),
        proposed: now,
        deadline: now.plus_ms(terms.good_for_ms),
    };
    let digest = exeunt_ssf::approval::digest(&proposal)?;
    let reach = reach(db, &proposal, is_everywhere(wish))?;
    if matches!(wish, Wish::Order { .. }) && reach.devices == 0 {
        return Err(Refused::NobodyThere.into());
    }
    let (status, reason, approvals) = (ProposalStatus::Open, terms.reason.clone(), Vec::new());
    Ok(ProposalInfo {
        v: VERSION,
        proposal,
        digest,
        status,
        reason,
        needed,
        approvals,
        reach,
        matter,
    })
}

fn is_everywhere(wish: &Wish) -> bool {
    matches!(wish, Wish::Order { targets: None, .. })
}

fn reach(db: &Connection, proposal: &Proposal, everywhere: bool) -> Result<Reach, Stop> {
    let devices = wide::members(db, &proposal.targets, proposal.proposed)?;
    let sessions = match &proposal.act {
        Act::Order { tier: Tier::Lock, .. }
        | Act::Policy { .. }
        | Act::HubKeys { .. }
        | Act::Approvers(_)
        | Act::OrderLimit { .. } => 0,
        Act::Order { user, tier: Tier::SignOut | Tier::Purge } => {
            wide::sessions_at(db, user.as_ref(), &devices, everywhere)?.len() as u64
        }
    };
    let (count, named) = (devices.len() as u64, devices.into_iter().take(NAMED).collect());
    Ok(Reach { devices: count, named, sessions })
}

fn withdraw(work: &mut Work<'_>, by: &By, txn: &Txn, may_any: bool) -> Result<Done, Stop> {
    let mut kept = kept(work.db, txn)?.ok_or(Refused::UnknownProposal)?;
    if !may_any && kept.info.proposal.requester != by.actor {
        return Err(Refused::NotYours.into());
    }
    match kept.info.status {
        ProposalStatus::Withdrawn => return Ok(Done::silent(Reply::Repeated)),
        ProposalStatus::Committed => return Err(Refused::Decided("was carried out").into()),
        ProposalStatus::Open | ProposalStatus::Lapsed => {}
    }
    decide(work, txn, ProposalStatus::Withdrawn, &kept.info.reach)?;
    kept.info.status = ProposalStatus::Withdrawn;
    let note = Note::new(&by.actor, "proposal-withdrawn").under(txn);
    Ok(Done::noted(Reply::Proposal(Box::new(kept.info)), note))
}

fn decide(work: &Work<'_>, txn: &Txn, status: ProposalStatus, reach: &Reach) -> Result<(), Stop> {
    work.db
        .prepare_cached("UPDATE proposals SET status = ?2, reach = ?3 WHERE txn = ?1")?
        .execute(params![txn.as_str(), status.as_str(), text(reach)?])?;
    Ok(())
}

fn approve(work: &mut Work<'_>, ask: &Approve) -> Result<Done, Stop> {
    let mut kept = kept(work.db, &ask.txn)?.ok_or(Refused::UnknownProposal)?;
    let set = approver::list(work.db)?;
    let kid = approving(&kept, &set, ask)?;
    if let Some(refused) = not_open(&kept.info, &kid, work.now) {
        return refused;
    }
    work.db
        .prepare_cached(
            "INSERT INTO approvals (txn, kid, name, approval, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            ask.txn.as_str(),
            kid.as_str(),
            ask.by.name,
            text(&ask.approval)?,
            work.now.0
        ])?;
    kept.info.approvals.push(ApprovedBy { name: ask.by.name.clone(), kid, at: work.now });
    kept.approvals.push(ask.approval.clone());
    kept.info.needed = set.needed.unwrap_or(USUAL_QUORUM);
    let quorum = Quorum { proposal: kept.info.proposal.clone(), approvals: kept.approvals.clone() };
    let Ok(agreed) = exeunt_ssf::agreed(approver::pinned(&set).as_ref(), &quorum) else {
        let note = Note::new(&ask.by.actor, "approved").under(&ask.txn).with(json!({
            "digest": kept.info.digest, "approvals": kept.info.approvals,
            "needed": kept.info.needed,
        }));
        return Ok(Done::noted(Reply::Proposal(Box::new(kept.info)), note));
    };
    commit(work, ask, kept, quorum, &agreed)
}

/// The key that approves, if it may.
fn approving(kept: &Kept, set: &exeunt_api::ApproverList, ask: &Approve) -> Result<Kid, Stop> {
    let proposal = &kept.info.proposal;
    let kid = exeunt_ssf::approver(&ask.approval, proposal)
        .map_err(|error| Refused::BadApproval(error.to_string()))?;
    let holder = set.approvers.iter().find(|one| one.kid == kid);
    let holder = holder.filter(|_| set.needed.is_some()).ok_or(Refused::NotAnApprover)?;
    if holder.name != ask.by.name {
        return Err(Refused::NotYourKey.into());
    }
    if proposal.requester == ask.by.actor || proposal.requester_key.as_ref() == Some(&kid) {
        return Err(Refused::OwnProposal.into());
    }
    Ok(kid)
}

/// What to answer when nothing is left to approve.
fn not_open(info: &ProposalInfo, kid: &Kid, now: Timestamp) -> Option<Result<Done, Stop>> {
    let again = info.approvals.iter().any(|one| one.kid == *kid);
    let refuse = |what| Some(Err(Refused::Decided(what).into()));
    match info.status {
        ProposalStatus::Withdrawn => refuse("was taken back"),
        ProposalStatus::Open | ProposalStatus::Committed if again => {
            Some(Ok(Done::silent(Reply::Proposal(Box::new(info.clone())))))
        }
        ProposalStatus::Committed => refuse("was carried out"),
        ProposalStatus::Lapsed => refuse("has lapsed"),
        ProposalStatus::Open if info.proposal.deadline <= now => refuse("has lapsed"),
        ProposalStatus::Open => None,
    }
}

/// Enough agree: it is carried out here and now.
fn commit(
    work: &mut Work<'_>,
    ask: &Approve,
    mut kept: Kept,
    quorum: Quorum,
    agreed: &BTreeSet<Kid>,
) -> Result<Done, Stop> {
    let by: Vec<_> =
        kept.info.approvals.iter().filter(|one| agreed.contains(&one.kid)).cloned().collect();
    kept.info.reach = reach(work.db, &kept.info.proposal, kept.everywhere)?;
    let enacted = Enacted {
        quorum: &quorum,
        info: &kept.info,
        everywhere: kept.everywhere,
        by: &by,
        good_for_ms: ask.good_for_ms,
    };
    let mut done = match &kept.info.proposal.act {
        Act::Order { tier, user } => wide::order(work, &enacted, *tier, user.as_ref())?,
        Act::Policy { .. } | Act::HubKeys { .. } | Act::Approvers(_) | Act::OrderLimit { .. } => {
            change::enact(work, &enacted)?
        }
    };
    decide(work, &ask.txn, ProposalStatus::Committed, &kept.info.reach)?;
    kept.info.status = ProposalStatus::Committed;
    done.reply = Reply::Proposal(Box::new(kept.info));
    Ok(done)
}

/// A proposal that enough approved.
pub(super) struct Enacted<'a> {
    pub(super) quorum: &'a Quorum,
    pub(super) info: &'a ProposalInfo,
    /// A subject's sign-out everywhere, and not only at the targets.
    pub(super) everywhere: bool,
    /// Who agreed.
    pub(super) by: &'a [ApprovedBy],
    pub(super) good_for_ms: u64,
}

impl Enacted<'_> {
    /// What the audit says: who asked, who agreed, to what.
    pub(super) fn note(&self, action: &'static str, more: serde_json::Value) -> Note {
        let proposal = &self.info.proposal;
        let mut detail = json!({
            "act": proposal.act, "targets": proposal.targets, "digest": self.info.digest,
            "devices": self.info.reach.devices, "approvers": self.by,
        });
        if let (Some(detail), serde_json::Value::Object(more)) = (detail.as_object_mut(), more) {
            detail.extend(more);
        }
        let note = Note::new(&proposal.requester, action)
            .under(&proposal.txn)
            .because(self.info.reason.clone())
            .with(detail);
        Note { subject: subject_of(proposal), ..note }
    }
}

fn subject_of(proposal: &Proposal) -> Option<String> {
    match &proposal.act {
        Act::Order { user, .. } => user.as_ref().map(exeunt_domain::Subject::key),
        Act::Policy { .. } | Act::HubKeys { .. } | Act::Approvers(_) | Act::OrderLimit { .. } => {
            None
        }
    }
}

/// A proposal as it is kept.
struct Kept {
    info: ProposalInfo,
    everywhere: bool,
    approvals: Vec<Approval>,
}

const COLUMNS: &str = "proposal, digest, reason, everywhere, matter, status, needed, reach, txn";

fn kept(db: &Connection, txn: &Txn) -> Result<Option<Kept>, StoreError> {
    let mut find = db.prepare_cached(&format!("SELECT {COLUMNS} FROM proposals WHERE txn = ?1"))?;
    let mut rows = find.query([txn.as_str()])?;
    rows.next()?.map(|row| read(db, row)).transpose()
}

fn read(db: &Connection, row: &Row<'_>) -> Result<Kept, StoreError> {
    let (proposal, matter, reach): (String, String, String) =
        (row.get(0)?, row.get(4)?, row.get(7)?);
    let txn: String = row.get(8)?;
    let mut find = db.prepare_cached(
        "SELECT name, kid, at, approval FROM approvals WHERE txn = ?1 ORDER BY at, kid",
    )?;
    let mut rows = find.query([&txn])?;
    let (mut by, mut approvals) = (Vec::new(), Vec::new());
    while let Some(one) = rows.next()? {
        let approval: String = one.get(3)?;
        by.push(ApprovedBy {
            name: one.get(0)?,
            kid: id(one.get(1)?)?,
            at: Timestamp(one.get(2)?),
        });
        approvals.push(object(&approval)?);
    }
    let info = ProposalInfo {
        v: VERSION,
        proposal: object(&proposal)?,
        digest: row.get(1)?,
        status: meaning(row.get(5)?)?,
        reason: row.get(2)?,
        needed: row.get(6)?,
        approvals: by,
        reach: object(&reach)?,
        matter: object(&matter)?,
    };
    Ok(Kept { info, everywhere: row.get(3)?, approvals })
}

/// One proposal as it stands at `now`.
///
/// # Errors
/// [`StoreError`].
pub(super) fn one(
    db: &Connection,
    txn: &Txn,
    now: Timestamp,
) -> Result<Option<ProposalInfo>, StoreError> {
    Ok(kept(db, txn)?.map(|kept| at(kept.info, now)))
}

/// The newest proposals.
///
/// # Errors
/// [`StoreError`].
pub(super) fn newest(db: &Connection, now: Timestamp) -> Result<Vec<ProposalInfo>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM proposals ORDER BY seq DESC LIMIT {LISTED}");
    let mut find = db.prepare_cached(&sql)?;
    let mut rows = find.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(at(read(db, row)?.info, now));
    }
    Ok(all)
}

fn at(mut info: ProposalInfo, now: Timestamp) -> ProposalInfo {
    if info.status == ProposalStatus::Open && info.proposal.deadline <= now {
        info.status = ProposalStatus::Lapsed;
    }
    info
}

fn text(of: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(of).map_err(|error| StoreError::Damaged(format!("a proposal: {error}")))
}
