//! The record: tampering is found, one process at a time, a full disk refuses, a kill loses nothing.
//!
//! It refuses to trust the hub about itself: the record is changed behind its back.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use exeunt_api::{AuditVerdict, path};
use exeunt_domain::Proof;
use exeunt_hub::audit::{head, judge};
use exeunt_hub::config::DataError;
use exeunt_hub::store::View as _;
use exeunt_hub::store::sqlite::SqliteView;
use exeunt_hub::{StartError, start};
use exeunt_ssf::{Jwks, SigningKey};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;

use crate::rig::{Rig, client, config};

fn verify(data: &Path) -> (bool, AuditVerdict) {
    let out = Command::new(env!("CARGO_BIN_EXE_exeunt-hub"))
        .args(["audit", "verify", "--json", "--data"])
        .arg(data)
        .output()
        .unwrap();
    let verdict: AuditVerdict = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(out.status.success(), verdict.verified);
    (verdict.verified, verdict)
}

async fn some_history() -> tempfile::TempDir {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    site.register(&rig, "alice", "s1").await;
    rig.sign_out("alice").await;
    rig.hub.stop().await;
    rig.data
}

#[tokio::test]
async fn the_audit_finds_a_flipped_bit_a_removed_row_and_a_missing_tail() {
    let last = "(SELECT max(seq) FROM audit)";
    let tamperings = [
        (
            "a changed reason",
            "UPDATE audit SET reason = 'x' WHERE seq = 2".to_owned(),
            "row 2 was changed",
        ),
        (
            "a changed actor",
            "UPDATE audit SET actor = 'admin:mallory' WHERE seq = 3".into(),
            "row 3",
        ),
        (
            "a flipped bit of a hash",
            "UPDATE audit SET hash = unhex(replace(hex(hash), 'A', 'B')) WHERE seq = 4 \
             OR seq = 5 OR seq = 6"
                .into(),
            "was changed",
        ),
        ("a removed row", "DELETE FROM audit WHERE seq = 4".into(), "row 4 is missing"),
        ("the first row removed", "DELETE FROM audit WHERE seq = 1".into(), "row 1 is missing"),
        ("a missing tail", format!("DELETE FROM audit WHERE seq = {last}"), "tail is missing"),
        ("an emptied log", "DELETE FROM audit".into(), "tail is missing"),
    ];
    let whole = some_history().await;
    let (verified, verdict) = verify(whole.path());
    assert!(verified && verdict.rows == verdict.head_seq && verdict.rows >= 6, "{verdict:?}");
    for (what, sql, reason) in tamperings {
        let data = some_history().await;
        let db = Connection::open(data.path().join("hub.db")).unwrap();
        assert!(db.execute(&sql, []).unwrap() > 0, "{what}");
        drop(db);
        let (verified, verdict) = verify(data.path());
        assert!(!verified, "{what}");
        assert!(verdict.reason.as_ref().unwrap().contains(reason), "{what}: {verdict:?}");
    }
}

/// In every row and column a bit is flipped, at the beginning, in the middle and at the end.
#[tokio::test]
async fn the_audit_finds_any_flipped_bit_in_any_column() {
    let data = some_history().await;
    let db = Connection::open(data.path().join("hub.db")).unwrap();
    db.pragma_update(None, "synchronous", "OFF").unwrap();
    let names = "SELECT name FROM pragma_table_info('audit')";
    let columns: Vec<String> = db
        .prepare(names)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(columns.len(), 11, "a new column must be in the chain: {columns:?}");
    let rows: u64 = db.query_row("SELECT max(seq) FROM audit", [], |row| row.get(0)).unwrap();
    let keys = Jwks::of(
        SigningKey::from_seed_b64(&std::fs::read_to_string(data.path().join("hub-key")).unwrap())
            .unwrap()
            .jwk(),
    );
    let signed = || head::read(data.path(), &keys);
    let at = signed().unwrap().unwrap().seq;
    let verdict = || {
        let chain = SqliteView::open(&data.path().join("hub.db")).unwrap().audit_chain(at);
        chain.map(|chain| judge(&chain, signed()))
    };
    assert!(verdict().unwrap().verified);
    let mut flipped = 0;
    for column in &columns {
        for seq in 1..=rows {
            let find = format!("SELECT {column} FROM audit WHERE seq = ?1");
            let held: Value = db.query_row(&find, [seq], |row| row.get(0)).unwrap();
            for changed in flips(&held) {
                let set = format!("UPDATE audit SET {column} = ?1 WHERE seq = ?2");
                // Where the table itself refuses the value there is nothing to find.
                let done = db.execute(&set, (&changed, seq)).is_ok();
                if !done {
                    continue;
                }
                let whole = verdict().is_ok_and(|verdict| verdict.verified);
                assert!(!whole, "{column} of row {seq} became {changed:?}, and nobody saw it");
                let now = if column == "seq" { integer(&changed) } else { seq };
                db.execute(&set, (&held, now)).unwrap();
                flipped += 1;
            }
        }
    }
    assert!(flipped > 150, "{flipped}");
    assert!(verdict().unwrap().verified, "everything was put back");
}

