//! What comes back after a close: told at once, contained when the settings say so, and nobody's
//! business once somebody signed in.

use std::sync::mpsc;

use exeunt_domain::order::{ORDER_EVENT, STORES_RETURNED_EVENT};
use exeunt_domain::{Authority, Order, Subject};
use exeunt_ipc::WardenClient;
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

/// An agent that takes whatever leaves, and tells of each receipt. It ends when nobody listens.
fn relaying(mut agent: WardenClient) -> mpsc::Receiver<ReceiptBody> {
    let (tell, receipts) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(WardenAnswer::Uplink { sets }) = agent.ask(WardenRequest::TakeUplink) {
            let accepted = sets.iter().map(|uplink| uplink.jti.clone()).collect();
            let settle = WardenRequest::UplinkResult { accepted, refused: Default::default() };
            if agent.ask(settle).is_err() {
                return;
            }
            let read = sets.iter().map(|uplink| read_unverified(&uplink.set).unwrap());
            for body in read.filter_map(|set| set.event_as(RECEIPT_EVENT).ok()) {
                if tell.send(body).is_err() {
                    return;
                }
            }
        }
    });
    receipts
}

/// A warden that has closed once, whose enrolment lets the hub order as often as it likes.
fn ordered_freely() -> (Rig, Hub) {
    let (rig, mut hub) = closed_once("");
    (hub.orders_per_hour, hub.epoch) = (100_000, 2);
    hub.enroll(&rig);
    (rig, hub)
}

/// `EXEUNT_ROUNDS=300` repeats it as often.
#[test]
fn each_receipt_leaves_at_once_though_stores_come_back_while_sessions_begin() {
    let rounds = std::env::var("EXEUNT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let (rig, hub) = ordered_freely();
    let receipts = relaying(rig.connect());
    for round in 0..rounds.unwrap_or(20) {
        let (mut begins, subject) = (rig.connect(), Subject::parse("alice").unwrap());
        let begun = std::thread::spawn(move || {
            begins.ask(WardenRequest::SessionBegin { subject, uid: None }).unwrap()
        });
        rig.plant();
        begun.join().unwrap();
        let (jti, txn) = (format!("j{round}"), format!("t{round}"));
        let set = hub.order(&jti, &txn, later());
        assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
        let body = receipts.recv_timeout(Duration::from_secs(20)).expect(&txn);
        assert_eq!(body.txn.as_str(), txn);
        assert_eq!(body.outcome, Outcome::Verified, "{body:#?}");
    }
}

/// A containment, and orders about somebody who is not here, which are answered beside it.
#[test]
fn receipts_that_are_signed_at_once_follow_one_another() {
    let (rig, hub) = ordered_freely();
    let receipts = relaying(rig.connect());
    let here = rig.connect();
    let closing = std::thread::spawn(move || {
        let mut here = here;
        for _ in 0..10 {
            let mut answer = here.ask(close_request(false)).unwrap();
            while let WardenAnswer::Progress(_) = answer {
                answer = here.next_answer().unwrap();
            }
            assert!(matches!(answer, WardenAnswer::Closed(_)), "{answer:?}");
        }
    });
    let mut orders = 0;
    let mut agent = rig.connect();
    while !closing.is_finished() {
        let user = Some(Subject::parse("nobody").unwrap());
        let order = Order { user, ..hub.demand(later()) };
        let name = format!("n{orders}");
        let set = hub.sign(&name, Some(&name), ORDER_EVENT, &order);
        assert_eq!(agent.ask(WardenRequest::Deliver { set }).unwrap(), WardenAnswer::Done);
        orders += 1;
    }
    closing.join().unwrap();
    let wait = Duration::from_secs(20);
    let mut seqs: Vec<u64> =
        (0..orders + 10).map(|_| receipts.recv_timeout(wait).unwrap().seq).collect();
    let all = seqs.len();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), all, "two receipts claim one place in the chain");
}
