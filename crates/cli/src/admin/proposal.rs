//! `exeunt admin proposal`, `exeunt admin change`, and what people read of a proposal.
//!
//! It refuses to call a proposal done: until enough approved it, nothing has happened.

use exeunt_api::{ChangeRequest, ProposalInfo, ProposalList, ProposalRequest, path};
use exeunt_domain::{Act, Targets, Tier};
use serde_json::json;

use super::credentials::load;
use crate::args::admin::SignOut;
use crate::args::approval::{Change, Proposal, Terms};
use crate::fault::Fault;
use crate::out::{Out, ago, count, now};

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Proposal) -> Result<u8, Fault> {
    let hub = load()?;
    match command {
        Proposal::List => {
            let list: ProposalList = hub.get(path::PROPOSALS, &[]).await?;
            out.answer(serde_json::to_value(&list)?, || list_words(&list))?;
        }
        Proposal::Show { txn } => {
            let info: ProposalInfo = hub.get(&path::proposal(&txn), &[]).await?;
            out.answer(serde_json::to_value(&info)?, || proposal_words(&info))?;
        }
        Proposal::Withdraw { txn } => {
            hub.order(&path::withdraw(&txn)).await?;
            let said = json!({ "withdrawn": txn });
            out.answer(said, || format!("Proposal {txn} is taken back; nothing was done."))?;
        }
    }
    Ok(0)
}

/// Proposes a change.
pub(crate) async fn change(out: Out, command: Change) -> Result<u8, Fault> {
    let with = |terms: Terms| ChangeRequest {
        reason: terms.reason,
        good_for_s: terms.good_for,
        ..ChangeRequest::default()
    };
    let request = match command {
        Change::Limit { orders_per_hour, terms } => {
            ChangeRequest { orders_per_hour: Some(orders_per_hour), ..with(terms) }
        }
        Change::HubKey { terms } => ChangeRequest { hub_key: true, ..with(terms) },
        Change::Policy { file, terms } => {
            let text = crate::receipt::read(&file)?;
            ChangeRequest { policy: Some(text), ..with(terms) }
        }
    };
    let info: ProposalInfo = load()?.post(path::CHANGES, &request).await?;
    told(out, &info, false)
}

/// Whether a sign-out as it was typed needs a quorum.
pub(crate) fn needs_quorum(typed: &SignOut) -> bool {
    typed.tier == Tier::Purge
        || (typed.subject.is_none() && !is_scope(typed))
        || typed.device.len() > 1
        || typed.group.is_some()
        || typed.tenant.is_some()
        || typed.everyone
}

/// What ends at once, at the hub, though it names no subject.
fn is_scope(typed: &SignOut) -> bool {
    typed.session.is_some() || typed.at.is_some() || typed.application.is_some()
}

/// Proposes the sign-out, or shows what would be proposed.
pub(crate) async fn propose(out: Out, typed: SignOut) -> Result<u8, Fault> {
    let only_now = [
        (typed.follow, "--follow"),
        (typed.digest.is_some(), "--digest"),
        (typed.idempotency_key.is_some(), "--idempotency-key"),
    ];
    if let Some((_, flag)) = only_now.iter().find(|(given, _)| *given) {
        let say =
            format!("{flag} goes with a sign-out that you may give alone; this is a proposal");
        let hint = "once it is approved: `exeunt admin txn show TXN --follow`";
        return Err(Fault::usage(say).hint(hint));
    }
    let preview = typed.preview;
    let request = ProposalRequest {
        subject: typed.subject.map(|subject| subject.key()),
        tier: typed.tier,
        devices: typed.device,
        group: typed.group,
        tenant: typed.tenant,
        everyone: typed.everyone,
        reason: typed.reason,
        good_for_s: typed.good_for,
        preview,
    };
    let info: ProposalInfo = load()?.post(path::PROPOSALS, &request).await?;
    told(out, &info, preview)
}

