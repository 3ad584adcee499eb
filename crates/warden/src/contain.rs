//! One containment from demand to receipt, by the engine's chain of stages.
//!
//! It refuses to sign anything that was not looked at again.

use std::path::Path;

use exeunt_catalogue::Catalogue;
use exeunt_domain::order::Demand;
use exeunt_domain::{Instant, Jti, StepReport};
use exeunt_engine::ports::{Clock as _, Journal, Moment};
use exeunt_engine::{Chain, Checked, Device, Plan, Receipt, Survey, issue};
use exeunt_host::clock::SystemClock;

use crate::confine::Launcher;
use crate::machine::{Machine, Whose};

/// What a containment needs beside its demand.
pub(crate) struct Means<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) launcher: &'a Launcher,
    pub(crate) quarantine: &'a Path,
    pub(crate) device: Device<'a>,
}

/// Contains accounts, one after the other, and looks again.
///
/// `accepted` is when the demand was taken; `remarks` are sentences for the receipt.
///
/// # Errors
/// The home cannot be opened.
pub(crate) fn contain(
    means: &Means<'_>,
    whose: &[Whose],
    demand: Demand,
    accepted: Instant,
    watch: &Watch<'_>,
) -> anyhow::Result<Checked> {
    let mut whole: Option<Checked> = None;
    for account in whose {
        let checked = contain_one(means, account, demand.clone(), accepted, watch)?;
        whole = Some(match whole {
            Some(others) => others.joined(checked),
            None => checked,
        });
    }
    let now = SystemClock.now();
    let nothing = || Checked::nothing_here(demand, now, "no account to contain".into());
    Ok(whole.unwrap_or_else(nothing))
}

/// Signs what was found, as the next receipt of `chain`.
///
/// # Errors
/// The receipt cannot be signed.
pub(crate) fn sign(means: &Means<'_>, checked: Checked, chain: &Chain) -> anyhow::Result<Receipt> {
    let now = SystemClock.now();
    let jti = Jti::parse(exeunt_ssf::new_id(now)?)?;
    Ok(issue(checked, means.catalogue, &means.device, chain, jti, now)?)
}

/// Who is told while it runs, and what the receipt must say beside.
pub(crate) struct Watch<'a> {
    pub(crate) remarks: Vec<String>,
    pub(crate) journal: &'a dyn Journal,
    pub(crate) observe: &'a (dyn Fn(&Moment) + Sync),
}

fn contain_one(
    means: &Means<'_>,
    whose: &Whose,
    demand: Demand,
    accepted: Instant,
    watch: &Watch<'_>,
) -> anyhow::Result<Checked> {
    let machine = Machine::open(whose, means.quarantine, means.launcher)?;
    let host = machine.host(watch.journal, watch.observe);
    let clock = machine.clock();
    let before = clock.instant();
    let mut remarks = watch.remarks.clone();
    let left = machine.sweep();
    if left > 0 {
        remarks.push(format!("{left} files of an interrupted containment were erased first"));
    }
    let survey = Survey::take(means.catalogue, &host);
    let surveyed = clock.instant();
    let first = StepReport {
        step: "survey".into(),
        ms: surveyed.ms_since(before),
        at_ms: surveyed.ms_since(accepted),
        error: None,
        detail: None,
    };
    let armed = Plan::draft(survey, demand.tier).arm(demand, clock, accepted);
    Ok(armed.execute(&host, remarks, vec![first]).check(means.catalogue, &host))
}
