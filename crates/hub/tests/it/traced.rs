//! The running program under strace: what the kernel was asked for between a request and its reply.
//!
//! It refuses to believe the program's own account of its syncs.

use std::process::{Command, Stdio};

use exeunt_api::{ServiceResponse, TokenResponse, path};
use serde_json::json;

use crate::rig::client;

/// Ends the traced hub, whatever became of the test; its tracer ends with it.
struct Traced(std::process::Child);

impl Drop for Traced {
    fn drop(&mut self) {
        let pid = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let child = child.parse().ok().and_then(rustix::process::Pid::from_raw);
            let kill = |child| rustix::process::kill_process(child, rustix::process::Signal::KILL);
            let _ = child.map(kill);
        }
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_sync_of_the_log_lies_between_each_sign_out_and_its_reply() {
    if Command::new("strace").arg("--version").output().is_err() {
        println!("SKIPPED: strace is not installed");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let trace = data.path().join("trace");
    let hub = data.path().join("hub");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let calls = "trace=fsync,fdatasync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    let mut traced = Traced(
        Command::new("strace")
            .args(["-f", "-y", "-s", "96", "-e", calls, "-o"])
            .arg(&trace)
            .arg(env!("CARGO_BIN_EXE_exeunt-hub"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(&hub)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let http = client();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while http.get(format!("{url}/healthz")).send().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the hub does not come up");
        assert!(traced.0.try_wait().unwrap().is_none(), "strace cannot trace here");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let admin = std::fs::read_to_string(hub.join("admin-token")).unwrap().trim().to_owned();
    let ask = http.post(format!("{url}{}", path::SERVICES)).bearer_auth(&admin);
    let service: ServiceResponse = ask
        .json(&json!({ "name": "site", "aud": "site" }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let ask = http.post(format!("{url}{}", path::TOKEN));
    let ask = ask.basic_auth(&service.client_id, Some(&service.client_secret));
    let token: TokenResponse = ask
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for round in 0..5 {
        let body = json!({
            "subject": { "format": "opaque", "id": "alice" }, "session_id": format!("s{round}"),
            "kind": "web", "auth_time": exeunt_hub::sequencer::now(),
        });
        let ask = http.post(format!("{url}{}", path::SESSIONS)).bearer_auth(&token.access_token);
        assert_eq!(ask.json(&body).send().await.unwrap().status(), 201);
        let ask = http.post(format!("{url}{}", path::SIGN_OUT)).bearer_auth(&admin);
        let answer = ask.json(&json!({ "subject": "alice" })).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    drop(traced);
    let trace = std::fs::read_to_string(&trace).unwrap();
    let asked = "POST /v1/sign-out";
    let mut rounds = 0;
    let lines: Vec<_> = trace.lines().collect();
    for at in (0..lines.len()).filter(|at| lines[*at].contains(asked)) {
        let after = &lines[at..];
        let reply = after.iter().position(|line| line.contains("HTTP/1.1 200"));
        let reply = reply.expect("each sign-out was answered");
        // A call that another thread interrupts in the trace ends on a line of its own, which
        // names no file: the result counts, so either form must have succeeded.
        let synced = after[..reply].iter().enumerate().any(|(begun, line)| {
            let ours = line.contains("sync(") && line.contains("hub.db-wal");
            let thread = line.split_whitespace().next().unwrap_or_default();
            let ended = |later: &&&str| {
                later.starts_with(thread)
                    && later.contains("sync resumed")
                    && later.ends_with("= 0")
            };
            ours && (line.ends_with("= 0") || after[begun..reply].iter().any(|l| ended(&l)))
        });
        assert!(synced, "no sync before the reply:\n{}", after[..=reply].join("\n"));
        rounds += 1;
    }
    assert_eq!(rounds, 5);
}
