//! This device: status, survey, preview, close, everywhere, lock.
//!
//! It refuses to end anything that was not shown first, unless told not to ask.

mod all_users;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use exeunt_domain::receipt::LockReport;
use exeunt_domain::{Outcome, StoreReport, Tier, Txn, Verdict};
use exeunt_ipc::message::{
    AgentAnswer, AgentRequest, Closed, HubLink, Preview, Progress, Reported, WardenAnswer,
    WardenRequest, WardenStatus,
};
use exeunt_ipc::{AgentClient, CodecError, Sockets, WardenClient};
use serde_json::{Value, json};

use crate::args;
use crate::fault::{EXIT_PARTIAL, Fault};
use crate::home::once;
use crate::out::{Out, ago, count, now};

const SURFACE: &str = "cli";
/// How long the warden may take for what ends nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Asks the warden one question.
pub(crate) fn ask(request: WardenRequest) -> Result<WardenAnswer, Fault> {
    let mut warden = WardenClient::connect(&Sockets::here().warden)?;
    warden.answer_within(Some(ANSWER_WITHIN))?;
    Ok(warden.ask(request)?)
}

/// The fault that an unfitting answer stands for.
pub(crate) fn not_that(answer: WardenAnswer) -> Fault {
    if let WardenAnswer::Failed(failure) = answer {
        failure.into()
    } else {
        Fault::new("internal", "the warden answered another question")
            .hint("are exeunt and exeunt-warden of one release?")
    }
}

/// Asks the agent one question.
pub(crate) fn ask_agent(request: AgentRequest) -> Result<AgentAnswer, Fault> {
    let mut agent = AgentClient::connect(&Sockets::here().agent)?;
    agent.answer_within(Some(ANSWER_WITHIN))?;
    Ok(agent.ask(request)?)
}

/// How the agent's link to the hub stands.
pub(crate) fn hub_link() -> Result<HubLink, Fault> {
    match ask_agent(AgentRequest::Status)? {
        AgentAnswer::Status(link) => Ok(link),
        AgentAnswer::Failed(failure) => Err(failure.into()),
        AgentAnswer::Sessions { .. } | AgentAnswer::Txn(_) => {
            Err(Fault::new("internal", "the agent answered another question"))
        }
    }
}

/// `exeunt status`.
pub(crate) fn status(out: Out) -> Result<u8, Fault> {
    let answer = ask(WardenRequest::Status)?;
    let WardenAnswer::Status(status) = answer else { return Err(not_that(answer)) };
    let link = hub_link().ok();
    let mut object = serde_json::to_value(&status)?;
    object["link"] = serde_json::to_value(&link)?;
    out.answer(object, || status_words(&status, link.as_ref()))?;
    Ok(0)
}

fn status_words(status: &WardenStatus, link: Option<&HubLink>) -> String {
    let mut words = match status.sessions.as_slice() {
        [] => format!("Nobody is signed in at {}.", status.console),
        sessions => {
            let who: Vec<String> = sessions
                .iter()
                .map(|s| format!("{}, {}", s.subject, ago(s.since, now())))
                .collect();
            format!("Signed in at {}: {}.", status.console, who.join("; "))
        }
    };
    words.push_str(match (&status.hub, link) {
        (None, _) => "\nThis device is not enrolled: closing it ends nothing elsewhere.",
        (Some(_), Some(link)) if link.reachable => "\nThe hub answers.",
        (Some(_), Some(_)) => "\nThe hub does not answer: this device can close, elsewhere cannot.",
        (Some(_), None) => "\nThe agent does not answer: nothing reaches the hub.",
    });
    if status.waiting > 0 {
        words.push_str(&format!("\nMessages that wait for the hub: {}.", status.waiting));
    }
    if let Some(txn) = &status.running {
        words.push_str(&format!("\nA containment is under way: {txn}."));
    }
    if status.mode == exeunt_domain::receipt::Mode::User {
        words.push_str("\nUser mode: no isolation from this very account is claimed.");
    }
    if let Some(last) = &status.last {
        words.push_str(&format!("\nLast closed {}: {}.", ago(last.at, now()), last.outcome));
    }
    words.push_str(&returned_words(status));
    words
}

