//! Bad input: refused with the code of its RFC, and nothing changed.
//!
//! It refuses to take a status alone for proof: each test looks at what did not happen.

use std::time::Duration;

use exeunt_api::path;
use exeunt_domain::order::{PROGRESS_EVENT, SESSION_ESTABLISHED_EVENT};
use exeunt_domain::{Outcome, Proof, Tier, Timestamp, Txn};
use exeunt_hub::sequencer::now;
use exeunt_ssf::{Set, SigningKey, new_id};
use serde_json::{Value, json};

use crate::rig::{Device, Rig, answer, push};

fn established(session: &str) -> Value {
    json!({
        "subject": { "format": "opaque", "id": "alice" }, "session_id": session,
        "kind": "console", "proof": "account", "since": now(),
    })
}

async fn sessions(rig: &Rig) -> usize {
    let list = rig.get("/v1/sessions?subject=alice", &rig.admin).await;
    list.read::<exeunt_api::SessionList>().sessions.len()
}

#[tokio::test]
async fn refuses_bad_sets_with_the_code_of_rfc_8935_and_does_nothing() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let other = rig.device("occ-08").await;
    let set = |aud: &str| device.set(aud, SESSION_ESTABLISHED_EVENT, &established("s"));
    let good = set(&rig.hub.issuer);
    let signed = device.key.sign(&good).unwrap();
    let (body, _) = signed.rsplit_once('.').unwrap();
    let at = |iat| Set { iat, ..good.clone() };
    let stranger = SigningKey::generate().unwrap();
    let kid_of_device = {
        let forged = other.key.sign(&good).unwrap();
        let header = signed.split('.').next().unwrap();
        let (_, rest) = forged.split_once('.').unwrap();
        format!("{header}.{rest}")
    };
    let cases = [
        ("malformed", "no SET at all".to_owned(), "invalid_request"),
        ("unsigned", format!("{body}."), "authentication_failed"),
        ("wrong key", stranger.sign(&good).unwrap(), "invalid_key"),
        ("another device's key", other.key.sign(&good).unwrap(), "invalid_key"),
        ("another's signature", kid_of_device, "authentication_failed"),
        ("wrong audience", device.key.sign(&set("elsewhere")).unwrap(), "invalid_audience"),
        (
            "wrong issuer",
            device.key.sign(&Set { iss: "occ-08".into(), ..good.clone() }).unwrap(),
            "invalid_issuer",
        ),
        ("of 1970", device.key.sign(&at(1)).unwrap(), "invalid_request"),
        (
            "of the future",
            device.key.sign(&at(now().as_secs() + 90_000)).unwrap(),
            "invalid_request",
        ),
        ("no JWS typ", device.key.sign_jwt("JWT", &good).unwrap(), "invalid_request"),
        (
            "unknown event",
            device.key.sign(&device.set(&rig.hub.issuer, "urn:x", &json!({}))).unwrap(),
            "invalid_request",
        ),
    ];
    for (what, compact, code) in cases {
        let refused = push(&rig, path::EVENTS, &device.token, compact).await;
        assert_eq!(
            (refused.status.as_u16(), refused.body["err"].as_str()),
            (400, Some(code)),
            "{what}"
        );
        assert!(refused.body["description"].is_string(), "{what}");
    }
    assert_eq!(sessions(&rig).await, 0);
    assert_eq!(push(&rig, path::EVENTS, &device.token, signed).await.status, 202);
    assert_eq!(sessions(&rig).await, 1);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_repeated_set_is_accepted_and_does_nothing() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let set = device.set(&rig.hub.issuer, SESSION_ESTABLISHED_EVENT, &established("s"));
    let compact = device.key.sign(&set).unwrap();
    for _ in 0..3 {
        assert_eq!(push(&rig, path::EVENTS, &device.token, compact.clone()).await.status, 202);
    }
    assert_eq!(rig.audited("session-registered").await.len(), 1);
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_enrolment_token_is_good_once() {
    let rig = Rig::new().await;
    let token = rig.device_token(json!({})).await;
    let mut first = Device::new("occ-07");
    assert_eq!(first.enrol(&rig, &token).await.status, 200);
    let refused = Device::new("occ-08").enrol(&rig, &token).await;
    assert_eq!(
        (refused.status.as_u16(), refused.body["err"].as_str()),
        (403, Some("access_denied"))
    );
    assert!(refused.body["description"].as_str().unwrap().contains("used already"));
    assert_eq!(rig.audited("enrolment-refused").await.len(), 1);

    let unknown = exeunt_ssf::EnrolToken { secret: "guess".into(), ..token };
    let refused = Device::new("occ-08").enrol(&rig, &unknown).await;
    assert!(refused.body["description"].as_str().unwrap().contains("unknown"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_unnamed_token_does_not_take_over_an_enrolled_name() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let token = rig.device_token(json!({})).await;
    let refused = Device::new("occ-07").enrol(&rig, &token).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body["description"].as_str().unwrap().contains("enrolled"));
    assert!(device.peek(&rig).await.is_empty(), "the enrolled device still polls");
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_enrolment_set_signed_by_another_key_is_refused() {
    let rig = Rig::new().await;
    let token = rig.device_token(json!({})).await;
    let (victim, thief) = (Device::new("occ-07"), SigningKey::generate().unwrap());
    let event = exeunt_ssf::EnrolEvent {
        secret: token.secret.clone(),
        device_jwk: victim.key.jwk().clone(),
        agent_jwk: thief.jwk().clone(),
        name: "occ-07".into(),
        mode: exeunt_domain::receipt::Mode::User,
    };
    let set = victim.set(&rig.hub.issuer, exeunt_domain::order::ENROL_EVENT, &event);
    let refused = push(&rig, path::ENROL, "", thief.sign(&set).unwrap()).await;
    assert_eq!(refused.body["err"], "invalid_key");
    assert_eq!(Device::new("occ-07").enrol(&rig, &token).await.status, 200, "the token is unused");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_client_assertion_is_good_once_and_only_for_this_hub() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let assertion = device.assertion(&rig);
    assert_eq!(device.ask_token(&rig, &assertion).await.status, 200);
    assert_eq!(device.ask_token(&rig, &assertion).await.body["error"], "invalid_client");
    let claims = |aud: &str, exp| {
        json!({ "iss": "occ-07", "sub": "occ-07", "aud": aud, "exp": exp,
            "jti": new_id(now()).unwrap() })
    };
    let endpoint = rig.url(path::TOKEN);
    let soon = now().as_secs() + 60;
    for (what, claims) in [
        ("another audience", claims("http://elsewhere/oauth/token", soon)),
        ("past its time", claims(&endpoint, soon - 600)),
        ("too long-lived", claims(&endpoint, soon + 86_400)),
    ] {
        let refused = device.ask_token(&rig, &device.agent.sign_jwt("JWT", &claims).unwrap()).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["error"]),
            (401, &json!("invalid_client")),
            "{what}"
        );
    }
    let by_device_key = device.key.sign_jwt("JWT", &claims(&endpoint, soon)).unwrap();
    assert_eq!(device.ask_token(&rig, &by_device_key).await.status, 401);
    rig.hub.stop().await;
}

