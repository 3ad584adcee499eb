//! `exeunt admin approver`, `exeunt admin approve`.
//!
//! It refuses to sign what it did not show, or what the hub shows otherwise than it is signed.

use std::collections::BTreeSet;

use exeunt_api::{
    ApproveRequest, ApproverList, ApproverRequest, ApproverResponse, NewApprover, ProposalInfo,
    ProposalStatus, path,
};
use exeunt_domain::session::hex;
use exeunt_domain::{Act, Kid};
use exeunt_ssf::PublicJwk;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::approver_key::{load as own_key, make};
use super::credentials::load;
use super::proposal::{proposal_words, waits_words};
use crate::args::approval::{Approve, Approver};
use crate::device::ask_yes;
use crate::fault::Fault;
use crate::out::{Out, count};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Approver) -> Result<u8, Fault> {
    let request = match command {
        Approver::Init(key) => return init(out, key.file.as_deref()),
        Approver::List => {
            let list: ApproverList = load()?.get(path::APPROVERS, &[]).await?;
            out.answer(serde_json::to_value(&list)?, || list_words(&list))?;
            return Ok(0);
        }
        Approver::Add { name, key, reason } => {
            let point = PublicJwk::from_x(key.trim()).map_err(|_| {
                Fault::usage("this is no public key of an approver")
                    .hint("copy what their `exeunt admin approver init` printed")
            })?;
            let add = vec![NewApprover { name, x: point.x().to_owned() }];
            ApproverRequest { add, reason, ..ApproverRequest::default() }
        }
        Approver::Remove { name } => {
            ApproverRequest { remove: vec![name], ..ApproverRequest::default() }
        }
        Approver::Enact { needed } => {
            ApproverRequest { needed: Some(needed), ..ApproverRequest::default() }
        }
    };
    let said: ApproverResponse = load()?.post(path::APPROVERS, &request).await?;
    out.answer(serde_json::to_value(&said)?, || match &said.proposal {
        Some(proposal) => format!("{}\n{}", proposal_words(proposal), waits_words(proposal)),
        None => list_words(&said.set),
    })?;
    Ok(0)
}

fn init(out: Out, file: Option<&std::path::Path>) -> Result<u8, Fault> {
    let (key, kept, at) = make(file)?;
    let (public, kid) = (key.jwk().x().to_owned(), key.kid().clone());
    let made = json!({ "key": public, "kid": kid, "kept_in": kept.as_str(), "file": at });
    out.answer(made, || {
        let place = match &at {
            Some(file) => format!("in {}: keep a copy where nobody else reads it", file.display()),
            None => "in your keyring".to_owned(),
        };
        format!(
            "Your approver's key is made, and kept {place}.\n  public part  {public}\n  \
             thumbprint   {kid}\nAn administrator names it to the hub:\n  \
             exeunt admin approver add --name YOU --key {public}"
        )
    })?;
    Ok(0)
}

fn list_words(list: &ApproverList) -> String {
    if list.approvers.is_empty() {
        return "The hub knows no approver: nothing that needs a quorum can be done.\n\
                Each makes a key with `exeunt admin approver init`; name them with \
                `exeunt admin approver add`."
            .into();
    }
    let lines = list.approvers.iter().map(|one| format!("  {:<24} {}", one.name, one.kid));
    let head = match list.needed {
        Some(needed) => format!(
            "In force: {needed} of these {} must agree, and whoever asks does not count.",
            list.approvers.len()
        ),
        None => "Not in force yet: put them in force with `exeunt admin approver enact`.".into(),
    };
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
}

/// Shows a proposal, asks, signs and sends.
pub(crate) async fn approve(out: Out, typed: Approve) -> Result<u8, Fault> {
    let key = own_key(typed.key.file.as_deref())?;
    let hub = load()?;
    let info: ProposalInfo = hub.get(&path::proposal(&typed.txn), &[]).await?;
    agrees(&info)?;
    out.progress(&proposal_words(&info));
    if info.status != ProposalStatus::Open {
        let say = format!("this proposal is {}: nothing is left to approve", info.status.as_str());
        return Err(Fault::named("conflict".into(), say, None));
    }
    if !typed.yes {
        ask_yes(out, "Approve this with your key?")?;
    }
    let approval = exeunt_ssf::approve(&key, &info.proposal)
        .map_err(|error| Fault::new("key", error.to_string()))?;
    let request = ApproveRequest { approval };
    let now: ProposalInfo = hub.post(&path::approve(&typed.txn), &request).await?;
    out.answer(serde_json::to_value(&now)?, || {
        let have = count(now.approvals.len(), "approval");
        match now.status {
            ProposalStatus::Committed => format!(
                "Approved, and committed with {have}. Watch it with `exeunt admin txn show {} \
                 --follow`.",
                typed.txn
            ),
            ProposalStatus::Open | ProposalStatus::Lapsed | ProposalStatus::Withdrawn => {
                format!("Approved: {have} of {}.", now.needed)
            }
        }
    })?;
    Ok(0)
}

