//! `exeunt-warden once`: one containment of one home, with no service and no hub.
//!
//! It refuses the caller's own home, a session that was not named, and tier purge from anybody but
//! root.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use exeunt_catalogue::Catalogue;
use exeunt_domain::order::Demand;
use exeunt_domain::receipt::Mode;
use exeunt_domain::{Authority, Outcome, Tier, Txn};
use exeunt_engine::ports::{Clock as _, Journal, JournalError, JournalRecord};
use exeunt_engine::{Chain, Device, Plan, Survey};
use exeunt_host::clock::SystemClock;
use exeunt_host::keychain::SessionBus;
use exeunt_host::locker::DesktopSession;
use exeunt_ssf::SigningKey;
use serde_json::json;

use crate::config::Config;
use crate::confine::Launcher;
use crate::contain::{Means, Watch, contain, sign};
use crate::machine::{Machine, Whose, catalogue};
use crate::show;

/// How long the trimming of free space gets after the receipt.
const TRIMMED_WITHIN: Duration = Duration::from_secs(10);

/// Contain one home, once.
#[derive(Debug, Args)]
pub(crate) struct Once {
    /// The home to contain. Never your own.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// How much ends: lock, sign-out, or, for root alone, purge.
    #[arg(long, default_value = "sign-out")]
    tier: Tier,
    /// List what is there and touch nothing.
    #[arg(long, conflicts_with = "preview")]
    survey: bool,
    /// Say what would happen and touch nothing.
    #[arg(long)]
    preview: bool,
    /// Lock this screen too, such as `:1` or `wayland-1`, and clear the keyring of the bus found
    /// there.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Clear the keyring behind this D-Bus address.
    #[arg(long, value_name = "ADDR")]
    bus: Option<String>,
    /// Settings. Default: /etc/exeunt/warden.toml when it is there.
    #[arg(long, value_name = "FILE", env = "EXEUNT_WARDEN_CONFIG")]
    config: Option<PathBuf>,
    /// Take this opt-in keyring rule too, as APP/RULE: more than the session goes with it.
    #[arg(long, value_name = "APP/RULE")]
    include: Vec<String>,
    /// End everything of the home's owner, the session too, so that the machine can go to the next
    /// person. For root.
    #[arg(long)]
    hand_over: bool,
    /// Words for the receipt.
    #[arg(long)]
    reason: Option<String>,
    /// One line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs it; the exit code follows the outcome.
///
/// # Errors
/// Anything that stopped it before a receipt was signed.
pub(crate) fn run(once: &Once) -> anyhow::Result<u8> {
    if once.tier == Tier::Purge && !rustix::process::geteuid().is_root() {
        bail!("tier purge is for root at this machine alone. Use --tier sign-out");
    }
    if once.hand_over {
        if !rustix::process::geteuid().is_root() {
            bail!("--hand-over is for root: it ends every process of the account");
        }
        if once.tier == Tier::Lock {
            bail!("--hand-over needs --tier sign-out or purge");
        }
    }
    if once.tier == Tier::Lock && once.session.is_none() {
        bail!("--tier lock needs --session: `once` touches no session that was not named");
    }
    let launcher = Launcher::start()?;
    crate::confine::drop_network()?;
    let whose = whose(once)?;
    let catalogue = catalogue()?;
    check_include(&catalogue, &once.include)?;
    let quarantine = tempdir_beside(&whose)?;
    if once.survey || once.preview {
        let machine = Machine::open(&whose, &quarantine, &launcher)?;
        let host = machine.host(&NoJournal, &|_| {});
        let survey = Survey::take(&catalogue, &host);
        let text = if once.survey {
            show::survey(&survey.reports(), &machine.reported(), once.json)?
        } else {
            let mut plan = Plan::draft(survey, once.tier);
            plan.look_for_residue(&host);
            let closes = plan.closes(&host);
            show::preview(&show::preview_of(&plan, closes), once.json)?
        };
        return print(&text).map(|()| 0);
    }
    let key = SigningKey::generate()?;
    let now = SystemClock.now();
    let demand = Demand {
        txn: Txn::parse(exeunt_ssf::new_id(now)?)?,
        authority: Authority::LocalRequest {
            uid: rustix::process::getuid().as_raw(),
            surface: "once".into(),
        },
        tier: once.tier,
        subject: None,
        reason: once.reason.clone(),
        hand_over: once.hand_over,
    };
    let mode = if rustix::process::geteuid().is_root() { Mode::Installed } else { Mode::User };
    let means = Means {
        catalogue: &catalogue,
        launcher: &launcher,
        quarantine: &quarantine,
        device: Device {
            name: "unenrolled",
            audience: "unenrolled",
            key: &key,
            pinned: false,
            mode,
        },
    };
    let observe = |moment: &exeunt_engine::ports::Moment| show::progress(moment, once.json);
    let accepted = SystemClock.instant();
    let watch = Watch { remarks: Vec::new(), journal: &NoJournal, observe: &observe };
    let whose = [whose];
    let checked = contain(&means, &whose, demand, accepted, &watch)?;
    let receipt = sign(&means, checked, &Chain::default())?;
    let jwk = serde_json::to_value(key.jwk())?;
    let text = show::closed(&receipt, json!({ "jwk": jwk }), once.json)?;
    print(&text)?;
    // Ending now would end the trimming; the receipt is out, and nobody waits for it.
    if !exeunt_host::disks::await_trims(TRIMMED_WITHIN) {
        tracing::warn!("free space was not trimmed to the end");
    }
    Ok(exit_code(receipt.body.outcome))
}

fn exit_code(outcome: Outcome) -> u8 {
    outcome.exit_code()
}

fn whose(once: &Once) -> anyhow::Result<Whose> {
    let mut whose = Whose::of_home(&once.home)?;
    whose.include.clone_from(&once.include);
    let own = rustix::process::geteuid();
    let mode = if own.is_root() { Mode::Installed } else { Mode::User };
    let config = Config::load(once.config.as_deref())?;
    whose.locker = config.wishes(&config.policy, mode);
    if !own.is_root() && own.as_raw() != whose.account.uid {
        bail!("{} belongs to another user: run this as root", once.home.display());
    }
    if let Some(display) = &once.session {
        let session = DesktopSession::discover(&whose.account)?;
        if !session.is_on(display) {
            bail!("that user has no live process on display {display}");
        }
        whose.bus = session.bus.as_deref().and_then(|bus| SessionBus::parse(bus).ok());
        whose.session = Some(session);
    }
    if let Some(address) = &once.bus {
        whose.bus = Some(SessionBus::parse(address).context("--bus")?);
    }
    Ok(whose)
}

/// Every rule that `--include` names must be there, and be one that asks to be named.
fn check_include(catalogue: &Catalogue, include: &[String]) -> anyhow::Result<()> {
    let rules = catalogue.apps().iter().flat_map(|app| {
        let opt_in = app.keyring.iter().filter(|rule| rule.opt_in);
        opt_in.map(move |rule| format!("{}/{}", app.id, rule.id))
    });
    let known: Vec<String> = rules.collect();
    if let Some(unknown) = include.iter().find(|name| !known.contains(name)) {
        bail!("--include {unknown}: no opt-in keyring rule has that name");
    }
    Ok(())
}

/// Where the quarantine is looked for first: the state directory of whoever runs this.
fn tempdir_beside(whose: &Whose) -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(crate::INSTALLED_STATE.into());
    }
    let state = whose.account.home.join(".local/state/exeunt");
    Ok(state)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
}

/// `once` has no state of its own to journal into: a crash is told by the missing receipt.
pub(crate) struct NoJournal;

impl Journal for NoJournal {
    fn record(&self, _: &JournalRecord) -> Result<(), JournalError> {
        Ok(())
    }
}
