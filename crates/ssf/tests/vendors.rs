//! What other vendors' events mean: stand-ins of ours in their documented shapes, one a file.
//!
//! It refuses a file that does not say that it is a stand-in.

use exeunt_ssf::Set;
use exeunt_ssf::normalise::{Ended, Scope, Signal, normalise};
use serde_json::{Map, Value, json};

/// A reading in the words of the files.
fn said(signal: Signal) -> Value {
    let Ended { user, scope, at, reason, aliases: _ } = match signal {
        Signal::End(ended) => ended,
        Signal::Verification { state } => return json!({ "verification": state }),
        Signal::StreamUpdated { status, .. } => return json!({ "stream": status }),
        Signal::Other => return json!({ "nothing": true }),
    };
    let scope = match scope {
        Scope::All => "all".to_owned(),
        Scope::Session(named) => format!("session:{named}"),
        Scope::Hashed(named) => format!("hashed:{named}"),
    };
    let mut said = Map::from_iter([
        ("user".to_owned(), json!(user.key())),
        ("scope".to_owned(), json!(scope)),
    ]);
    if let Some(at) = at {
        said.insert("at".into(), json!(at.0));
    }
    if let Some(reason) = reason {
        said.insert("reason".into(), json!(reason));
    }
    said.into()
}

#[test]
fn every_vendors_shape_means_what_its_file_says() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendors");
    let mut read = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(file["stand_in"].as_str().unwrap().contains("not a recording"), "{path:?}");
        assert!(file["written_after"].is_string(), "{path:?}");
        let set: Set = serde_json::from_value(file["set"].clone()).unwrap();
        assert_eq!(said(normalise(&set).unwrap()), file["means"], "{path:?}");
        read += 1;
    }
    assert_eq!(read, 15);
}
