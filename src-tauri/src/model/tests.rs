use super::fixtures::{NOW, link, preview, sessions, status};
use super::*;
use exeunt_domain::Proof;

fn model() -> Model {
    let mut model = Model::new(Start::Status);
    model.warden_answered(status());
    model.agent_answered(link(true));
    model.hub_sessions(Some(sessions()));
    model
}

#[test]
fn knows_nothing_before_the_first_answer() {
    let view = Model::new(Start::Status).view(NOW);
    assert_eq!(view.warden, Warden::Asking);
    assert_eq!((view.hub, view.who, view.places), (Hub::Unknown, None, None));
}

#[test]
fn groups_sessions_by_place_with_this_device_first() {
    let places = model().view(NOW).places.unwrap();
    let told: Vec<_> =
        places.iter().map(|place| (place.name.as_str(), place.here, place.sessions)).collect();
    assert_eq!(told, [("occ-07", true, 2), ("lt-0412", false, 2)]);
}

#[test]
fn a_hub_that_did_not_answer_is_silent_since_its_last_answer() {
    let mut model = model();
    model.agent_answered(link(false));
    model.hub_sessions(None);
    let view = model.view(NOW);
    assert_eq!(view.hub, Hub::Silent { since_ms: Some(NOW.0 - 5000) });
    assert_eq!(view.places, None);
}

#[test]
fn an_absent_agent_makes_the_hub_silent_and_sessions_unknown() {
    let mut model = model();
    model.agent_away();
    let view = model.view(NOW);
    assert_eq!(view.hub, Hub::Silent { since_ms: None });
    assert_eq!(view.places, None);
}

#[test]
fn without_a_hub_the_order_closes_this_device_only() {
    let mut model = model();
    let mut alone = status();
    alone.hub = None;
    model.warden_answered(alone);
    assert_eq!(model.view(NOW).scope, Scope::NoHub);
    assert_eq!(model.view(NOW).hub, Hub::Unenrolled);
    let request = model.order(NOW).unwrap();
    assert!(matches!(request, message::WardenRequest::Close { .. }), "{request:?}");
}

#[test]
fn a_subject_that_only_the_local_user_asserts_ends_this_device_only() {
    let mut model = model();
    let mut asserted = status();
    asserted.sessions[0].proof = Proof::Asserted;
    model.warden_answered(asserted);
    assert_eq!(model.view(NOW).scope, Scope::NotProved);
    let request = model.order(NOW).unwrap();
    assert!(matches!(request, message::WardenRequest::Close { .. }), "{request:?}");
}

#[test]
fn the_order_carries_the_digest_of_the_plan_that_was_seen() {
    let mut model = model();
    model.preview_answered(Ok(preview()));
    let Some(message::WardenRequest::SignOutEverywhere { digest, .. }) = model.order(NOW) else {
        panic!("another request");
    };
    assert_eq!(digest.as_deref(), Some("d1"));
}

#[test]
fn a_second_press_sends_nothing_while_the_first_is_under_way() {
    let mut model = model();
    assert!(model.order(NOW).is_some());
    assert!(model.order(NOW).is_none());
}

#[test]
fn the_plan_counts_sessions_only_when_the_hub_answers() {
    let mut model = model();
    model.preview_answered(Ok(preview()));
    let PreviewState::Ready { preview: plan } = model.view(NOW).preview else { panic!("no plan") };
    assert_eq!(plan.sessions, Some(4));
    assert_eq!(plan.ends[0].sessions, Some(2));
    assert_eq!(plan.ends[0].labels, ["Chromium", "Firefox"]);
    assert_eq!(plan.ends[1].labels, ["Chrome", "claude-code"]);

    model.agent_answered(link(false));
    model.hub_sessions(None);
    let PreviewState::Ready { preview: plan } = model.view(NOW).preview else { panic!("no plan") };
    assert_eq!(plan.sessions, None);
    assert_eq!(plan.ends.len(), 1);
    assert_eq!((plan.ends[0].sessions, plan.ends[0].labels.len()), (None, 1));
    assert_eq!(plan.stores, 1);
}

#[test]
fn of_two_people_in_turn_the_later_is_shown() {
    let mut model = model();
    let mut two = status();
    let mut later = two.sessions[0].clone();
    later.subject = Subject::parse("bob@corp.example").unwrap();
    later.since = NOW;
    two.sessions.push(later);
    model.warden_answered(two);
    assert_eq!(model.view(NOW).who.unwrap().name, "bob@corp.example");
}

#[test]
fn a_lock_that_was_not_proved_is_never_shown_as_locked() {
    let mut model = model();
    model.lock_answered(Ok(LockReport::NotProved { why: "no locker".into() }), NOW);
    assert_eq!(model.view(NOW).lock, Lock::NotProved { why: "no locker".into() });
    model.lock_answered(Ok(LockReport::NotAsked), NOW);
    assert!(matches!(model.view(NOW).lock, Lock::NotProved { .. }));
    model.lock_answered(Err("busy".into()), NOW);
    assert_eq!(model.view(NOW).lock, Lock::Refused { why: "busy".into() });
}
