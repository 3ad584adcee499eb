//! The operators' interface against its own description, by schemathesis.
//!
//! It refuses to count a run that tried only some of it.

use std::path::Path;
use std::process::Stdio;

use exeunt_api::path;
use tokio::process::Command;

use crate::rig::Rig;
use crate::ssf::python;

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/schemathesis");
/// Says how many requests are made up for each operation, at random. When it says nothing, ten, the
/// same in every run.
const EXAMPLES: &str = "EXEUNT_SCHEMATHESIS_EXAMPLES";

#[tokio::test]
async fn the_document_is_served_to_anyone() {
    let rig = Rig::new().await;
    let document = rig.get("/v1/openapi.json", "").await;
    assert_eq!(document.status, 200);
    assert_eq!(document.body["openapi"], "3.1.0");
    assert!(document.body["paths"][path::SIGN_OUT]["post"].is_object());
    rig.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_difference_between_the_hub_and_its_document() {
    let rig = Rig::with(|config| config.limits.calls_per_minute = 1_000_000).await;
    // Something to find.
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s").await;
    rig.sign_out("alice").await;
    // What is tried may end the administrator's own token.
    let body = serde_json::json!({ "name": "keeper", "roles": ["auditor"] });
    let keeper: exeunt_api::AdminTokenResponse =
        rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await.read();
    let place = Path::new(PLACE);
    let program = python("schemathesis", place).await.with_file_name("schemathesis");
    let mut run = Command::new(program);
    run.current_dir(rig.data.path()).arg("--config-file").arg(place.join("schemathesis.toml"));
    run.args(["run", &rig.url("/v1/openapi.json"), "--max-examples"]);
    match std::env::var(EXAMPLES) {
        Ok(examples) => run.arg(examples),
        Err(_) => run.args(["10", "--seed", "1"]),
    };
    run.args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure"]);
    run.args(["--request-timeout", "10", "--warnings", "off"]);
    run.args(["--header", &format!("Authorization: Bearer {}", rig.admin)]);
    let done = run.stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let document = exeunt_hub::openapi::document();
    let places = document["paths"].as_object().unwrap().values();
    let operations: usize = places.map(|place| place.as_object().unwrap().len()).sum();
    let tried = format!("Tested: {operations}\n");
    assert!(said.contains(&tried), "{said}");
    let verdict = rig.get("/v1/audit/verify", &keeper.token).await;
    assert_eq!(verdict.body["verified"], true, "{} {}", verdict.status, verdict.body);
    rig.hub.stop().await;
}