fn integer(value: &Value) -> u64 {
    let Value::Integer(n) = value else { panic!("{value:?}") };
    u64::try_from(*n).unwrap()
}

/// The value with one bit of each of its bytes flipped, or there where nothing was.
fn flips(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![Value::Text(String::new())],
        Value::Integer(n) => [0, 4, 20].map(|bit| Value::Integer(n ^ (1 << bit))).into(),
        Value::Real(_) => panic!("no column holds one"),
        Value::Text(text) if text.is_empty() => vec![Value::Text(" ".into())],
        // The lowest bit keeps ASCII what it is.
        Value::Text(text) => places(text.len())
            .map(|at| {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                Value::Text(String::from_utf8(bytes).unwrap())
            })
            .into(),
        Value::Blob(bytes) => places(bytes.len())
            .map(|at| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                Value::Blob(bytes)
            })
            .into(),
    }
}

fn places(length: usize) -> [usize; 3] {
    [0, length / 2, length - 1]
}

#[tokio::test]
async fn a_record_that_was_rewritten_as_a_whole_does_not_match_its_signed_head() {
    let (one, two) = (some_history().await, some_history().await);
    std::fs::copy(two.path().join("hub.db"), one.path().join("hub.db")).unwrap();
    let (verified, verdict) = verify(one.path());
    assert!(!verified && verdict.reason.unwrap().contains("is not the one that was signed"));
    std::fs::copy(two.path().join("audit-head"), one.path().join("audit-head")).unwrap();
    let (verified, verdict) = verify(one.path());
    assert!(!verified && verdict.reason.unwrap().contains("another key"));
}

#[tokio::test]
async fn a_hub_does_not_start_on_a_record_that_ends_before_its_signed_head() {
    let data = some_history().await;
    let db = Connection::open(data.path().join("hub.db")).unwrap();
    db.execute("DELETE FROM audit WHERE seq > 3", []).unwrap();
    drop(db);
    let refused = start(config(data.path())).await.unwrap_err();
    assert!(matches!(refused, StartError::RolledBack { rows: 3, .. }), "{refused}");
    std::fs::File::options()
        .write(true)
        .open(data.path().join("audit-head"))
        .unwrap()
        .set_len(0)
        .unwrap();
    let refused = start(config(data.path())).await.unwrap_err();
    assert!(matches!(refused, StartError::NoHead { rows: 3 }), "{refused}");
}

