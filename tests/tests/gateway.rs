//! The real nginx, configured as documented, refuses a signed-out session on its next request.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use exeunt_tests::gateway::{LoneHub, Nginx};
use serde_json::json;

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn nginx_refuses_the_next_request_after_a_sign_out() {
    if !Nginx::is_here() {
        eprintln!("SKIPPED: no nginx on this machine");
        return;
    }
    let hub = LoneHub::start().unwrap();
    let site = hub.service("site").unwrap();
    for (subject, session) in [("alice", "s1"), ("bob", "s2")] {
        let body = json!({
            "subject": { "format": "opaque", "id": subject }, "session_id": session,
            "kind": "web", "auth_time": now_ms(),
        });
        hub.as_service(&site, "/v1/sessions", &body).unwrap();
    }
    let nginx = Nginx::before(&hub, &site).unwrap();
    let get = |cookie: &str| {
        let ask = hub.http.get(format!("{}/deep/page?aud=x", nginx.url)).header("cookie", cookie);
        // A visitor cannot say who they are, nor where to look.
        let ask = ask.header("x-exeunt-subject", "root").header("x-exeunt-session-in", "header x");
        let answer = ask.header("x-exeunt-gateway", "a:b").send().unwrap();
        (answer.status().as_u16(), answer.text().unwrap())
    };
    assert_eq!(get("sid=s1"), (200, "page of alice\n".to_owned()));
    assert_eq!(get("").0, 401);
    assert_eq!(get("sid=s9").0, 401);
    hub.operate("/v1/sign-out", &json!({ "subject": "alice" })).unwrap();
    assert_eq!(get("sid=s1").0, 401);
    assert_eq!(get("sid=s2"), (200, "page of bob\n".to_owned()));
    nginx.stop().unwrap();
}