fn told(out: Out, info: &ProposalInfo, preview: bool) -> Result<u8, Fault> {
    out.answer(serde_json::to_value(info)?, || {
        let what = proposal_words(info);
        if preview {
            format!("{what}\nNothing was proposed, and nothing was touched.")
        } else {
            format!("{what}\n{}", waits_words(info))
        }
    })?;
    Ok(0)
}

/// What has to happen next.
pub(crate) fn waits_words(info: &ProposalInfo) -> String {
    let txn = &info.proposal.txn;
    format!(
        "Nothing is done yet: {} needed, and not yours. Each approver says\n  \
         exeunt admin approve {txn}",
        count(number(info.needed.into()), "approval")
            + if info.needed == 1 { " is" } else { " are" }
    )
}

fn list_words(list: &ProposalList) -> String {
    if list.proposals.is_empty() {
        return "Nothing was proposed.".into();
    }
    let lines = list.proposals.iter().map(|info| {
        format!(
            "{}  {:<9} {} of {}  {}, {}",
            info.proposal.txn,
            info.status.as_str(),
            info.approvals.len(),
            info.needed,
            act_words(&info.proposal.act),
            targets_words(&info.proposal.targets)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything that an approver should look at.
pub(crate) fn proposal_words(info: &ProposalInfo) -> String {
    let proposal = &info.proposal;
    let mut lines = vec![
        format!("Proposal {}: {}", proposal.txn, info.status.as_str()),
        format!("  what      {}", act_words(&proposal.act)),
        format!("  where     {}", targets_words(&proposal.targets)),
        format!(
            "  reaches   {} and {}",
            count(number(info.reach.devices), "device"),
            count(number(info.reach.sessions), "live session")
        ),
        format!("  asked by  {}, {}", proposal.requester, ago(proposal.proposed, now())),
        format!("  until     {}", left(proposal.deadline.since_ms(now()) / 1000)),
        format!("  hub       {}", proposal.hub),
        format!("  digest    {}", info.digest),
    ];
    lines.extend(info.reason.as_ref().map(|words| format!("  reason    {words}")));
    let have = format!("  approved  {} of {}", info.approvals.len(), info.needed);
    lines.push(have);
    lines
        .extend(info.approvals.iter().map(|one| format!("            {} ({})", one.name, one.kid)));
    for one in &info.matter.approvers {
        lines.push(format!("  approver  {} {}", one.name, one.x));
    }
    if let Some(text) = &info.matter.policy {
        lines.push("  policy".into());
        lines.extend(text.lines().map(|line| format!("    | {line}")));
    }
    lines.join("\n")
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn left(seconds: u64) -> String {
    match seconds {
        0 => "its deadline has passed".into(),
        1..120 => format!("{seconds} s from now"),
        120..7200 => format!("{} min from now", seconds / 60),
        7200..172_800 => format!("{} h from now", seconds / 3600),
        _ => format!("{} days from now", seconds / 86_400),
    }
}

fn act_words(act: &Act) -> String {
    match act {
        Act::Order { tier, user: Some(user) } => format!("{tier} of {user}"),
        Act::Order { tier, user: None } => format!("{tier} of whoever is there"),
        Act::Policy { sha256 } => format!("another policy ({})", &sha256[..sha256.len().min(12)]),
        Act::HubKeys { keys } => {
            let keys: Vec<_> = keys.iter().map(exeunt_domain::Kid::as_str).collect();
            format!("a new key of the hub: {}", keys.join(", "))
        }
        Act::Approvers(set) => format!("other approvers: {} of {}", set.needed, set.keys.len()),
        Act::OrderLimit { orders_per_hour } => {
            format!("{orders_per_hour} orders an hour on the hub's word alone")
        }
    }
}

fn targets_words(targets: &Targets) -> String {
    match targets {
        Targets::Devices { ids } => {
            let names: Vec<_> = ids.iter().map(exeunt_domain::DeviceId::as_str).collect();
            format!("at {}", names.join(", "))
        }
        Targets::Group { name } => format!("at every device of the group {name}"),
        Targets::Tenant { name } => format!("at every device of the tenant {name}"),
        Targets::Everyone => "at every device".into(),
    }
}