/// What came back after the last close, and how well that is watched for.
fn returned_words(status: &WardenStatus) -> String {
    let mut words = String::new();
    if let Some(returned) = &status.returned {
        let (stores, when) = (count(returned.stores.len(), "store"), ago(returned.at, now()));
        words.push_str(&format!("\nCame back after the close, {when}: {stores}."));
        for store in &returned.stores {
            words.push_str(&format!("\n  {:<18} {:<22} {}", store.app, store.store, store.place));
        }
        words.push_str(&match &returned.contained {
            Some(txn) => format!("\n  contained again: {txn}"),
            None => "\n  not contained: run `exeunt close`".to_owned(),
        });
        if let Some(detail) = &returned.detail {
            words.push_str(&format!(" ({detail})"));
        }
    }
    if let Some(watch) = status.watch.as_ref().filter(|watch| watch.left_out > 0) {
        let why = watch.why.as_deref().unwrap_or("no reason given");
        let left = watch.left_out;
        words.push_str(&format!(
            "\nNot everything is watched ({why}): {left} directories are looked at every 30 s."
        ));
    }
    words
}

/// `exeunt survey`.
pub(crate) fn survey(out: Out, typed: &args::Survey) -> Result<u8, Fault> {
    if let Some(home) = &typed.home.home {
        return once(out, home, &["--survey"]);
    }
    if typed.all.all_users {
        return all_users::survey(out);
    }
    let answer = ask(WardenRequest::Survey)?;
    let WardenAnswer::Survey { stores, reported } = answer else {
        return Err(not_that(answer));
    };
    out.answer(json!({ "stores": stores, "reported": reported }), || {
        survey_words(&stores, &reported)
    })?;
    Ok(0)
}

fn survey_words(stores: &[StoreReport], reported: &[Reported]) -> String {
    let mut words = format!("{} of sessions here.", count(stores.len(), "store"));
    for store in stores {
        words.push_str(&format!("\n  {:<18} {:<22} {}", store.app, store.store, store.place));
    }
    if !reported.is_empty() {
        words.push_str("\nLooks like secrets, and is left to you:");
    }
    for row in reported {
        words.push_str(&format!("\n  {:<18} {} ({})", row.kind, row.place, row.count));
    }
    words
}

/// `exeunt preview`.
pub(crate) fn preview(out: Out, typed: &args::Preview) -> Result<u8, Fault> {
    if let Some(home) = &typed.home.home {
        return once(out, home, &["--preview", "--tier", typed.tier.as_str()]);
    }
    if typed.all.all_users {
        return all_users::preview(out, typed.tier);
    }
    let preview = ask_preview(typed.tier)?;
    out.answer(serde_json::to_value(&preview)?, || preview_words(&preview))?;
    Ok(0)
}

fn ask_preview(tier: Tier) -> Result<Preview, Fault> {
    let answer = ask(WardenRequest::Preview { tier })?;
    let WardenAnswer::Preview(preview) = answer else { return Err(not_that(answer)) };
    Ok(preview)
}

fn preview_words(preview: &Preview) -> String {
    let mut words = format!("{} would end:", count(preview.stores.len(), "store"));
    for end in &preview.ends {
        words.push_str(&format!("\n  ends    {} ({})", end.name, end.stores));
    }
    for name in &preview.closes {
        words.push_str(&format!("\n  closes  {name}"));
    }
    for stays in &preview.stays {
        words.push_str(&format!("\n  stays   {stays}"));
    }
    for cannot in &preview.cannot {
        words.push_str(&format!("\n  cannot  {}", cannot.what));
    }
    words
}

/// `exeunt close`.
pub(crate) fn close(out: Out, typed: &args::Close) -> Result<u8, Fault> {
    if let Some(home) = &typed.home.home {
        return close_home(out, home, typed);
    }
    if typed.all.all_users {
        return all_users::close(out, typed);
    }
    confirm(out, &typed.yes, question(typed), || ask_preview(typed.tier))?;
    let request = WardenRequest::Close {
        tier: typed.tier,
        reason: typed.reason.clone(),
        surface: SURFACE.into(),
        hand_over: typed.hand_over,
    };
    let closed = contain(out, request)?;
    out.answer(closed_json(&closed), || closed_words(&closed))?;
    Ok(closed.outcome.exit_code())
}

