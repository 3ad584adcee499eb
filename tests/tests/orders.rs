//! Orders from the hub to a device and receipts back, with everything in between restarted.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::process::Command;
use std::time::Duration;

use exeunt_domain::{Outcome, Txn};
use exeunt_tests::house::{House, SUBJECT, Subjects};
use exeunt_tests::people::{Ground, is_root};
use exeunt_tests::planted::Planted;
use exeunt_tests::waiting;
use rustix::process::Signal;
use serde_json::Value;

const DEVICE: &str = "occ-07";
const LIMIT: Duration = Duration::from_secs(60);

/// An enrolled device at which alice is signed in, with credential files in her home.
fn signed_in(subjects: Subjects) -> (House, Planted) {
    let house = House::open(Ground::new().unwrap(), subjects).unwrap();
    house.enrol(DEVICE).unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
    let subject = if subjects == Subjects::Alice { SUBJECT } else { &house.alice.name };
    let planted = sign_in(&house, subject);
    (house, planted)
}

/// A new session at the console, and new tokens in the home.
fn sign_in(house: &House, subject: &str) -> Planted {
    let planted = Planted::plant(&house.alice, "canary").unwrap();
    let (code, status) = run(&mut house.typed_by(&house.alice, &["status", "--json"]));
    assert_eq!(code, 0, "{status:#}");
    let admin = house.admin().unwrap();
    waiting::until("the console's registration", LIMIT, || {
        let sessions = admin.sessions(subject)?.sessions;
        Ok(sessions.iter().any(|session| session.revoked_by.is_none()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
    assert_eq!(planted.found(&house.alice).len(), 3);
    planted
}

/// The exit code, and the last line of standard output.
fn run(command: &mut Command) -> (i32, Value) {
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let last = said.lines().last().unwrap_or_default();
    let json = serde_json::from_str(last).unwrap_or_else(|error| {
        panic!("{error} in {said:?}\n{}", String::from_utf8_lossy(&ended.stderr))
    });
    (ended.status.code().unwrap(), json)
}

/// Exactly one receipt, verified, and nothing left on the device.
fn ends_verified_once(house: &House, planted: &Planted, txn: &Txn) {
    let admin = house.admin().unwrap();
    admin.final_txn(txn, LIMIT).unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
    assert_eq!(planted.found(&house.alice), Vec::<String>::new());
    let receipts = admin.receipts(txn).unwrap();
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert!(receipts[0].chained, "{receipts:?}");
    assert!(admin.audit_verdict().unwrap().verified);
}

/// Nobody is at the device (R2, R3): every target's outcome is shown as it happens.
#[test]
fn an_operators_sign_out_reaches_the_device_and_is_followed_to_its_receipt() {
    let (house, planted) = signed_in(Subjects::Alice);
    let mut order = house.operator().unwrap();
    order.args(["sign-out", "--subject", SUBJECT, "--follow", "--json"]);
    let (code, seen) = lines(&mut order);
    let last = seen.last().unwrap();
    assert_eq!((code, &last["outcome"]), (0, &"verified".into()), "{last:#}\n{}", house.logs());
    let device: Vec<&Value> = seen.iter().filter_map(device_of).collect();
    assert!(device.len() > 1, "only the end was shown: {seen:?}");
    assert_ne!(device[0]["outcome"], "verified", "{seen:?}");
    let end = device.last().unwrap();
    assert_eq!((&end["id"], &end["outcome"]), (&DEVICE.into(), &"verified".into()));

    // Whoever asks later sees the same end.
    let txn = last["txn"].as_str().unwrap();
    let mut show = house.operator().unwrap();
    let (code, shown) = lines(show.args(["txn", "show", txn, "--follow", "--json"]));
    assert_eq!((code, shown.last().and_then(device_of)), (0, Some(*end)));
    ends_verified_once(&house, &planted, &Txn::parse(txn).unwrap());
}

fn device_of(state: &Value) -> Option<&Value> {
    state["targets"].as_array()?.iter().find(|target| target["kind"] == "device")
}

/// The exit code, and every line of standard output.
fn lines(command: &mut Command) -> (i32, Vec<Value>) {
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (ended.status.code().unwrap(), lines)
}

#[test]
fn an_order_outlives_a_hub_that_is_killed_before_it_was_delivered() {
    let (mut house, planted) = signed_in(Subjects::Alice);
    house.stop_agent(Signal::TERM).unwrap();
    let txn = house.admin().unwrap().sign_out(SUBJECT).unwrap().txn.unwrap();
    house.stop_hub(Signal::KILL).unwrap();
    house.start_hub().unwrap();
    assert_eq!(planted.found(&house.alice).len(), 3);
    house.start_agent().unwrap();
    ends_verified_once(&house, &planted, &txn);
}

#[test]
fn an_order_outlives_an_agent_and_a_warden_that_are_killed_in_the_middle() {
    let (mut house, planted) = signed_in(Subjects::Alice);
    house.stop_warden(Signal::KILL).unwrap();
    let txn = house.admin().unwrap().sign_out(SUBJECT).unwrap().txn.unwrap();
    // The agent holds the order and cannot hand it over.
    house.stop_agent(Signal::KILL).unwrap();
    house.start_agent().unwrap();
    house.start_warden().unwrap();
    ends_verified_once(&house, &planted, &txn);

    // As soon as each is reached, the rug is pulled.
    for reached in [Outcome::Requested, Outcome::Delivered, Outcome::Fenced] {
        let planted = sign_in(&house, SUBJECT);
        let admin = house.admin().unwrap();
        let txn = admin.sign_out(SUBJECT).unwrap().txn.unwrap();
        waiting::until("the moment", LIMIT, || {
            let state = admin.txn(&txn)?;
            let device = state.targets.iter().find(|target| target.kind == "device");
            let outcome = device.map(|device| device.outcome);
            Ok((outcome == Some(reached) || state.is_final()).then_some(()))
        })
        .unwrap();
        house.stop_warden(Signal::KILL).unwrap();
        house.stop_agent(Signal::KILL).unwrap();
        house.start_warden().unwrap();
        house.start_agent().unwrap();
        ends_verified_once(&house, &planted, &txn);
    }
}

/// The button never says "signed out" for what the hub did not commit (R5).
#[test]
fn without_a_hub_this_device_closes_and_the_revoke_goes_out_later() {
    let (mut house, planted) = signed_in(Subjects::Alice);
    let before = house.admin().unwrap().sessions(SUBJECT).unwrap().sessions;
    assert!(before.iter().all(|session| session.revoked_by.is_none()));
    house.stop_hub(Signal::TERM).unwrap();

    let mut everywhere = house.typed_by(&house.alice, &["everywhere", "--yes", "--json"]);
    let (code, closed) = run(&mut everywhere);
    assert_eq!(code, 4, "{closed:#}");
    assert_eq!(closed["hub_committed"], false, "{closed:#}");
    assert_eq!(closed["device"], "verified", "{closed:#}");
    assert_eq!(planted.found(&house.alice), Vec::<String>::new());

    house.start_hub().unwrap();
    let txn = Txn::parse(closed["txn"].as_str().unwrap()).unwrap();
    let admin = house.admin().unwrap();
    waiting::until("the revoke", LIMIT, || {
        let sessions = admin.sessions(SUBJECT)?.sessions;
        let revoked = sessions.iter().all(|session| session.revoked_by.as_ref() == Some(&txn));
        Ok((revoked && !sessions.is_empty()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
    ends_verified_once(&house, &planted, &txn);
}

/// Another user of the machine can neither order nor read (R14).
#[test]
fn another_user_neither_ends_nor_sees_alices_sessions() {
    if !is_root() {
        eprintln!("skipped: only root can make another user");
        return;
    }
    let (house, planted) = signed_in(Subjects::PerAccount);
    let mallory = house.ground.person("mallory").unwrap();
    let mut closed = house.typed_by(&house.alice, &["close", "--yes", "--json"]);
    let (code, closed) = run(&mut closed);
    assert_eq!(code, 0, "{closed:#}");
    let planted_again = Planted::plant(&house.alice, "canary").unwrap();
    drop(planted);
    let (_, shown) = run(&mut house.typed_by(&house.alice, &["receipt", "list", "--json"]));
    let txn = shown["receipts"][0]["txn"].as_str().unwrap_or_else(|| panic!("{shown:#}"));

    // What alice may read, mallory may not.
    let show = ["receipt", "show", txn, "--json"];
    assert_eq!(run(&mut house.typed_by(&house.alice, &show)).0, 0);
    let (code, refused) = run(&mut house.typed_by(&mallory, &show));
    assert_ne!(code, 0, "{refused:#}");
    let (_, receipts) = run(&mut house.typed_by(&mallory, &["receipt", "list", "--json"]));
    assert_eq!(receipts["receipts"], Value::Array(Vec::new()), "{receipts:#}");
    for words in [["status", "--json"].as_slice(), &["session", "list", "--json"]] {
        let (_, said) = run(&mut house.typed_by(&mallory, words));
        assert!(!said.to_string().contains(&house.alice.name), "{said:#}");
    }
    // What mallory orders ends mallory's own.
    let mut everywhere = house.typed_by(&mallory, &["everywhere", "--yes", "--json"]);
    run(&mut everywhere);
    assert_eq!(planted_again.found(&house.alice).len(), 3);
    // Enrolment is root's.
    for words in [["unenroll", "--yes", "--json"].as_slice(), &["enroll", "--token", "x", "--json"]]
    {
        let (code, refused) = run(&mut house.typed_by(&mallory, words));
        assert_ne!(code, 0, "{refused:#}");
    }
    assert_eq!(house.admin().unwrap().devices().unwrap().devices.len(), 1);
}

/// The part that has the network cannot delete (R14).
#[test]
fn the_agents_user_cannot_order() {
    if !is_root() {
        eprintln!("skipped: in user mode the agent is the user");
        return;
    }
    let (house, planted) = signed_in(Subjects::Alice);
    for words in [["close", "--yes", "--json"], ["everywhere", "--yes", "--json"]] {
        let (code, refused) = run(&mut house.typed_by(house.agent_user(), &words));
        assert_ne!(code, 0, "{refused:#}");
        assert_eq!(refused["error"]["code"], "not_allowed", "{refused:#}");
    }
    assert_eq!(planted.found(&house.alice).len(), 3);
}

/// The part that can delete has no network, whatever it is asked (R14).
#[test]
fn the_warden_has_no_way_to_the_network() {
    let (house, _planted) = signed_in(Subjects::Alice);
    let probed = house.command(&house.programs.warden).arg("probe-network").output().unwrap();
    assert!(probed.status.success(), "{}", String::from_utf8_lossy(&probed.stdout));
}
