//! What comes back after a close: told at once, contained when the settings say so, and nobody's
//! business once somebody signed in.

use exeunt_domain::order::STORES_RETURNED_EVENT;
use exeunt_domain::{Authority, Subject};
use exeunt_ipc::message::{Returned, WardenStatus, Watched};
use serde_json::Value;

use super::*;

/// A warden that is enrolled, after a first close.
fn closed_once(settings: &str) -> (Rig, Hub) {
    let mut rig = Rig::start();
    let text = format!("subject_fixed = \"alice\"\n{settings}\n");
    std::fs::write(rig.dir.path().join("warden.toml"), text).unwrap();
    rig.restart();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    hub.enroll(&rig);
    assert_eq!(rig.close().outcome, Outcome::Verified);
    receipt(&rig, &hub);
    (rig, hub)
}

fn status(rig: &Rig) -> WardenStatus {
    let WardenAnswer::Status(status) = rig.ask(WardenRequest::Status) else { panic!() };
    status
}

/// Waits until directories are watched, and tells how many.
fn watched(rig: &Rig) -> Watched {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match status(rig).watch {
            Some(watch) if watch.watched > 0 => return watch,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        std::thread::yield_now();
    }
}

fn told(rig: &Rig) -> Value {
    let set = next_uplink(rig, STORES_RETURNED_EVENT).set;
    read_unverified(&set).unwrap().event_as(STORES_RETURNED_EVENT).unwrap()
}

fn apps(returned: &Returned) -> Vec<&str> {
    returned.stores.iter().map(|row| row.app.as_str()).collect()
}

#[test]
fn a_store_that_comes_back_is_told_to_the_hub_and_to_whoever_asks_and_stays() {
    let (rig, _hub) = closed_once("");
    // Else the look at the start of the watch might find it.
    let watch = watched(&rig);
    assert_eq!(watch.left_out, 0, "{watch:?}");
    assert_eq!(status(&rig).returned, None);
    rig.plant();
    let event = told(&rig);
    assert_eq!(event["stores"][0]["app"], "aws", "{event}");
    assert_eq!(event["subject"], serde_json::to_value(Subject::parse("alice").unwrap()).unwrap());
    assert_eq!(event["contains"], false);
    let status = status(&rig);
    let returned = status.returned.unwrap();
    assert_eq!(apps(&returned), ["aws"]);
    assert_eq!(returned.contained, None);
    assert!(rig.token().exists(), "it was to be reported, not removed");
}

#[test]
fn what_came_back_while_nobody_watched_is_told_at_the_next_start() {
    let (mut rig, _hub) = closed_once("");
    rig.child.kill().unwrap();
    rig.child.wait().unwrap();
    rig.plant();
    rig.restart();
    assert_eq!(told(&rig)["stores"][0]["store"], "sso-cache");
}

/// Contained as often as the rate allows, and told all the same afterwards: no loop (R51).
#[test]
fn a_store_that_comes_back_is_contained_when_asked_and_not_without_end() {
    let (rig, hub) = closed_once("on_return = \"contain\"");
    for _ in 0..3 {
        rig.plant();
        let body = receipt(&rig, &hub);
        assert_eq!(body.outcome, Outcome::Verified, "{body:#?}");
        let policy = matches!(&body.authority, Authority::LocalPolicy { trigger }
            if trigger.contains("came back after"));
        assert!(policy, "{:?}", body.authority);
        assert!(!rig.token().exists());
    }
    rig.plant();
    assert_eq!(told_without_containing(&rig)["contains"], false);
    let detail = status(&rig).returned.unwrap().detail.unwrap();
    assert!(detail.contains("only reported"), "{detail}");
    assert!(rig.token().exists());
}

/// The next report that no containment follows.
fn told_without_containing(rig: &Rig) -> Value {
    loop {
        let event = told(rig);
        if event["contains"] == false {
            return event;
        }
    }
}

#[test]
fn whoever_signs_in_again_has_stores_that_are_nobodys_business() {
    let (rig, hub) = closed_once("");
    let subject = Subject::parse("bob").unwrap();
    rig.ask(WardenRequest::SessionBegin { subject, uid: None });
    assert_eq!(status(&rig).watch, None);
    rig.plant();
    let closed = rig.close();
    assert!(closed.stores.iter().any(|row| row.app == "aws"), "{:#?}", closed.stores);
    receipt(&rig, &hub);
    // After that close it is watched for again: this one is told, and only this one.
    rig.plant();
    assert_eq!(told(&rig)["after"], closed.txn.as_str());
}
