//! What needs a quorum, by the commands that people type: two approvers, a real hub, a real device.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use exeunt_domain::{Outcome, Txn};
use exeunt_tests::house::{House, SUBJECT, Subjects};
use exeunt_tests::people::Ground;
use exeunt_tests::planted::Planted;
use exeunt_tests::waiting;
use serde_json::Value;

const DEVICE: &str = "occ-07";
const LIMIT: Duration = Duration::from_secs(60);

/// The exit code, and the last line of standard output as JSON.
fn run(command: &mut Command) -> (i32, Value) {
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let last = said.lines().last().unwrap_or_default();
    let json = serde_json::from_str(last).unwrap_or_else(|error| {
        panic!("{error} in {said:?}\n{}", String::from_utf8_lossy(&ended.stderr))
    });
    (ended.status.code().unwrap(), json)
}

/// An operator, their token and their approver's key.
struct Person {
    token: String,
    key: PathBuf,
}

impl Person {
    /// Made as people make it: a token by an administrator, a key by themselves, named to the hub.
    fn new(house: &House, name: &str, roles: &[&str]) -> Self {
        let key = house.ground.path().join(format!("{name}.key"));
        let mut add = house.operator().unwrap();
        add.args(["operator", "add", "--json", "--name", name]);
        for role in roles {
            add.args(["--role", role]);
        }
        let (code, made) = run(&mut add);
        assert_eq!(code, 0, "{made}");
        Self { token: made["token"].as_str().unwrap().to_owned(), key }
    }

    fn approver(house: &House, name: &str) -> Self {
        let person = Self::new(house, name, &["approver"]);
        let key = person.key.to_str().unwrap();
        let (_, made) = run(person.types(house).args(["approver", "init", "--json", "--key", key]));
        let mut add = house.operator().unwrap();
        add.args(["approver", "add", "--json", "--name", name]);
        let (code, said) = run(add.args(["--key", made["key"].as_str().unwrap()]));
        assert_eq!(code, 0, "{said}");
        person
    }

    fn types(&self, house: &House) -> Command {
        let mut command = house.command(&house.programs.cli);
        command.arg("admin").env("EXEUNT_ADMIN_TOKEN", &self.token);
        command
    }

    fn approves(&self, house: &House, txn: &str) -> (i32, Value) {
        let key = self.key.to_str().unwrap();
        run(self.types(house).args(["approve", txn, "--yes", "--json", "--key", key]))
    }
}

struct Scene {
    house: House,
    rita: Person,
    approvers: [Person; 3],
}

/// Approvers in force, and after that a device of the group `kiosks`.
fn scene() -> Scene {
    let house = House::open(Ground::new().unwrap(), Subjects::Alice).unwrap();
    let rita = Person::new(&house, "rita", &["responder"]);
    let approvers = ["ann", "bea", "cal"].map(|name| Person::approver(&house, name));
    let mut enact = house.operator().unwrap();
    let (code, said) = run(enact.args(["approver", "enact", "--needed", "2", "--json"]));
    assert_eq!((code, &said["set"]["needed"]), (0, &2.into()), "{said}");
    let mut token = house.operator().unwrap();
    token.args(["device", "token", "--json", "--name", DEVICE, "--group", "kiosks"]);
    let (_, token) = run(&mut token);
    let mut enrol = house.command(&house.programs.cli);
    let enrolled = enrol.args(["enroll", "--token", token["token"].as_str().unwrap()]).output();
    assert!(enrolled.unwrap().status.success(), "{}", house.logs());
    Scene { house, rita, approvers }
}