fn question(typed: &args::Close) -> &'static str {
    if typed.hand_over {
        "End everything of yours here, what is not saved too, and hand this device over?"
    } else {
        "Close this device?"
    }
}

fn close_home(out: Out, home: &std::path::Path, typed: &args::Close) -> Result<u8, Fault> {
    if !typed.yes.yes {
        must_ask(out)?;
        once(out, home, &["--preview", "--tier", typed.tier.as_str()])?;
        ask_yes(out, "Close this home?")?;
    }
    let mut arguments = vec!["--tier", typed.tier.as_str()];
    arguments.extend(typed.hand_over.then_some("--hand-over"));
    let named = [("--reason", &typed.reason), ("--session", &typed.session), ("--bus", &typed.bus)];
    for (flag, value) in named {
        arguments.extend(value.iter().flat_map(|value| [flag, value.as_str()]));
    }
    once(out, home, &arguments)
}

/// `exeunt everywhere`.
pub(crate) fn everywhere(out: Out, typed: &args::Everywhere) -> Result<u8, Fault> {
    // A look at the hub also wakes an agent that sits out a wait. Its absence stops nothing here.
    if let Err(fault) = hub_link() {
        out.progress(&format!("note: {}", fault.message()));
    }
    let shown = confirm(out, &typed.yes, "Sign out everywhere?", || ask_preview(Tier::SignOut))?;
    let request = WardenRequest::SignOutEverywhere {
        reason: typed.reason.clone(),
        surface: SURFACE.into(),
        digest: shown.map(|preview| preview.digest),
    };
    let closed = contain(out, request)?;
    let elsewhere = elsewhere(&closed);
    let outcome = Outcome::worst([closed.outcome, elsewhere]);
    let mut object = closed_json(&closed);
    object["device"] = json!(closed.outcome);
    object["outcome"] = json!(outcome);
    object["hub_committed"] = json!(closed.hub_committed);
    object["hub_refused"] = json!(closed.hub_refused);
    out.answer(object, || {
        let hub = match (&closed.hub_refused, closed.hub_committed) {
            (Some(why), _) => format!("Elsewhere is still signed in: the hub refused ({why})."),
            (None, true) => "Elsewhere every session is refused from now on.".to_owned(),
            (None, false) => "Elsewhere is still signed in: the hub does not answer. The revoke \
                              goes out by itself when it is back."
                .to_owned(),
        };
        format!("{}\n{hub}", closed_words(&closed))
    })?;
    Ok(outcome.exit_code())
}

fn elsewhere(closed: &Closed) -> Outcome {
    match (&closed.hub_refused, closed.hub_committed) {
        (Some(_), _) => Outcome::Refused,
        (None, true) => Outcome::Verified,
        (None, false) => Outcome::Unreachable,
    }
}

/// `exeunt lock`.
pub(crate) fn lock(out: Out, typed: &args::Lock) -> Result<u8, Fault> {
    if let Some(home) = &typed.home {
        let mut arguments = vec!["--tier", "lock"];
        arguments.extend(typed.session.iter().flat_map(|id| ["--session", id.as_str()]));
        return once(out, home, &arguments);
    }
    let answer = ask(WardenRequest::Lock)?;
    let WardenAnswer::Locked { lock } = answer else { return Err(not_that(answer)) };
    out.answer(json!({ "lock": lock }), || lock_words(&lock))?;
    Ok(match lock {
        LockReport::Proved { .. } => 0,
        LockReport::NotProved { .. } | LockReport::NotAsked => EXIT_PARTIAL,
    })
}

fn lock_words(lock: &LockReport) -> String {
    match lock {
        LockReport::Proved { how } => format!("The screen is locked, as proved: {how}."),
        LockReport::NotProved { why } => format!("The screen is NOT proved locked: {why}."),
        LockReport::NotAsked => "No session was named, so no screen was locked.".into(),
    }
}

