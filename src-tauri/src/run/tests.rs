use exeunt_domain::StepReport;

use super::*;
use crate::model::fixtures::{NOW, TXN, closed, txn};
use crate::view;

fn run() -> RunModel {
    RunModel::new("occ-07".into(), true, NOW, Some(4), vec![("chromium".into(), "Chromium".into())])
}

fn overall(run: &RunModel) -> Option<view::Outcome> {
    run.view(None).outcome
}

#[test]
fn is_not_over_while_a_target_elsewhere_is_moving() {
    let mut run = run();
    run.closed(closed(Outcome::Verified, true), NOW);
    assert!(!run.ended());
    run.elsewhere(txn(Outcome::Delivered), NOW);
    assert!(!run.ended());
    assert_eq!(overall(&run), None);
    run.elsewhere(txn(Outcome::Verified), NOW);
    assert!(run.ended());
    assert_eq!(overall(&run), Some(view::Outcome::Verified));
}

#[test]
fn a_target_that_never_answered_is_unreachable_until_it_does() {
    let mut run = run();
    run.closed(closed(Outcome::Verified, true), NOW);
    run.elsewhere(txn(Outcome::Requested), NOW);
    run.patience_ended(NOW);
    assert_eq!(overall(&run), Some(view::Outcome::Unreachable));
    assert!(run.may_still_hear());
    run.elsewhere(txn(Outcome::Verified), NOW);
    assert_eq!(overall(&run), Some(view::Outcome::Verified));
    assert!(!run.may_still_hear());
}

#[test]
fn without_the_hubs_commit_elsewhere_is_open_and_the_run_is_over() {
    let mut run = run();
    run.closed(closed(Outcome::Verified, false), NOW);
    let shown = run.view(Some(7));
    assert!(run.ended());
    assert_eq!(shown.outcome, Some(view::Outcome::Unreachable));
    assert_eq!(shown.commit, Commit::Queued { since_ms: Some(7) });
    assert_eq!(shown.targets[0].detail, Detail::Queued);
    assert!(run.may_still_hear(), "the queued order may still go out");
}

#[test]
fn a_committed_revoke_whose_targets_nobody_tells_is_not_verified() {
    let mut run = run();
    run.closed(closed(Outcome::Verified, true), NOW);
    run.patience_ended(NOW);
    assert_eq!(overall(&run), Some(view::Outcome::Unreachable));
}

#[test]
fn the_hubs_refusal_governs() {
    let mut run = run();
    let mut end = closed(Outcome::Verified, false);
    end.hub_refused = Some("rate limited".into());
    run.closed(end, NOW);
    assert_eq!(overall(&run), Some(view::Outcome::Refused));
    assert_eq!(run.view(None).commit, Commit::Refused { why: "rate limited".into() });
}

#[test]
fn on_this_device_alone_its_own_outcome_is_the_whole() {
    for (outcome, shown) in [
        (Outcome::Verified, view::Outcome::Verified),
        (Outcome::Partial, view::Outcome::Partial),
        (Outcome::Unreachable, view::Outcome::Unreachable),
    ] {
        let mut run = RunModel::new("occ-07".into(), false, NOW, None, Vec::new());
        run.closed(closed(outcome, false), NOW);
        assert_eq!(overall(&run), Some(shown));
        assert_eq!(run.view(None).commit, Commit::NotAsked);
    }
}

#[test]
fn sessions_are_counted_and_this_device_is_listed_once() {
    let mut run = run();
    run.closed(closed(Outcome::Verified, true), NOW.plus_ms(318));
    run.elsewhere(txn(Outcome::Verified), NOW);
    let shown = run.view(None);
    let told: Vec<_> = shown.targets.iter().map(|t| (t.kind, t.name.as_str())).collect();
    assert_eq!(
        told,
        [(TargetKind::Hub, "hub"), (TargetKind::Here, "occ-07"), (TargetKind::Device, "lt-0412")]
    );
    assert_eq!(shown.sessions, Some(4), "as many as the person was told");
    assert_eq!(shown.targets[1].took_ms, Some(318.0));
    assert_eq!(shown.targets[2].took_ms, Some(402.0));
    assert_eq!(shown.receipt.unwrap().stores[0].app, "Chromium");
}

#[test]
fn a_hub_that_lists_no_session_ends_what_it_told_before_and_owes_no_answer() {
    let mut run = run();
    run.closed(closed(Outcome::Verified, true), NOW);
    let mut state = txn(Outcome::Verified);
    state.targets.retain(|target| target.kind == "device" && target.id == "occ-07");
    run.elsewhere(state, NOW);
    let shown = run.view(None);
    assert_eq!(shown.outcome, Some(view::Outcome::Verified));
    assert_eq!(shown.sessions, Some(4));
    assert_eq!(shown.targets[0].outcome, Some(view::Outcome::Verified));
}

#[test]
fn shows_the_last_step_while_it_goes_on() {
    let mut run = run();
    let step =
        StepReport { step: "quarantine".into(), ms: 9.0, at_ms: 12.0, error: None, detail: None };
    run.progressed(
        Progress {
            txn: TXN.parse().unwrap(),
            outcome: Outcome::Fenced,
            hub_committed: None,
            step: Some(step),
        },
        NOW,
    );
    let shown = run.view(None);
    assert_eq!(shown.commit, Commit::Awaited);
    assert_eq!(shown.targets[1].outcome, Some(view::Outcome::Fenced));
    assert_eq!(shown.targets[1].detail, Detail::Step { step: "quarantine".into() });
}

#[test]
fn a_refused_request_began_nothing_and_a_broken_one_is_unknown() {
    let mut refused = run();
    let failure = Failure { code: "busy".into(), message: "Busy.".into(), hint: None };
    refused.refused(&failure, NOW);
    assert_eq!(overall(&refused), Some(view::Outcome::Refused));
    assert_eq!(refused.view(None).problem.as_deref(), Some("Busy."));

    let mut broken = run();
    broken.broke_off("closed".into(), NOW);
    assert_eq!(overall(&broken), None);
}
