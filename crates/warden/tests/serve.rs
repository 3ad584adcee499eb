//! The serving warden as its peers see it: a real process, a throwaway home, a hub played by the
//! test.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

#[path = "serve/returns.rs"]
mod returns;
#[path = "stage/rig.rs"]
mod rig;

use std::os::unix::fs::DirBuilderExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use exeunt_domain::order::{ENROL_EVENT, ENROLLED_EVENT, ORDER_EVENT, Order, RECEIPT_EVENT};
use exeunt_domain::receipt::ReceiptBody;
use exeunt_domain::{DeviceId, Outcome, Tier, Timestamp, Verdict};
use exeunt_ipc::Sockets;
use exeunt_ipc::message::{WardenAnswer, WardenRequest};
use exeunt_ssf::{EnrolledEvent, Jwks, read_unverified};

use rig::{Hub, NOW, Rig, close_request, end_of, later, next_uplink, receipt, spawn};

#[test]
fn closes_the_callers_home_and_keeps_the_receipt() {
    let rig = Rig::start();
    let closed = rig.close();
    assert_eq!(closed.outcome, Outcome::Verified, "{:#?}", closed.stores);
    assert!(!rig.token().exists() && rig.home().join("Documents/letter").exists());
    let WardenAnswer::Receipts { receipts } = rig.ask(WardenRequest::ReceiptList) else { panic!() };
    assert_eq!(receipts[0].receipt, closed.receipt);
    let show = WardenRequest::ReceiptShow { id: closed.txn.as_str().into() };
    assert!(matches!(rig.ask(show), WardenAnswer::Receipts { .. }));
}

#[test]
fn without_room_on_the_disk_it_closes_all_the_same_and_says_so() {
    let mut rig = Rig::start();
    rig.ask(WardenRequest::Status);
    rig.restart_without_room();
    let closed = rig.close();
    assert_eq!(closed.outcome, Outcome::Verified, "{:#?}", closed.stores);
    assert!(!rig.token().exists());
    let set = read_unverified(&closed.receipt).unwrap();
    let body: ReceiptBody = set.event_as(RECEIPT_EVENT).unwrap();
    assert!(body.remarks.iter().any(|said| said.contains("journal failed")), "{body:#?}");
}

#[test]
fn everywhere_without_a_hub_closes_here_and_says_that_elsewhere_is_open() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let request =
        WardenRequest::SignOutEverywhere { reason: None, surface: "test".into(), digest: None };
    let closed = end_of(rig.connect(), request).unwrap();
    assert_eq!(closed.outcome, Outcome::Verified);
    assert!(!closed.hub_committed);
    assert!(!rig.token().exists());
}

#[test]
fn an_order_of_the_pinned_hub_is_carried_out_and_answered_with_a_receipt() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    assert_eq!(hub.enroll(&rig), WardenAnswer::Done);
    let set = hub.order("j1", "t1", later());
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    let body = receipt(&rig, &hub);
    assert_eq!(body.txn.as_str(), "t1");
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    assert!(body.stores.iter().any(|row| row.verdict == Some(Verdict::Gone)));
    assert!(!rig.token().exists());
}

#[test]
fn refuses_bad_orders_with_their_code_and_touches_nothing() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    hub.enroll(&rig);
    let stranger = Hub::new();
    let late = Timestamp(NOW.0 - 1);
    let cases = [
        ("not a token".to_owned(), "invalid_request"),
        (stranger.order("j1", "t1", later()), "invalid_key"),
        (hub.order("j2", "t2", late), "invalid_request"),
    ];
    for (set, code) in cases {
        let answer = rig.ask(WardenRequest::Deliver { set });
        assert!(matches!(&answer, WardenAnswer::Failed(f) if f.code == code), "{answer:?}");
    }
    assert!(rig.token().exists());
}

#[test]
fn an_order_that_comes_twice_is_acknowledged_and_done_once_even_across_a_restart() {
    let mut rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    hub.enroll(&rig);
    let set = hub.order("j1", "t1", later());
    assert_eq!(rig.ask(WardenRequest::Deliver { set: set.clone() }), WardenAnswer::Done);
    assert_eq!(receipt(&rig, &hub).seq, 1);
    rig.restart();
    rig.plant();
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    let WardenAnswer::Receipts { receipts } = rig.ask(WardenRequest::ReceiptList) else { panic!() };
    assert_eq!(receipts.len(), 1);
    assert!(rig.token().exists(), "a replayed order was carried out again");
}