#[tokio::test]
async fn every_door_wants_its_own_kind_of_token() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    let site = rig.service("site").await;
    let poll = json!({ "returnImmediately": true });
    let sign_out = json!({ "subject": "alice" });
    assert_eq!(rig.post(path::SIGN_OUT, "", &sign_out).await.status, 401);
    assert_eq!(rig.post(path::SIGN_OUT, "guess", &sign_out).await.status, 401);
    for token in [&device.token, &site.token] {
        assert_eq!(rig.post(path::SIGN_OUT, token, &sign_out).await.status, 403);
        assert_eq!(rig.get(path::DEVICES, token).await.status, 403);
        assert_eq!(rig.get("/v1/audit/verify", token).await.status, 403);
    }
    assert_eq!(rig.post(path::POLL, &site.token, &poll).await.status, 403);
    assert_eq!(rig.post(path::POLL, &rig.admin, &poll).await.status, 401);
    assert_eq!(rig.get("/v1/check/snapshot", &device.token).await.status, 403);
    rig.hub.stop().await;
}

#[tokio::test]
async fn refuses_bodies_that_are_too_large_broken_misnamed_or_of_the_wrong_type() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s").await;
    let misspelt = json!({ "subject": "alice", "devise": "occ-07" });
    let refused = rig.post(path::SIGN_OUT, &rig.admin, &misspelt).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("devise"));

    let large = json!({ "subject": "alice", "reason": "x".repeat(2 << 20) });
    let refused = rig.post(path::SIGN_OUT, &rig.admin, &large).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (413, "too_large"));

    let ask = || rig.http.post(rig.url(path::SIGN_OUT)).bearer_auth(&rig.admin);
    let broken = ask().header("content-type", "application/json").body("{\"subject\":");
    assert_eq!(answer(broken).await.status, 400);
    let mistyped = ask().header("content-type", "text/plain").body("{\"subject\":\"alice\"}");
    assert_eq!(answer(mistyped).await.status, 415);
    let unknown = rig.get("/v1/check?subject=a&session=b&issued_seq=1&x=1", &site.token).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (400, "invalid_request"));
    assert_eq!(rig.get("/v1/nothing", &rig.admin).await.code(), "not_found");
    assert_eq!(rig.get(path::SIGN_OUT, &rig.admin).await.code(), "method_not_allowed");
    assert!(rig.audited("sign-out").await.is_empty());
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_or_body_is_cut_off() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rig = Rig::with(|config| config.limits.read_timeout = Duration::from_millis(200)).await;
    let body = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        path::SIGN_OUT,
        rig.admin
    );
    for (begun, answer) in [("GET /healthz HTTP/1.1\r\nhost:", ""), (&body, "HTTP/1.1 408")] {
        let mut slow = tokio::net::TcpStream::connect(rig.hub.addr).await.unwrap();
        slow.write_all(begun.as_bytes()).await.unwrap();
        let mut heard = String::new();
        // Ends only because the hub hangs up.
        slow.read_to_string(&mut heard).await.unwrap();
        assert!(heard.starts_with(answer), "{heard}");
    }
    assert_eq!(rig.get(path::HEALTH, "").await.status, 200);
    rig.hub.stop().await;
}