/// Alice sits down, with tokens in her home.
fn sign_in(house: &House) -> Planted {
    let planted = Planted::plant(&house.alice, "canary").unwrap();
    let (code, status) = run(&mut house.typed_by(&house.alice, &["status", "--json"]));
    assert_eq!(code, 0, "{status:#}");
    let admin = house.admin().unwrap();
    waiting::until("the console's registration", LIMIT, || {
        let sessions = admin.sessions(SUBJECT)?.sessions;
        Ok(sessions.iter().any(|session| session.revoked_by.is_none()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
    planted
}

fn ends_verified(house: &House, txn: &str) -> String {
    let (admin, txn) = (house.admin().unwrap(), Txn::parse(txn).unwrap());
    let state = admin.final_txn(&txn, LIMIT);
    let state = state.unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
    assert_eq!(state.outcome, Outcome::Verified, "{state:#?}\n{}", house.logs());
    admin.receipts(&txn).unwrap()[0].compact.clone()
}

/// What a receipt says.
fn body_of(receipt: &str) -> Value {
    let payload = receipt.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["events"][exeunt_domain::order::RECEIPT_EVENT].clone()
}

fn proposed(info: &Value) -> String {
    info["proposal"]["txn"].as_str().unwrap().to_owned()
}

/// A purge happens when the second approver agrees, not before, and the receipt names both.
#[test]
fn a_purge_is_proposed_approved_by_two_and_really_happens() {
    let Scene { house, rita, approvers: [ann, bea, _] } = scene();
    let planted = sign_in(&house);
    let purge = ["sign-out", "--subject", SUBJECT, "--tier", "purge", "--json"];
    let (code, info) = run(rita.types(&house).args(purge));
    assert_eq!((code, &info["status"]), (0, &"open".into()), "{info}");
    assert_eq!(info["reach"]["named"], serde_json::json!([DEVICE]));
    let txn = proposed(&info);

    // Whoever asked has no approver's key, and one approval is not enough.
    assert_ne!(rita.approves(&house, &txn).0, 0);
    let (code, one) = ann.approves(&house, &txn);
    assert_eq!((code, &one["status"]), (0, &"open".into()), "{one}");
    assert_eq!(planted.found(&house.alice).len(), 3, "purged with one approval");

    let (code, two) = bea.approves(&house, &txn);
    assert_eq!((code, &two["status"]), (0, &"committed".into()), "{two}");
    let receipt = ends_verified(&house, &txn);
    assert_eq!(planted.found(&house.alice), Vec::<String>::new());
    let body = body_of(&receipt);
    assert_eq!(body["tier"], "purge");
    let named = body["remarks"].to_string();
    for approval in two["approvals"].as_array().unwrap() {
        assert!(named.contains(approval["kid"].as_str().unwrap()), "{named}");
    }
    // The audit has who asked and who agreed.
    let rows = house.operator().unwrap().args(["audit", "export"]).output().unwrap();
    let rows = String::from_utf8(rows.stdout).unwrap();
    let row = rows.lines().find(|row| row.contains("\"action\":\"sign-out\"")).unwrap();
    let row: Value = serde_json::from_str(row).unwrap();
    assert_eq!(row["actor"], "admin:rita");
    let by: Vec<_> = row["detail"]["approvers"].as_array().unwrap().iter().collect();
    assert_eq!(by.len(), 2, "{row}");
}

/// Close all kiosks: one order to a group, about whoever is there.
#[test]
fn an_order_to_a_group_closes_its_device() {
    let Scene { house, rita, approvers: [ann, _, cal] } = scene();
    let planted = sign_in(&house);
    let (code, info) = run(rita.types(&house).args(["sign-out", "--group", "kiosks", "--json"]));
    assert_eq!((code, &info["reach"]["devices"]), (0, &1.into()), "{info}");
    let txn = proposed(&info);
    ann.approves(&house, &txn);
    assert_eq!(cal.approves(&house, &txn).1["status"], "committed");
    ends_verified(&house, &txn);
    assert_eq!(planted.found(&house.alice), Vec::<String>::new());
}

/// A new key of the hub: the old one tells the device, with the approvals, and is believed no more.
#[test]
fn a_new_hub_key_holds_at_the_device_and_signs_its_next_order() {
    let Scene { house, rita, approvers: [ann, bea, _] } = scene();
    let key = |house: &House| {
        let admin = house.admin().unwrap();
        admin.keys().unwrap()["keys"][0]["kid"].as_str().unwrap().to_owned()
    };
    let old = key(&house);
    let (code, info) = run(house.operator().unwrap().args(["change", "hub-key", "--json"]));
    assert_eq!(code, 0, "{info}");
    let txn = proposed(&info);
    ann.approves(&house, &txn);
    assert_eq!(bea.approves(&house, &txn).1["status"], "committed");
    let state = house.admin().unwrap().final_txn(&Txn::parse(&txn).unwrap(), LIMIT).unwrap();
    assert_eq!(state.outcome, Outcome::Verified, "{state:#?}\n{}", house.logs());
    assert_ne!(key(&house), old);
    let planted = sign_in(&house);
    let order = ["sign-out", "--subject", SUBJECT, "--json"];
    let (_, done) = run(rita.types(&house).args(order));
    ends_verified(&house, done["txn"].as_str().unwrap());
    assert_eq!(planted.found(&house.alice), Vec::<String>::new());
}

/// Another limit and another set reach the device, and it is its warden that says so.
#[test]
fn changes_that_approvers_agreed_to_hold_at_the_device() {
    let Scene { house, approvers: [ann, bea, cal], .. } = scene();
    let mut change = house.operator().unwrap();
    change.args(["change", "limit", "--orders-per-hour", "5", "--json"]);
    let (code, info) = run(&mut change);
    assert_eq!(code, 0, "{info}");
    let txn = proposed(&info);
    ann.approves(&house, &txn);
    bea.approves(&house, &txn);
    let admin = house.admin().unwrap();
    let held = |txn: &str| {
        let state = admin.final_txn(&Txn::parse(txn).unwrap(), LIMIT);
        let state = state.unwrap_or_else(|error| panic!("{error:#}\n{}", house.logs()));
        assert_eq!(state.outcome, Outcome::Verified, "{state:#?}\n{}", house.logs());
    };
    held(&txn);

    let (_, said) = run(house.operator().unwrap().args(["approver", "remove", "ann", "--json"]));
    let txn = proposed(&said["proposal"]);
    bea.approves(&house, &txn);
    cal.approves(&house, &txn);
    held(&txn);
    // The device holds itself to the two who are left.
    let planted = sign_in(&house);
    let purge = ["sign-out", "--subject", SUBJECT, "--tier", "purge", "--json"];
    let (_, info) = run(house.operator().unwrap().args(purge));
    let txn = proposed(&info);
    assert_eq!(ann.approves(&house, &txn).0, 5, "a former approver was taken");
    bea.approves(&house, &txn);
    cal.approves(&house, &txn);
    ends_verified(&house, &txn);
    assert_eq!(planted.found(&house.alice), Vec::<String>::new());
}