#[test]
fn an_order_that_asks_again_runs_anew_under_its_transaction() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    hub.enroll(&rig);
    let set = hub.order("j1", "t1", later());
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    assert_eq!(receipt(&rig, &hub).seq, 1);
    rig.plant();
    let again = Order { again: true, ..hub.demand(later()) };
    let set = hub.sign("j2", Some("t1"), ORDER_EVENT, &again);
    assert_eq!(rig.ask(WardenRequest::Deliver { set: set.clone() }), WardenAnswer::Done);
    let body = receipt(&rig, &hub);
    assert_eq!((body.seq, body.txn.as_str(), body.outcome), (2, "t1", Outcome::Verified));
    assert!(!rig.token().exists(), "what had come back is gone");
    rig.plant();
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    assert!(rig.token().exists(), "the same order is carried out once");
}

#[test]
fn a_killed_warden_takes_the_order_up_again_and_says_so() {
    let mut rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    hub.enroll(&rig);
    for n in 0..400 {
        std::fs::write(rig.home().join(format!(".aws/sso/cache/{n}.json")), "token").unwrap();
    }
    let set = hub.order("j1", "t1", later());
    // Acknowledged means journalled: from here on it may die at any time.
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    rig.restart();
    let body = receipt(&rig, &hub);
    assert_eq!(body.txn.as_str(), "t1");
    assert!(!rig.token().exists());
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    let WardenAnswer::Receipts { receipts } = rig.ask(WardenRequest::ReceiptList) else { panic!() };
    assert_eq!(receipts.len(), 1);
}

/// Every step that a containment goes through where no keychain holds anything, in order.
const STEPS: [&str; 14] = [
    "lock",
    "keep-list",
    "freeze",
    "quarantine",
    "identify",
    "end",
    "await-end",
    "edit",
    "unlink",
    "trim",
    "residue",
    "survey-again",
    "survey-last",
    "count-keychain",
];

#[test]
fn killed_at_any_step_it_ends_in_the_same_state_with_one_receipt_that_says_so() {
    for step in STEPS {
        let mut rig = Rig::start();
        rig.ask(WardenRequest::Status);
        let mut hub = Hub::new();
        hub.enroll(&rig);
        let hosts = rig.home().join(".config/gh/hosts.yml");
        std::fs::create_dir_all(hosts.parent().unwrap()).unwrap();
        std::fs::write(&hosts, "github.com:\n    user: a\n    oauth_token: gho_x\n").unwrap();
        let mut bystander =
            Command::new("sleep").arg("600").env("HOME", rig.home()).spawn().unwrap();
        rig.restart_to_die_at(step);
        let set = hub.order("j1", "t1", later());
        // It may die before the answer is out: then the hub sends the order again.
        let acknowledged = rig.connect().ask(WardenRequest::Deliver { set: set.clone() }).is_ok();
        assert!(!rig.child.wait().unwrap().success(), "{step} was never reached");
        rig.restart();
        if !acknowledged {
            rig.ask(WardenRequest::Deliver { set });
        }
        let body = receipt(&rig, &hub);
        assert_eq!(body.outcome, Outcome::Verified, "{step}: {:#?}", body.stores);
        assert!(body.remarks.iter().any(|said| said.contains("interrupted")), "{step}: {body:#?}");
        assert!(!rig.token().exists(), "{step}");
        assert!(!std::fs::read_to_string(&hosts).unwrap().contains("gho_x"), "{step}");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", bystander.id())).unwrap();
        assert!(!stat.contains(") T "), "{step}: a bystander stayed frozen");
        bystander.kill().unwrap();
        bystander.wait().unwrap();
        let listed = rig.ask(WardenRequest::ReceiptList);
        assert!(matches!(&listed, WardenAnswer::Receipts { receipts } if receipts.len() == 1));
        let left = std::fs::read_dir(rig.dir.path().join("state/quarantine"));
        assert_eq!(left.map(Iterator::count).unwrap_or_default(), 0, "{step}");
    }
}

/// What a crash left is gone when the next warden stands, also after an upgrade.
#[test]
fn a_warden_that_starts_empties_what_was_left_in_quarantine() {
    let mut rig = Rig::start();
    let left = rig.home().join(".exeunt-quarantine-old");
    std::fs::DirBuilder::new().mode(0o700).create(&left).unwrap();
    std::fs::write(left.join("1-2"), "token").unwrap();
    rig.restart();
    let until = Instant::now() + Duration::from_secs(20);
    while left.exists() {
        assert!(Instant::now() < until, "it is still there");
        std::thread::yield_now();
    }
}