#[tokio::test]
async fn refuses_times_in_seconds_and_from_the_future_at_registration() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    for wrong in [Timestamp(now().as_secs()), now().plus_ms(600_000)] {
        let refused = site.try_register(&rig, "alice", "s", wrong).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"));
    }
    assert_eq!(sessions(&rig).await, 0);
    rig.hub.stop().await;
}

#[tokio::test]
async fn hostile_subjects_are_text_and_nothing_else() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let hostile = "x'; DROP TABLE sessions; --";
    let seq = site.register(&rig, hostile, "s1").await;
    site.register(&rig, "alice", "s2").await;
    assert_eq!(rig.sign_out(hostile).await.sessions.len(), 1);
    assert_eq!(sessions(&rig).await, 1);
    assert!(seq > 0);
    for unknown in ["%", "*", "everyone", "alic"] {
        let refused = rig.post(path::SIGN_OUT, &rig.admin, &json!({ "subject": unknown })).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (404, "unknown_subject"),
            "{unknown}"
        );
    }
    assert_eq!(rig.audited("sign-out-refused").await.len(), 4);
    rig.hub.stop().await;
}

#[tokio::test]
async fn progress_of_an_earlier_enrolment_is_refused() {
    let rig = Rig::new().await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "alice", "c", Proof::Account).await;
    let txn = rig.sign_out("alice").await.txn.unwrap();
    let old = json!({ "txn": txn, "outcome": "fenced", "at": now(), "epoch": 0 });
    let refused = device.push(&rig, PROGRESS_EVENT, &old).await;
    assert_eq!(refused.body["err"], "access_denied");
    let done = device.progress(&rig, &txn, Outcome::Verified).await;
    assert_eq!(done.body["err"], "invalid_request", "only a receipt verifies");
    assert_eq!(rig.txn(&txn).await.targets[0].outcome, Outcome::Requested);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_device_may_ask_only_for_a_subject_with_a_live_proved_session_there() {
    let rig = Rig::with(|config| config.limits.requests_per_hour = 1).await;
    let device = rig.device("occ-07").await;
    device.begin(&rig, "ceo", "asserted", Proof::Asserted).await;
    device.begin(&rig, "alice", "proved", Proof::Account).await;
    let ask = |txn, subject, session, tier| device.ask_sign_out(&rig, txn, subject, session, tier);
    for (what, subject, session, tier) in [
        ("asserted", "ceo", "asserted", Tier::SignOut),
        ("another's session", "ceo", "proved", Tier::SignOut),
        ("no session", "alice", "unknown", Tier::SignOut),
        ("purge", "alice", "proved", Tier::Purge),
    ] {
        let refused = ask("t-0", subject, session, tier).await;
        assert_eq!(refused.body["err"], "access_denied", "{what}");
    }
    let unknown = rig.get(&path::txn(&Txn::parse("t-0").unwrap()), &rig.admin).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(ask("t-1", "alice", "proved", Tier::SignOut).await.status, 202);
    device.begin(&rig, "alice", "again", Proof::Account).await;
    let refused = ask("t-2", "alice", "again", Tier::SignOut).await;
    assert!(refused.body["description"].as_str().unwrap().contains("too often"));
    rig.hub.stop().await;
}
