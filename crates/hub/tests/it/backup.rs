//! A copy while the hub serves, and a hub made of it.
//!
//! It refuses to take the copy's word: the restored hub is asked by those who knew the lost one.

use std::path::Path;
use std::process::{Command, Output};

use exeunt_api::{AuditVerdict, path};
use exeunt_domain::Proof;
use exeunt_hub::sequencer::now;
use exeunt_hub::start;
use rusqlite::Connection;
use serde_json::Value;

use crate::rig::{Rig, client, config};

fn hub(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exeunt-hub")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn copy(data: &Path, to: &Path) -> Value {
    let out = hub(&["backup", "--json", "--data", text(data), "--to", text(to)]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn restore(from: &Path, data: &Path, more: &[&str]) -> Value {
    let arguments = ["restore", "--json", "--from", text(from), "--data", text(data)];
    let out = hub(&[&arguments, more].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Serves what was restored, at the address of the lost hub, as its operator.
async fn serve(data: tempfile::TempDir, addr: std::net::SocketAddr) -> Rig {
    let mut config = config(&data.path().join("data"));
    config.listen = addr;
    let hub = start(config).await.unwrap();
    let admin = hub.admin_token.as_ref().expect("old operators' tokens are void");
    let admin = std::fs::read_to_string(admin).unwrap().trim().to_owned();
    Rig { hub, data, keys: tempfile::tempdir().unwrap(), http: client(), admin }
}

#[tokio::test]
async fn a_hub_that_is_lost_goes_on_from_its_copy_and_gives_no_number_twice() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let mut device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    let before = site.register(&rig, "alice", "before").await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("copy");
    let copied = copy(rig.data.path(), &file);
    assert!(copied["rows"].as_u64().unwrap() >= before, "{copied}");

    // What comes now is lost.
    let unused = rig.device_token(serde_json::json!({ "name": "occ-08" })).await;
    let after = site.register(&rig, "alice", "after").await;
    rig.sign_out("alice").await;
    let (addr, lost) = (rig.hub.addr, rig.admin.clone());
    rig.hub.stop().await;

    let told = restore(&file, &place.path().join("data"), &[]);
    assert_eq!(told["sessions_ended"], 1);
    let rig = serve(place, addr).await;
    assert_eq!(rig.get(path::DEVICES, &lost).await.status, 401, "a token of the lost hub");
    let verdict: AuditVerdict = rig.get(path::AUDIT_VERIFY, &rig.admin).await.read();
    assert!(verdict.verified, "{verdict:?}");
    let restored = rig.audited("restored").await;
    assert_eq!(restored.len(), 1);
    assert_eq!(restored[0]["detail"]["after"], told["rows_to"]);
    // The device and the service are known as before, by the same keys.
    device.log_in(&rig).await;
    let site = crate::rig::Service { token: site.log_in(&rig).await, ..site };
    for (name, seq) in [("before", before), ("after", after)] {
        assert_eq!(
            site.check(&rig, "alice", name, seq).await,
            401,
            "{name} died with the sign-out"
        );
    }
    let stale = site.try_register(&rig, "alice", "stale", exeunt_domain::Timestamp(1000)).await;
    assert!(!stale.status.is_success(), "{}", stale.body);
    let fresh = site.register(&rig, "alice", "fresh").await;
    assert!(fresh > after + 1_000_000, "numbers of the lost hub are not given out again: {fresh}");
    assert_eq!(site.check(&rig, "alice", "fresh", fresh).await, 204);
    rig.sign_out("alice").await;
    assert_eq!(site.check(&rig, "alice", "fresh", fresh).await, 401);
    // A token that may have been used is void, and a new enrolment has an epoch of its own.
    let mut late = crate::rig::Device::new("occ-08");
    assert!(!late.enrol(&rig, &unused).await.status.is_success());
    let again = rig.device_token(serde_json::json!({ "name": "occ-08" })).await;
    late.enrol(&rig, &again).await.read::<Value>();
    assert!(late.epoch > 1_000_000, "{}", late.epoch);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_restore_that_keeps_sessions_leaves_them_alive() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("copy");
    copy(rig.data.path(), &file);
    let addr = rig.hub.addr;
    rig.hub.stop().await;
    let told = restore(&file, &place.path().join("data"), &["--keep-sessions"]);
    assert_eq!(told["sessions_ended"], 0);
    let rig = serve(place, addr).await;
    let site = crate::rig::Service { token: site.log_in(&rig).await, ..site };
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);
    rig.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_under_load_is_of_one_moment() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let place = tempfile::tempdir().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = async {
        let mut n = 0;
        while !*stopped.borrow() {
            site.try_register(&rig, "alice", &format!("s{n}"), now()).await;
            n += 1;
        }
        n
    };
    let (data, target) = (rig.data.path().to_owned(), place.path().to_owned());
    let copies = tokio::task::spawn_blocking(move || {
        for n in 0..5 {
            copy(&data, &target.join(format!("copy-{n}")));
        }
        stop.send_replace(true);
    });
    let (registered, done) = tokio::join!(load, copies);
    done.unwrap();
    assert!(registered > 5);
    for n in 0..5 {
        let data = place.path().join(format!("data-{n}"));
        restore(&place.path().join(format!("copy-{n}")), &data, &[]);
        let out = hub(&["audit", "verify", "--data", text(&data)]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
    rig.hub.stop().await;
}

#[tokio::test]
async fn neither_command_writes_over_anything_nor_believes_a_changed_copy() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("copy");
    copy(rig.data.path(), &file);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let says = |out: Output| String::from_utf8_lossy(&out.stderr).into_owned();
    let refused = hub(&["backup", "--data", text(rig.data.path()), "--to", text(&file)]);
    assert!(says(refused).contains("is there already"));
    let refused = hub(&["restore", "--from", text(&file), "--data", text(rig.data.path())]);
    assert!(says(refused).contains("is not empty"));
    let nowhere = place.path().join("nowhere");
    let refused = hub(&["backup", "--data", text(&nowhere), "--to", text(&nowhere)]);
    assert!(says(refused).contains("holds no hub"));
    assert!(!nowhere.exists());
    for (what, sql) in [
        ("a changed row", "UPDATE audit SET actor = 'admin:mallory' WHERE seq = 2"),
        ("a cut tail", "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)"),
        ("no seal", "DROP TABLE backup"),
        ("another key", "UPDATE backup_files SET bytes = zeroblob(4) WHERE name = 'hub-key'"),
    ] {
        let changed = place.path().join("changed");
        std::fs::copy(&file, &changed).unwrap();
        Connection::open(&changed).unwrap().execute_batch(sql).unwrap();
        let data = place.path().join("data");
        let refused = hub(&["restore", "--from", text(&changed), "--data", text(&data)]);
        assert!(!refused.status.success(), "{what}");
        assert!(!data.exists(), "{what}: nothing is made of it");
    }
    rig.hub.stop().await;
}