#[test]
fn refuses_purge_and_the_fourth_order_within_an_hour() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let purge = WardenRequest::Preview { tier: Tier::Purge };
    assert!(matches!(rig.ask(purge), WardenAnswer::Failed(f) if f.code == "tier_refused"));
    let mut hub = Hub::new();
    hub.enroll(&rig);
    for n in 1..=4 {
        let set = hub.order(&format!("j{n}"), &format!("t{n}"), later());
        let answer = rig.ask(WardenRequest::Deliver { set });
        assert_eq!(matches!(&answer, WardenAnswer::Done), n <= 3, "{answer:?}");
    }
}

#[test]
fn the_hubs_order_joins_the_request_that_was_made_here() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::new();
    hub.enroll(&rig);
    let request =
        WardenRequest::SignOutEverywhere { reason: None, surface: "test".into(), digest: None };
    let client = rig.connect();
    let pressed = std::thread::spawn(move || end_of(client, request).unwrap());
    let asked = next_uplink(&rig, exeunt_domain::order::SIGN_OUT_REQUESTED_EVENT);
    let txn = read_unverified(&asked.set).unwrap().txn.unwrap();
    let set = hub.order("j1", txn.as_str(), later());
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    let closed = pressed.join().unwrap();
    assert!(closed.hub_committed);
    let body = receipt(&rig, &hub);
    assert!(matches!(body.authority, exeunt_domain::Authority::VerifiedSet { .. }));
    assert_eq!(body.seq, 1);
}

#[test]
fn an_answer_signed_by_a_key_that_the_token_did_not_name_enrols_nobody() {
    let rig = Rig::start();
    let hub = Hub::new();
    let evil = Hub::new();
    let (token, root) = (hub.token().encode(), rig.connect());
    let asked = std::thread::spawn(move || {
        let mut root = root;
        root.ask(WardenRequest::Enroll { token }).unwrap()
    });
    let uplink = next_uplink(&rig, ENROL_EVENT);
    let enrolled = EnrolledEvent {
        device: DeviceId::parse("occ-07").unwrap(),
        epoch: 1,
        hub_jwks: Jwks::of(evil.key.jwk()),
        hub_time: NOW,
        orders_per_hour: 3,
    };
    let set = evil.sign("enrolled-1", None, ENROLLED_EVENT, &enrolled);
    let answer = rig.ask(WardenRequest::Deliver { set });
    assert!(matches!(&answer, WardenAnswer::Failed(f) if f.code == "invalid_key"), "{answer:?}");
    let refused = [(uplink.jti, "access_denied".to_owned())].into_iter().collect();
    rig.ask(WardenRequest::UplinkResult { accepted: vec![], refused });
    assert!(matches!(asked.join().unwrap(), WardenAnswer::Failed(_)));
    let WardenAnswer::Status(status) = rig.ask(WardenRequest::Status) else { panic!() };
    assert_eq!(status.device, None);
}

#[test]
fn a_frame_that_is_no_message_is_answered_and_the_next_peer_is_served() {
    use std::io::Write as _;
    let rig = Rig::start();
    let socket = Sockets::within(&rig.dir.path().join("run")).warden;
    for garbage in [&b"\xff\xff\xff\xff"[..], &b"\x00\x00\x00\x02{]"[..], &b"\x00\x00"[..]] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(garbage).unwrap();
        drop(stream);
    }
    assert!(matches!(rig.ask(WardenRequest::Status), WardenAnswer::Status(_)));
}

#[test]
fn a_second_warden_refuses_a_socket_that_is_served() {
    let rig = Rig::start();
    let mut second = spawn(rig.dir.path());
    assert!(!second.wait().unwrap().success());
    assert!(matches!(rig.ask(WardenRequest::Status), WardenAnswer::Status(_)));
}

#[test]
fn in_user_mode_nobody_is_handed_over_and_no_other_user_is_named() {
    let rig = Rig::start();
    for request in [close_request(true), WardenRequest::Users] {
        let WardenAnswer::Failed(refused) = rig.ask(request) else { panic!("it was not refused") };
        assert_eq!(refused.code, "not_allowed");
    }
    assert!(rig.token().exists());
}