#[tokio::test]
async fn one_process_serves_a_directory() {
    let rig = Rig::new().await;
    let refused = start(config(rig.data.path())).await.unwrap_err();
    assert!(matches!(refused, StartError::Data(DataError::Locked(_))), "{refused}");
    let out = Command::new(env!("CARGO_BIN_EXE_exeunt-hub"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(rig.data.path())
        .output()
        .unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("one process per data directory"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_address_that_other_machines_reach_is_refused_with_its_reason() {
    let data = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_exeunt-hub"))
        .args(["serve", "--listen", "0.0.0.0:0", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("--tls-cert"));
    assert!(!data.path().join("hub.db").exists(), "nothing was begun");
}

#[tokio::test]
async fn the_first_token_is_in_a_private_file_and_secrets_are_nowhere_in_clear() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let token = rig.device_token(json!({})).await;
    site.register(&rig, "alice", "secret-session-id").await;
    let data = rig.data.path().to_owned();
    for file in ["admin-token", "hub-key", "audit-head", "lock", "issuer", "hub.db", "hub.db-wal"] {
        let mode = std::fs::metadata(data.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let secrets = [rig.admin.clone(), site.secret.clone(), site.token.clone(), token.secret];
    let secrets: Vec<_> = secrets.into_iter().chain(["secret-session-id".to_owned()]).collect();
    for file in ["hub.db", "hub.db-wal"] {
        let bytes = std::fs::read(data.join(file)).unwrap();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret lies in {file}");
        }
    }
    let rig = rig.restart(|_| {}).await;
    assert_eq!(rig.get(path::DEVICES, &rig.admin).await.status, 200, "the token survives");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_full_disk_refuses_the_request_and_the_hub_recovers() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(mount.path())
        .status()
        .unwrap();
    if !mounted.success() {
        println!("skipped: this machine does not let root mount a tmpfs");
        return;
    }
    let _unmount = Unmount(mount.path().to_owned());
    let hub = start(config(&mount.path().join("data"))).await.unwrap();
    let admin = std::fs::read_to_string(hub.admin_token.as_ref().unwrap()).unwrap();
    let (http, admin) = (client(), admin.trim().to_owned());
    let (data, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rig = Rig { hub, data, keys, http, admin };
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let ballast = mount.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![0_u8; 2 << 20]);
    let mut accepted = Vec::new();
    let refused = loop {
        let name = format!("s-{}", accepted.len());
        let answer = site.try_register(&rig, "bob", &name, exeunt_hub::sequencer::now()).await;
        if !answer.status.is_success() {
            break answer;
        }
        accepted.push((name, answer.body["seq"].as_u64().unwrap()));
        assert!(accepted.len() < 20_000, "the disk never filled");
    };
    assert_eq!((refused.status.as_u16(), refused.code()), (507, "storage_full"));
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204, "reading goes on");
    assert_eq!(
        rig.post(path::SIGN_OUT, &rig.admin, &json!({"subject": "alice"})).await.status,
        507
    );
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204, "what was refused did not happen");

    std::fs::File::options().write(true).open(&ballast).unwrap().set_len(0).unwrap();
    rig.sign_out("alice").await;
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 401);
    for (name, seq) in &accepted {
        assert_eq!(site.check(&rig, "bob", name, *seq).await, 204);
    }
    let verdict: AuditVerdict = rig.get(path::AUDIT_VERIFY, &rig.admin).await.read();
    assert!(verdict.verified, "{verdict:?}");
    rig.hub.stop().await;
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Rounds of killing the hub under load; `EXEUNT_KILL_ROUNDS` asks for more.
fn rounds() -> usize {
    std::env::var("EXEUNT_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hub_that_is_killed_under_load_loses_nothing_it_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut ledger: Vec<(String, u64)> = Vec::new();
    let signed_out = Arc::default();
    let mut hub = Killable::start(data.path()).await;
    let (id, secret) = hub.service().await;
    for round in 0..rounds() {
        let token = hub.log_in(&id, &secret).await;
        let (kill, killed) = tokio::sync::watch::channel(false);
        let mut clients = Vec::new();
        for client in 0..4 {
            let ask = hub.registrar(&token, &signed_out);
            let killed = killed.clone();
            clients.push(tokio::spawn(async move {
                let mut answered = Vec::new();
                while !*killed.borrow() {
                    let name = format!("{round}-{client}-{}", answered.len());
                    // Somebody is signed out all the while: larger commits, with an order of work.
                    if client == 0 {
                        ask.sign_out(&name).await;
                    }
                    match ask.register(&name).await {
                        Some(seq) => answered.push((name, seq)),
                        None => break,
                    }
                }
                answered
            }));
        }
        tokio::time::sleep(std::time::Duration::from_millis(40 + 13 * (round as u64 % 7))).await;
        hub.kill();
        kill.send_replace(true);
        for client in clients {
            ledger.extend(client.await.unwrap());
        }
        hub = Killable::start(data.path()).await;
        let token = hub.log_in(&id, &secret).await;
        for (name, seq) in ledger.iter().rev().take(200) {
            assert_eq!(hub.check(&token, name, *seq).await, 204, "round {round}: {name} was lost");
        }
    }
    let mut seqs: Vec<_> = ledger.iter().map(|(_, seq)| *seq).collect();
    seqs.sort_unstable();
    let answered = seqs.len();
    seqs.dedup();
    assert_eq!(seqs.len(), answered, "no sequence was answered twice");
    assert!(answered > rounds(), "the load was real: {answered}");
    hub.kill();
    let db = Connection::open(data.path().join("hub.db")).unwrap();
    for (name, seq) in &ledger {
        let hash = exeunt_domain::session::SessionHash::of(
            "site",
            &exeunt_domain::SessionId::parse(name.as_str()).unwrap(),
        );
        let stored: u64 = db
            .query_row("SELECT seq FROM sessions WHERE hash = ?1", [hash.0], |row| row.get(0))
            .unwrap();
        assert_eq!(stored, *seq, "{name}");
    }
    let signed_out = signed_out.lock().unwrap();
    for whose in signed_out.iter() {
        let marks = "SELECT count(*) FROM watermarks WHERE subject = ?1";
        let marks: u64 = db.query_row(marks, [whose], |row| row.get(0)).unwrap();
        assert_eq!(marks, 1, "{whose} was signed out, and is not");
    }
    assert!(signed_out.len() > rounds() / 2, "people were signed out: {}", signed_out.len());
    let (rows, last): (u64, u64) = db
        .query_row("SELECT count(*), max(seq) FROM audit", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(rows, last, "the sequence has no gap");
    println!(
        "{} kills: {answered} registrations and {} sign-outs answered, {rows} rows, none lost",
        rounds(),
        signed_out.len()
    );
    let (verified, verdict) = verify(data.path());
    assert!(verified, "{verdict:?}");
}

/// The real binary, to be killed.
struct Killable {
    child: std::process::Child,
    url: String,
    http: reqwest::Client,
    admin: String,
}

#[derive(Clone)]
struct Registrar {
    url: String,
    http: reqwest::Client,
    token: String,
    admin: String,
    /// Whom the hub said to have signed out.
    signed_out: Arc<Mutex<Vec<String>>>,
}

impl Registrar {
    async fn register(&self, name: &str) -> Option<u64> {
        let body = json!({
            "subject": { "format": "opaque", "id": "load" }, "session_id": name, "kind": "web",
            "auth_time": exeunt_hub::sequencer::now(),
        });
        let ask = self.http.post(format!("{}/v1/sessions", self.url)).bearer_auth(&self.token);
        let answer = ask.json(&body).send().await.ok()?;
        if answer.status() != 201 {
            return None;
        }
        answer.json::<serde_json::Value>().await.ok()?["seq"].as_u64()
    }
}

impl Registrar {
    /// Registers a session of a person of its own, and signs that person out.
    async fn sign_out(&self, name: &str) {
        let whose = format!("out-{name}");
        let body = json!({
            "subject": { "format": "opaque", "id": whose }, "session_id": whose, "kind": "web",
            "auth_time": exeunt_hub::sequencer::now(),
        });
        let ask = self.http.post(format!("{}/v1/sessions", self.url)).bearer_auth(&self.token);
        if ask.json(&body).send().await.is_err() {
            return;
        }
        let ask = self.http.post(format!("{}/v1/sign-out", self.url)).bearer_auth(&self.admin);
        let Ok(answer) = ask.json(&json!({ "subject": whose })).send().await else { return };
        if answer.status().is_success() {
            self.signed_out.lock().unwrap().push(whose);
        }
    }
}

impl Killable {
    async fn start(data: &Path) -> Self {
        // The port is found once and kept, as a service's address is.
        let port_file = data.with_extension("port");
        let port: u16 = match std::fs::read_to_string(&port_file) {
            Ok(port) => port.parse().unwrap(),
            Err(_) => {
                let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let port = free.local_addr().unwrap().port();
                std::fs::write(&port_file, port.to_string()).unwrap();
                port
            }
        };
        let child = Command::new(env!("CARGO_BIN_EXE_exeunt-hub"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(data)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (http, url) = (client(), format!("http://127.0.0.1:{port}"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while http.get(format!("{url}/healthz")).send().await.is_err() {
            assert!(std::time::Instant::now() < deadline, "the hub does not come up");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let admin = std::fs::read_to_string(data.join("admin-token")).unwrap().trim().to_owned();
        Self { child, url, http, admin }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn service(&self) -> (String, String) {
        let ask = self.http.post(format!("{}/v1/services", self.url)).bearer_auth(&self.admin);
        let body = json!({ "name": "site", "aud": "site" });
        let answer: exeunt_api::ServiceResponse =
            ask.json(&body).send().await.unwrap().json().await.unwrap();
        (answer.client_id, answer.client_secret)
    }

    async fn log_in(&self, id: &str, secret: &str) -> String {
        let ask = self.http.post(format!("{}/oauth/token", self.url)).basic_auth(id, Some(secret));
        let answer = ask.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        answer.json::<exeunt_api::TokenResponse>().await.unwrap().access_token
    }

    fn registrar(&self, token: &str, signed_out: &Arc<Mutex<Vec<String>>>) -> Registrar {
        let (url, http, token) = (self.url.clone(), self.http.clone(), token.to_owned());
        Registrar { url, http, token, admin: self.admin.clone(), signed_out: signed_out.clone() }
    }

    async fn check(&self, token: &str, name: &str, seq: u64) -> reqwest::StatusCode {
        let address = format!("{}/v1/check?subject=load&session={name}&issued_seq={seq}", self.url);
        self.http.get(address).bearer_auth(token).send().await.unwrap().status()
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
