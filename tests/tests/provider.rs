//! A certified OpenID provider, and a sign-out that reaches it.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use exeunt_tests::gateway::{LoneHub, built};
use exeunt_tests::provider::Provider;
use exeunt_tests::waiting;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn an_old_refresh_token_is_refused_by_a_real_provider_after_the_sign_out() {
    if let Some(why) = Provider::missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let op = Provider::start().unwrap();
    let hub = LoneHub::start().unwrap();
    let site = hub.service("site").unwrap();
    let settings = json!({
        "kind": "oauth", "client_id": op.client_id, "client_secret": op.client_secret,
        "revocation_endpoint": format!("{}/token/revocation", op.issuer),
        "introspection_endpoint": format!("{}/token/introspection", op.issuer),
        "token_endpoint": format!("{}/token", op.issuer),
    });
    let connector = json!({ "name": "op", "settings": settings, "audiences": ["site"] });
    hub.operate("/v1/connectors", &connector).unwrap();
    let mut tokens = Vec::new();
    for person in ["alice", "bob"] {
        let token = op.sign_in(person).unwrap();
        let subject = json!({ "format": "opaque", "id": person });
        let session = json!({
            "subject": subject, "session_id": format!("s-{person}"), "kind": "web",
            "auth_time": now_ms(),
        });
        hub.as_service(&site, "/v1/sessions", &session).unwrap();
        let grant = json!({ "subject": subject, "token": token });
        hub.as_service(&site, "/v1/connectors/op/grants", &grant).unwrap();
        tokens.push(token);
    }
    // The control: it works before.
    assert_eq!(op.refresh(&tokens[0]).unwrap().0, 200);
    assert!(op.is_active(&tokens[0]).unwrap());

    let done = hub.operate("/v1/sign-out", &json!({ "subject": "alice" })).unwrap();
    let txn = done["txn"].as_str().unwrap().to_owned();
    let target = waiting::until("the provider's outcome", LIMIT, || {
        let state = hub.look(&format!("/v1/txn/{txn}"))?;
        let mut targets = state["targets"].as_array().cloned().unwrap_or_default().into_iter();
        let found = targets.find(|target| target["kind"] == "identity-provider");
        let is_final = |target: &Value| {
            !["requested", "contained"].contains(&target["outcome"].as_str().unwrap_or_default())
        };
        Ok(found.filter(is_final))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", hub.log()));
    assert_eq!(target["outcome"], "verified", "{target}");
    let detail = target["detail"].as_str().unwrap();
    assert!(detail.contains("a refresh is refused with invalid_grant"), "{detail}");
    assert!(detail.contains("not covered: the provider's own sign-in session"), "{detail}");

    let (status, said) = op.refresh(&tokens[0]).unwrap();
    assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")));
    assert!(!op.is_active(&tokens[0]).unwrap());
    // Bob is signed in as before.
    assert_eq!(op.refresh(&tokens[1]).unwrap().0, 200);
    assert!(op.is_active(&tokens[1]).unwrap());
}

#[test]
fn a_log_out_at_a_real_provider_ends_the_sessions_that_came_of_it() {
    if let Some(why) = Provider::missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let hub = LoneHub::start().unwrap();
    let op = Provider::start_with(Some(&format!("{}/v1/back-channel-logout", hub.url))).unwrap();
    let registered = json!({
        "issuer": op.issuer, "jwks_uri": format!("{}/jwks", op.issuer), "clients": [op.client_id],
        "may_speak_about": { "issuers": [op.issuer] },
    });
    hub.operate("/v1/transmitters", &registered).unwrap();
    let site = hub.service("site").unwrap();
    let mut browsing = Vec::new();
    for (person, session) in [("alice", "s-1"), ("alice", "s-2"), ("bob", "s-3")] {
        let browser = op.browse(person).unwrap();
        let body = json!({
            "subject": { "format": "iss_sub", "iss": op.issuer, "sub": person }, "kind": "web",
            "session_id": session, "auth_time": now_ms(), "idp_sid": browser.claims["sid"],
        });
        hub.as_service(&site, "/v1/sessions", &body).unwrap();
        browsing.push(browser);
    }
    let statuses = |person: &str| -> Vec<String> {
        let asked = hub.look(&format!("/v1/sessions?subject={}|{person}", op.issuer)).unwrap();
        let all = asked["sessions"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (statuses("alice"), statuses("bob")),
        (vec!["active".into(); 2], vec!["active".into()])
    );
    browsing.remove(0).sign_out().unwrap();
    waiting::until("the log-out", LIMIT, || {
        Ok(statuses("alice").contains(&"ended".to_owned()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", hub.log()));
    // Newest first: the other browser's session, and everyone else's, go on.
    assert_eq!(statuses("alice"), ["active", "ended"]);
    assert_eq!(statuses("bob"), ["active"]);
    assert_eq!(hub.look("/v1/audit/verify").unwrap()["verified"], true);
}

/// An operator's own directory and hub.
struct Desk<'a> {
    home: tempfile::TempDir,
    hub: &'a LoneHub,
}

impl Desk<'_> {
    fn admin(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built("exeunt").unwrap());
        command.arg("admin").args(arguments).arg("--json").env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.home.path());
        command
    }

    /// Signs `person` in; what the command answered.
    fn sign_in(&self, op: &Provider, person: &str) -> Output {
        let mut login = self.admin(&["login", "--oidc", "--hub", &self.hub.url]);
        login.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut login = login.spawn().unwrap();
        let mut said = BufReader::new(login.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("/auth?") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "no address was printed");
        }
        op.come_back(line.trim(), person).unwrap();
        login.wait_with_output().unwrap()
    }

    fn ask(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.admin(arguments).output().unwrap();
        let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said)
    }
}

/// The operators' sign-in with a real provider: PKCE, loopback, roles from its groups.
#[test]
fn an_operator_signs_in_at_a_real_provider_and_gets_the_roles_of_their_groups() {
    if let Some(why) = Provider::missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let op = Provider::start().unwrap();
    let settings = tempfile::tempdir().unwrap();
    let file = settings.path().join("sign-in.toml");
    let text = format!(
        "issuer = \"{}\"\nclient_id = \"exeunt-operators\"\nroles_claim = \"groups\"\n\
         [roles]\nresponder = [\"soc\"]\n",
        op.issuer
    );
    std::fs::write(&file, text).unwrap();
    let hub = LoneHub::start_with(&["--sign-in", file.to_str().unwrap()]).unwrap();
    let desk = Desk { home: tempfile::tempdir().unwrap(), hub: &hub };

    let done = desk.sign_in(&op, "soc-olive");
    assert!(done.status.success(), "{done:?}\n{}", hub.log());
    let said: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&said["name"], &said["roles"]), (&json!("soc-olive"), &json!(["responder"])));
    assert_eq!(desk.ask(&["device", "list"]).0, Some(0));
    let (code, refused) = desk.ask(&["device", "token"]);
    assert_eq!((code, &refused["error"]["code"]), (Some(5), &json!("forbidden")), "{refused}");
    let log = hub.look("/v1/audit/verify").unwrap();
    assert_eq!(log["verified"], true);

    // Somebody of whom no role is known gets nothing.
    let stranger = Desk { home: tempfile::tempdir().unwrap(), hub: &hub };
    let refused = stranger.sign_in(&op, "otto");
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let said: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert!(said["error"]["message"].as_str().unwrap().contains("no role"), "{said}");
    assert_eq!(stranger.ask(&["device", "list"]).1["error"]["code"], "not_logged_in");
}
