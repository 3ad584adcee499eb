//! Every user of this machine: `--all-users` of survey, preview and close.
//!
//! It refuses to let one user's good end speak for another's: the worst outcome governs, and each has
//! a receipt of its own.

use exeunt_domain::{Outcome, Tier};
use exeunt_ipc::message::{Closed, Preview, Started, User, WardenAnswer, WardenRequest};
use serde_json::{Value, json};

use super::{
    SURFACE, ask, ask_yes, closed_json, closed_words, contain, must_ask, not_that, preview_words,
    survey_words,
};
use crate::args;
use crate::fault::Fault;
use crate::out::Out;

/// `exeunt survey --all-users`.
pub(super) fn survey(out: Out) -> Result<u8, Fault> {
    let mut rows = Vec::new();
    let mut words = Vec::new();
    for user in users()? {
        let answer = ask(WardenRequest::SurveyUser { uid: user.uid })?;
        let WardenAnswer::Survey { stores, reported } = answer else {
            return Err(not_that(answer));
        };
        words.push(headed(&user, &survey_words(&stores, &reported)));
        rows.push(of(&user, json!({ "stores": stores, "reported": reported })));
    }
    out.answer(json!({ "users": rows }), || words.join("\n"))?;
    Ok(0)
}

/// `exeunt preview --all-users`.
pub(super) fn preview(out: Out, tier: Tier) -> Result<u8, Fault> {
    let previews = previews(tier)?;
    let rows: Result<Vec<Value>, Fault> = previews
        .iter()
        .map(|(user, preview)| Ok(of(user, serde_json::to_value(preview)?)))
        .collect();
    out.answer(json!({ "users": rows? }), || previews_words(&previews))?;
    Ok(0)
}

/// `exeunt close --all-users`.
pub(super) fn close(out: Out, typed: &args::Close) -> Result<u8, Fault> {
    if !typed.yes.yes {
        must_ask(out)?;
        out.progress(&previews_words(&previews(typed.tier)?));
        ask_yes(out, "Close all of them?")?;
    }
    let answer = ask(WardenRequest::CloseUsers {
        tier: typed.tier,
        reason: typed.reason.clone(),
        surface: SURFACE.into(),
        hand_over: typed.hand_over,
    })?;
    let WardenAnswer::Started { started } = answer else { return Err(not_that(answer)) };
    // All of them go on at once, whoever is listened to.
    let ends: Vec<(Started, Result<Closed, Fault>)> = started
        .into_iter()
        .map(|it| {
            let closed = contain(out, WardenRequest::Follow { txn: it.txn.clone() });
            (it, closed)
        })
        .collect();
    let outcome =
        Outcome::worst(ends.iter().map(|(_, closed)| {
            closed.as_ref().map_or(Outcome::Unreachable, |closed| closed.outcome)
        }));
    let rows: Vec<Value> = ends.iter().map(|(it, closed)| row(it, closed)).collect();
    out.answer(json!({ "outcome": outcome, "users": rows }), || {
        let words = ends.iter().map(|(it, closed)| match closed {
            Ok(closed) => headed(&it.user, &closed_words(closed)),
            Err(fault) => headed(&it.user, &format!("Not known: {}", fault.message())),
        });
        let mut words: Vec<String> = words.collect();
        words.push(format!("All together: {outcome}."));
        words.join("\n")
    })?;
    Ok(outcome.exit_code())
}

fn row(started: &Started, closed: &Result<Closed, Fault>) -> Value {
    match closed {
        Ok(closed) => of(&started.user, closed_json(closed)),
        Err(fault) => {
            let known = json!({
                "txn": started.txn, "outcome": Outcome::Unreachable, "error": fault.message(),
            });
            of(&started.user, known)
        }
    }
}

fn users() -> Result<Vec<User>, Fault> {
    let answer = ask(WardenRequest::Users)?;
    let WardenAnswer::Users { users } = answer else { return Err(not_that(answer)) };
    Ok(users)
}

fn previews(tier: Tier) -> Result<Vec<(User, Preview)>, Fault> {
    let previews = users()?.into_iter().map(|user| {
        let answer = ask(WardenRequest::PreviewUser { uid: user.uid, tier })?;
        let WardenAnswer::Preview(preview) = answer else { return Err(not_that(answer)) };
        Ok((user, preview))
    });
    previews.collect()
}

fn previews_words(previews: &[(User, Preview)]) -> String {
    let words = previews.iter().map(|(user, preview)| headed(user, &preview_words(preview)));
    words.collect::<Vec<_>>().join("\n")
}

fn headed(user: &User, words: &str) -> String {
    format!("{} ({}): {words}", user.name, user.uid)
}

/// An object with the user's name and number beside.
fn of(user: &User, mut object: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.insert("user".into(), user.name.clone().into());
        members.insert("uid".into(), user.uid.into());
    }
    object
}
