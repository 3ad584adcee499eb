//! What needs no other process: receipts and the catalogue.

use exeunt_domain::order::RECEIPT_EVENT;
use exeunt_domain::receipt::{LockReport, Mode};
use exeunt_domain::{Authority, Jti, Outcome, ReceiptBody, Tier, Timestamp, Txn};
use exeunt_ssf::{Set, SigningKey};
use serde_json::json;

use crate::schema::check;
use crate::stage::Stage;

fn body(pinned: bool) -> ReceiptBody {
    ReceiptBody {
        device: "occ-07".into(),
        txn: Txn::parse("t1").unwrap(),
        seq: 1,
        previous: String::new(),
        authority: Authority::LocalRequest { uid: 1000, surface: "cli".into() },
        subject: None,
        tier: Tier::SignOut,
        pinned,
        mode: Mode::User,
        outcome: Outcome::Verified,
        accepted: Timestamp(1),
        checked: Timestamp(2),
        stores: vec![],
        steps: vec![],
        lock: LockReport::NotAsked,
        catalogue: "1".into(),
        coverage: "00".into(),
        not_covered: vec![],
        remarks: vec![],
    }
}

pub(crate) fn receipt(key: &SigningKey, pinned: bool) -> String {
    let jti = Jti::parse("j1").unwrap();
    let set = Set::new("occ-07", "hub", jti, Timestamp(3), RECEIPT_EVENT, &body(pinned)).unwrap();
    key.sign(&set.with_txn(Txn::parse("t1").unwrap())).unwrap()
}

#[test]
fn a_receipt_by_a_trusted_key_is_verified_and_exits_0() {
    let key = SigningKey::generate().unwrap();
    let stage = Stage::empty();
    let file = stage.file("receipt", &receipt(&key, true));
    let keys = stage.file("keys.json", &json!({ "keys": [key.jwk()] }).to_string());
    let ran = stage.run(&["receipt", "verify", &file, "--jwks", &keys, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = ran.json();
    check("receipt-verify", &found);
    assert_eq!((&found["verified"], &found["pinned"]), (&json!(true), &json!(true)));
    assert_eq!(found["kid"], key.kid().as_str());
}

#[test]
fn a_bundle_alone_is_whole_but_not_pinned_and_exits_4() {
    let key = SigningKey::generate().unwrap();
    let stage = Stage::empty();
    let bundle = json!({ "v": 1, "receipt": receipt(&key, true), "jwk": key.jwk() });
    let ran = stage.run_with_input(&["receipt", "verify", "-", "--json"], &bundle.to_string());
    assert_eq!(ran.code, 4, "{ran:?}");
    let found = ran.json();
    check("receipt-verify", &found);
    assert_eq!((&found["verified"], &found["pinned"]), (&json!(true), &json!(false)));
}

#[test]
fn a_receipt_of_a_device_that_was_not_enrolled_exits_4() {
    let key = SigningKey::generate().unwrap();
    let stage = Stage::empty();
    let file = stage.file("receipt", &receipt(&key, false));
    let keys = stage.file("keys.json", &serde_json::to_string(key.jwk()).unwrap());
    let ran = stage.run(&["receipt", "verify", &file, "--jwks", &keys, "--json"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ran.json()["pinned"], false);
}

#[test]
fn a_tampered_receipt_is_not_verified_and_exits_1() {
    let key = SigningKey::generate().unwrap();
    let stage = Stage::empty();
    let good = receipt(&key, true);
    let other = receipt(&key, false);
    // The claims of one under the signature of the other.
    let claims = other.split('.').nth(1).unwrap();
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[1] = claims;
    let file = stage.file("receipt", &parts.join("."));
    let keys = stage.file("keys.json", &json!({ "keys": [key.jwk()] }).to_string());
    let ran = stage.run(&["receipt", "verify", &file, "--jwks", &keys, "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let found = ran.json();
    check("receipt-verify", &found);
    assert_eq!(found["verified"], false);
    assert!(stage.run(&["receipt", "verify", &file, "--jwks", &keys]).out.contains("NOT verified"));
}

#[test]
fn a_receipt_without_any_key_is_not_verified_and_exits_4() {
    let stage = Stage::empty();
    let file = stage.file("receipt", &receipt(&SigningKey::generate().unwrap(), true));
    let ran = stage.run(&["receipt", "verify", &file, "--json"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    check("receipt-verify", &ran.json());
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_names_it() {
    let ran = Stage::empty().run(&["receipt", "verify", "/nowhere/receipt", "--json"]);
    assert_eq!(ran.code, 1);
    let error = ran.json();
    check("error", &error);
    assert!(error["error"]["message"].as_str().unwrap().contains("/nowhere/receipt"));
}

#[test]
fn lists_the_catalogue_with_its_coverage_hash() {
    let ran = Stage::empty().run(&["catalogue", "list", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let list = ran.json();
    check("catalogue-list", &list);
    assert_eq!(list["coverage"].as_str().unwrap().len(), 64);
    assert!(list["apps"].as_array().unwrap().iter().any(|app| app["id"] == "chromium"));
}

#[test]
fn explains_mistakes_in_a_catalogue_file_with_line_and_column() {
    let stage = Stage::empty();
    let wrong = stage.file("acme.toml", "frobnicate = 1\n");
    let ran = stage.run(&["catalogue", "check", &wrong, "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let found = ran.json();
    check("catalogue-check", &found);
    assert_eq!(found["ok"], false);
    assert!(found["mistakes"][0].as_str().unwrap().contains("acme.toml:1:1"), "{found}");
}