/// What is shown is what is signed: the digest, the policy's text, the approvers' keys.
fn agrees(info: &ProposalInfo) -> Result<(), Fault> {
    let say = |what: &str| {
        Fault::named(
            "hub_answer".into(),
            format!("the hub shows {what}: do not approve this"),
            None,
        )
    };
    let digest = exeunt_ssf::approval::digest(&info.proposal)
        .map_err(|error| Fault::new("malformed", error.to_string()))?;
    if digest != info.digest {
        return Err(say("another digest than the proposal has"));
    }
    match &info.proposal.act {
        Act::Policy { sha256 } => {
            let text = info.matter.policy.as_deref().unwrap_or_default();
            if hex(&Sha256::digest(text)) != *sha256 {
                return Err(say("another policy than is proposed"));
            }
        }
        Act::Approvers(set) => {
            let named = info.matter.approvers.iter();
            let kid = |one: &NewApprover| PublicJwk::from_x(&one.x).map(|key| key.kid().clone());
            let named: BTreeSet<Kid> = named.filter_map(|one| kid(one).ok()).collect();
            if named != set.keys {
                return Err(say("other approvers than are proposed"));
            }
        }
        Act::HubKeys { keys } => {
            let shown = info.matter.hub_key.as_deref().map(PublicJwk::from_x);
            let kid = shown.and_then(Result::ok).map(|key| key.kid().clone());
            if kid.is_none_or(|kid| *keys != BTreeSet::from([kid])) {
                return Err(say("another key than is proposed"));
            }
        }
        Act::Order { .. } | Act::OrderLimit { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_api::{Matter, Reach};
    use exeunt_domain::{Proposal, Targets, Timestamp, Txn};

    fn info(act: Act, matter: Matter) -> ProposalInfo {
        let proposal = Proposal {
            hub: "https://hub.example".into(),
            txn: Txn::parse("t1").unwrap(),
            targets: Targets::Everyone,
            act,
            requester: "admin:rita".into(),
            requester_key: None,
            proposed: Timestamp(1),
            deadline: Timestamp(2),
        };
        let digest = exeunt_ssf::approval::digest(&proposal).unwrap();
        let (status, reach) = (ProposalStatus::Open, Reach::default());
        let (needed, approvals, reason) = (2, vec![], None);
        ProposalInfo { v: 1, proposal, digest, status, reason, needed, approvals, reach, matter }
    }

    /// A hub that shows one thing and has another signed gets no signature.
    #[test]
    fn what_is_shown_otherwise_than_it_is_signed_is_refused() {
        let limit = info(Act::OrderLimit { orders_per_hour: 9 }, Matter::default());
        assert!(agrees(&limit).is_ok());
        assert!(agrees(&ProposalInfo { digest: "00".into(), ..limit }).is_err());
        let sha256 = hex(&Sha256::digest("a = 1"));
        let policy = |text: &str| Matter { policy: Some(text.into()), ..Matter::default() };
        assert!(agrees(&info(Act::Policy { sha256: sha256.clone() }, policy("a = 1"))).is_ok());
        assert!(agrees(&info(Act::Policy { sha256 }, policy("a = 2"))).is_err());
        let key = exeunt_ssf::SigningKey::generate().unwrap();
        let keys = BTreeSet::from([key.kid().clone()]);
        let set = Act::Approvers(exeunt_domain::Approvers { keys, needed: 1 });
        let named = |x: &str| Matter {
            approvers: vec![NewApprover { name: "ann".into(), x: x.into() }],
            ..Matter::default()
        };
        assert!(agrees(&info(set.clone(), named(key.jwk().x()))).is_ok());
        let other = exeunt_ssf::SigningKey::generate().unwrap();
        assert!(agrees(&info(set, named(other.jwk().x()))).is_err());
    }
}
