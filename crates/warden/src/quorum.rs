//! Whether enough of the pinned approvers agreed to what a SET of the hub demands of this device.
//!
//! It refuses approvals of anything but that SET's own transaction, device and deadline.

use exeunt_domain::{Act, Kid, Quorum, Timestamp, Txn};
use exeunt_ipc::message::Failure;

use crate::event::Enrolment;

/// The act that was approved, and by whom.
///
/// # Errors
/// [`Failure`] with `access_denied`, saying what is missing.
pub(crate) fn approved<'a>(
    quorum: &'a Quorum,
    enrolment: &Enrolment,
    txn: Option<&Txn>,
    deadline: Timestamp,
) -> Result<(&'a Act, Vec<Kid>), Failure> {
    let proposal = &quorum.proposal;
    if proposal.hub != enrolment.issuer {
        return Err(denied("the approvals are for another hub"));
    }
    if Some(&proposal.txn) != txn {
        return Err(denied("the approvals are for another transaction"));
    }
    if !proposal.targets.include(&enrolment.member()) {
        return Err(denied("the approvals are for other devices"));
    }
    // Whoever holds the hub's key may sign around old approvals, but not change when they were asked for.
    if enrolment.since.is_some_and(|since| proposal.proposed < since) {
        return Err(denied("the approvals are older than this enrolment"));
    }
    if proposal.deadline != deadline {
        return Err(denied("the approvals are for another deadline"));
    }
    let agreed = exeunt_ssf::agreed(enrolment.approvers.as_ref(), quorum)
        .map_err(|error| denied(&error.to_string()))?;
    Ok((&proposal.act, agreed.into_iter().collect()))
}

/// What receipts and logs say of who agreed.
pub(crate) fn by(approvers: &[Kid]) -> String {
    let names: Vec<&str> = approvers.iter().map(Kid::as_str).collect();
    format!("approved by {}", names.join(" and "))
}

/// A refusal for want of a quorum.
pub(crate) fn denied(message: &str) -> Failure {
    Failure { code: "access_denied".into(), message: message.into(), hint: None }
}
