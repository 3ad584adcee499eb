//! Shared Signals against an independent party in another language (`tests/peers`), in both roles.
//!
//! It refuses to count a run in which the other party stopped half-way.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use exeunt_api::{ServiceResponse, path};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::rig::{Rig, Service};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers");

/// A Python with the packages that `place` names, made at first use, for one process at a time.
pub(crate) async fn python(name: &str, place: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = std::fs::File::create(target.join(format!("{name}.lock"))).unwrap();
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap();
    let _one = lock.unwrap();
    let (venv, requirements) = (target.join(name), place.join("requirements.txt"));
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let stamp = venv.join("installed.txt");
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        let mut make = Command::new("python3");
        let made = make.args(["-m", "venv", "--clear"]).arg(&venv).status().await.unwrap();
        assert!(made.success(), "python3 -m venv; `apt-get install python3-venv` brings it");
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"]);
        assert!(pip.arg(&requirements).status().await.unwrap().success());
        std::fs::write(&stamp, &wanted).unwrap();
    }
    venv.join("bin/python")
}

/// Plays one plan of the other party against a fresh hub: every check holds, and there are
/// `checks` of them.
async fn play(plan: &str, checks: usize) {
    let rig = Rig::with(|config| {
        config.limits.push_retry = Duration::from_millis(50);
        config.limits.verification_every = Duration::from_secs(3600);
        config.limits.poll_patience = Duration::from_secs(5);
        config.limits.verified_within = Duration::from_secs(2);
    })
    .await;
    let mut peer = Command::new(python("peers", Path::new(PEERS)).await);
    peer.arg(Path::new(PEERS).join("peer.py")).arg(plan);
    peer.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    peer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut peer = peer.spawn().unwrap();
    let ask = json!({ "hub": rig.hub.url, "admin": rig.admin }).to_string();
    peer.stdin.take().unwrap().write_all(ask.as_bytes()).await.unwrap();
    let done = peer.wait_with_output().await.unwrap();
    let (said, broke) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let failed: Vec<_> = said.lines().filter(|line| line.starts_with("not ok")).collect();
    assert!(failed.is_empty(), "{}\n{broke}", failed.join("\n"));
    assert!(said.lines().any(|line| line == "done 0") && done.status.success(), "{said}\n{broke}");
    let held = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(held, checks, "{said}");
    rig.hub.stop().await;
}

#[tokio::test]
async fn transmits_to_an_independent_receiver_that_polls() {
    play("transmitter", 65).await;
}

#[tokio::test]
async fn pushes_to_an_independent_receiver() {
    play("push", 20).await;
}

#[tokio::test]
async fn receives_from_an_independent_transmitter() {
    play("receiver", 63).await;
}

#[tokio::test]
async fn polls_an_independent_transmitter() {
    play("polled", 47).await;
}

#[tokio::test]
async fn takes_back_channel_logouts_of_an_independent_provider() {
    play("logout", 36).await;
}

#[tokio::test]
async fn holds_what_the_modules_of_the_conformance_suite_look_at() {
    play("conformance", 53).await;
}

#[tokio::test]
async fn keeps_what_waits_and_the_key_it_is_signed_with_over_a_restart() {
    let rig = Rig::new().await;
    let aud = "https://rp.example";
    let ask = json!({ "name": aud, "aud": aud, "scopes": ["ssf.manage"] });
    let minted: ServiceResponse = rig.post(path::SERVICES, &rig.admin, &ask).await.read();
    let (id, secret) = (minted.client_id, minted.client_secret);
    let mut rp = Service { id, secret, token: String::new() };
    rp.token = rp.log_in(&rig).await;
    let stream: Value = rig.post("/ssf/streams", &rp.token, &json!({})).await.read();
    let poll = format!("{}/{}", path::POLL, stream["stream_id"].as_str().unwrap());
    rp.register(&rig, "ann@corp.example", "s").await;
    rig.sign_out("ann@corp.example").await;
    let peek = json!({ "returnImmediately": true });
    let before: Value = rig.post(&poll, &rp.token, &peek).await.read();
    assert_eq!(before["sets"].as_object().unwrap().len(), 1);
    let rig = rig.restart(|_| {}).await;
    let keys: Value = rig.get(path::JWKS, "").await.read();
    assert_eq!(keys["keys"][1]["alg"], "RS256");
    let token = rp.log_in(&rig).await;
    let after: Value = rig.post(&poll, &token, &peek).await.read();
    assert_eq!(after, before, "the same SET, byte for byte");
    rig.hub.stop().await;
}
