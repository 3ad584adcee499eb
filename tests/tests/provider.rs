//! A certified OpenID provider, and a sign-out that reaches it.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use exeunt_tests::gateway::{LoneHub, built};
use exeunt_tests::provider::{Provider, RelyingParty};
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
    let target = outcome_of(&hub, &txn, "op");
    assert_eq!(target["outcome"], "verified", "{target}");
    let detail = target["detail"].as_str().unwrap();
    assert!(detail.contains("a refresh is refused with invalid_grant"), "{detail}");
    assert!(detail.contains("not covered: the provider's own sign-in session"), "{detail}");
    let refused_after = target["rejected_after_ms"].as_u64().unwrap();
    assert!(refused_after < 60_000, "{target}");
    eprintln!("the old tokens were refused {refused_after} ms after the first call");

    let (status, said) = op.refresh(&tokens[0]).unwrap();
    assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")));
    assert!(!op.is_active(&tokens[0]).unwrap());
    // Bob is signed in as before.
    assert_eq!(op.refresh(&tokens[1]).unwrap().0, 200);
    assert!(op.is_active(&tokens[1]).unwrap());
}

/// A provider's final outcome.
fn outcome_of(hub: &LoneHub, txn: &str, name: &str) -> Value {
    let found = waiting::until("the provider's outcome", LIMIT, || {
        let state = hub.look(&format!("/v1/txn/{txn}"))?;
        let mut targets = state["targets"].as_array().cloned().unwrap_or_default().into_iter();
        let found = targets.find(|it| it["kind"] == "identity-provider" && it["id"] == name);
        let is_final = |target: &Value| {
            !["requested", "contained"].contains(&target["outcome"].as_str().unwrap_or_default())
        };
        Ok(found.filter(is_final))
    });
    found.unwrap_or_else(|error| panic!("{error:#}\n{}", hub.log()))
}

/// By Global Token Revocation the provider ends its own session, too, and tells its clients.
#[test]
fn a_relying_party_gets_a_real_logout_token_and_the_providers_session_ends() {
    if let Some(why) = Provider::missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let hub = LoneHub::start().unwrap();
    let party = RelyingParty::start("exeunt-hub").unwrap();
    let op = Provider::start_before(&hub.url, &party).unwrap();
    let site = hub.service("site").unwrap();
    let settings = json!({
        "kind": "global-revocation", "client_id": op.client_id,
        "endpoint": format!("{}/global-token-revocation", op.issuer),
    });
    hub.operate("/v1/connectors", &json!({ "name": "op", "settings": settings })).unwrap();
    let tried = hub.operate("/v1/connectors/op/test", &json!({})).unwrap();
    assert_eq!(tried["works"], true, "{tried}");
    let (mut alice, mut bob) = (op.visit("alice").unwrap(), op.visit("bob").unwrap());
    let token = op.sign_in("alice").unwrap();
    let session = json!({
        "subject": { "format": "opaque", "id": "alice" }, "session_id": "s", "kind": "web",
        "auth_time": now_ms(),
    });
    hub.as_service(&site, "/v1/sessions", &session).unwrap();
    // The control: all of it works before.
    assert_eq!(alice.silently().unwrap()["sub"], "alice");
    assert_eq!(op.refresh(&token).unwrap().0, 200);
    assert_eq!(party.received().unwrap(), [Value::Null; 0]);

    let done = hub.operate("/v1/sign-out", &json!({ "subject": "alice" })).unwrap();
    let target = outcome_of(&hub, done["txn"].as_str().unwrap(), "op");
    assert_eq!(target["outcome"], "partial", "204 says that it began: {target}");
    let told = party.received().unwrap();
    // Both of alice's browsers had a session there.
    assert_eq!(told.len(), 2, "{told:?}");
    for claims in &told {
        assert_eq!((&claims["sub"], &claims["iss"]), (&json!("alice"), &json!(op.issuer)));
    }
    let (status, said) = op.refresh(&token).unwrap();
    assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")));
    assert!(!op.is_active(&token).unwrap());
    assert_eq!(alice.silently().unwrap()["error"], "login_required");
    assert_eq!(bob.silently().unwrap()["sub"], "bob", "bob is signed in as before");
}

/// A browser whose session at the provider outlives the sign-out is signed in again silently, as
/// often as it likes: each ID token says when the person really signed in, and that is too old.
#[test]
fn a_silent_sign_in_by_the_providers_old_session_is_refused_however_it_races() {
    if let Some(why) = Provider::missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let op = Provider::start().unwrap();
    let hub = LoneHub::start().unwrap();
    let site = hub.service("site").unwrap();
    let token = hub.token(&site).unwrap();
    let ms = |claims: &Value| claims["auth_time"].as_u64().unwrap() * 1000;
    let register = |session: &str, auth_time: u64| {
        let body = json!({
            "subject": { "format": "opaque", "id": "alice" }, "session_id": session,
            "kind": "web", "auth_time": auth_time,
        });
        let ask = hub.http.post(format!("{}/v1/sessions", hub.url)).bearer_auth(&token);
        let answer = ask.json(&body).send().unwrap();
        (answer.status().as_u16(), answer.json::<Value>().unwrap())
    };
    let mut alice = op.visit("alice").unwrap();
    let (status, said) = register("s0", ms(&alice.first));
    assert_eq!(status, 201, "{said}");
    let first = said["seq"].as_u64().unwrap();
    // Set once the sign-out was answered: what begins after is after it.
    let answered = AtomicBool::new(false);
    let registered = AtomicUsize::new(0);
    let (accepted, refused) = std::thread::scope(|scope| {
        let again = scope.spawn(|| {
            let (mut accepted, mut refused) = (vec![("s0".to_owned(), first)], 0);
            for n in 1.. {
                let is_after = answered.load(Ordering::SeqCst);
                let claims = alice.silently().unwrap();
                assert_eq!(ms(&claims), ms(&alice.first), "the provider's session is the old one");
                let name = format!("s{n}");
                let (status, said) = register(&name, ms(&claims));
                registered.store(n, Ordering::SeqCst);
                match status {
                    201 => {
                        assert!(!is_after, "accepted after the sign-out was answered");
                        accepted.push((name, said["seq"].as_u64().unwrap()));
                    }
                    403 => {
                        assert_eq!(said["error"]["code"], "stale_auth", "{said}");
                        refused += usize::from(is_after);
                    }
                    other => panic!("{other}: {said}"),
                }
                if refused == 10 {
                    break;
                }
            }
            (accepted, refused)
        });
        waiting::until("some silent sign-ins", LIMIT, || {
            Ok((registered.load(Ordering::SeqCst) >= 5).then_some(()))
        })
        .unwrap();
        hub.operate("/v1/sign-out", &json!({ "subject": "alice" })).unwrap();
        answered.store(true, Ordering::SeqCst);
        again.join().unwrap()
    });
    assert_eq!(refused, 10);
    assert!(accepted.len() > 5, "{accepted:?}");
    // Whatever came in before the commit went with it.
    for (session, seq) in accepted {
        let path = format!("/v1/check?subject=alice&session={session}&issued_seq={seq}");
        let ask = hub.http.get(format!("{}{path}", hub.url)).bearer_auth(&token);
        assert_eq!(ask.send().unwrap().status(), 401, "{session}");
    }
    // Whoever really signs in is let in again: auth_time has whole seconds, so the next one counts.
    let welcome = waiting::until("a real sign-in", LIMIT, || {
        let claims = alice.anew()?;
        let (status, _) = register(&format!("new-{}", claims["auth_time"]), ms(&claims));
        Ok((status == 201).then_some(()))
    });
    welcome.unwrap();
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