/// Orders, and shows each step until the end.
fn contain(out: Out, request: WardenRequest) -> Result<Closed, Fault> {
    let mut warden = WardenClient::connect(&Sockets::here().warden)?;
    let mut answer = warden.ask(request)?;
    loop {
        match answer {
            WardenAnswer::Progress(progress) => {
                out.progress(&progress_words(&progress));
                answer = warden.next_answer().map_err(|error| broken_off(&error, &progress.txn))?;
            }
            WardenAnswer::Closed(closed) => return Ok(closed),
            other @ (WardenAnswer::Done
            | WardenAnswer::Uplink { .. }
            | WardenAnswer::Status(_)
            | WardenAnswer::Survey { .. }
            | WardenAnswer::Preview(_)
            | WardenAnswer::Locked { .. }
            | WardenAnswer::Sessions { .. }
            | WardenAnswer::Receipts { .. }
            | WardenAnswer::Users { .. }
            | WardenAnswer::Started { .. }
            | WardenAnswer::Policy(_)
            | WardenAnswer::Failed(_)) => return Err(not_that(other)),
        }
    }
}

/// The warden went away in the middle: its journal takes the containment up again.
fn broken_off(error: &CodecError, txn: &Txn) -> Fault {
    Fault::unreachable("interrupted", format!("the warden broke off in the middle: {error}")).hint(
        format!("it resumes by itself when it starts; then look at `exeunt receipt show {txn}`"),
    )
}

fn progress_words(progress: &Progress) -> String {
    let hub = match progress.hub_committed {
        Some(true) => ", the hub has committed",
        Some(false) => ", the hub has not committed",
        None => "",
    };
    match &progress.step {
        Some(step) => {
            let error = step.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
            format!(
                "  {:>8.1} ms  {:<10}{error} ({}{hub})",
                step.at_ms, step.step, progress.outcome
            )
        }
        None => format!("  {}{hub}", progress.outcome),
    }
}

fn closed_json(closed: &Closed) -> Value {
    json!({
        "outcome": closed.outcome, "txn": closed.txn, "stores": closed.stores,
        "steps": closed.steps, "lock": closed.lock, "receipt": closed.receipt,
    })
}

fn closed_words(closed: &Closed) -> String {
    let total = count(closed.stores.len(), "store");
    let is_dead =
        |store: &&StoreReport| matches!(store.verdict, Some(Verdict::Gone | Verdict::Unusable));
    let dead = closed.stores.iter().filter(is_dead).count();
    let mut words = match closed.outcome {
        Outcome::Verified => format!("This device is closed: {total}, looked at again."),
        Outcome::Partial => format!("This device is closed in part: {dead} of {total}. The rest:"),
        Outcome::Refused => "This device refused.".into(),
        Outcome::Unreachable
        | Outcome::Requested
        | Outcome::Delivered
        | Outcome::Fenced
        | Outcome::Contained => {
            format!("This device closed {dead} of {total}; the rest could not be looked at again:")
        }
    };
    for store in closed.stores.iter().filter(|store| !is_dead(store)) {
        let verdict = store.verdict.map_or("not looked at", Verdict::as_str);
        let detail = store.detail.as_deref().unwrap_or_default();
        words.push_str(&format!("\n  {verdict:<9} {} {} {detail}", store.app, store.place));
    }
    words.push_str(&format!("\n{}", lock_words(&closed.lock)));
    words
}

/// Shows what would end and asks. None: told not to ask.
fn confirm(
    out: Out,
    yes: &args::Yes,
    question: &str,
    preview: impl FnOnce() -> Result<Preview, Fault>,
) -> Result<Option<Preview>, Fault> {
    if yes.yes {
        return Ok(None);
    }
    must_ask(out)?;
    let preview = preview()?;
    out.progress(&preview_words(&preview));
    ask_yes(out, question)?;
    Ok(Some(preview))
}

fn must_ask(out: Out) -> Result<(), Fault> {
    if std::io::stdin().is_terminal() && !out.json {
        return Ok(());
    }
    let why = if out.json { "--json cannot ask" } else { "standard input is no terminal" };
    Err(Fault::usage(format!("this asks before it ends anything, and {why}"))
        .hint("say --yes, after a look at `exeunt preview`"))
}

/// Asks on the terminal; anything but yes ends the command.
pub(crate) fn ask_yes(out: Out, question: &str) -> Result<(), Fault> {
    must_ask(out)?;
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Fault::named("cancelled".into(), "nothing was ended".into(), None))
}
