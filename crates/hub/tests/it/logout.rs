//! Back-channel logout by a provider that the test plays; the real one is in
//! `tests/tests/provider.rs`.
//!
//! It refuses to try only the way that works: each part of the token is tried when it does not fit.

use exeunt_hub::back_channel_logout::PATH;
use exeunt_hub::sequencer::now;
use exeunt_ssf::LOGOUT_EVENT;
use serde_json::{Value, json};

use crate::idp::{ISSUER, STRANGER, claims, key, register, tampered, unsigned};
use crate::rig::{Answer, Rig, Service, answer};

const TYP: &str = "logout+jwt";

fn logout(more: &Value) -> Value {
    let mut claims = claims("exeunt", &json!({ "events": { LOGOUT_EVENT: {} } }));
    let members = claims.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

fn signed(typ: &str, claims: &Value) -> String {
    key().sign_jwt(typ, claims).unwrap()
}

async fn send(rig: &Rig, token: &str) -> Answer {
    let ask = rig.http.post(rig.url(PATH)).form(&[("logout_token", token)]);
    let response = ask.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status();
    let text = response.text().await.unwrap();
    Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"].as_str().unwrap_or_default())
}

/// A session that came of the provider's session `sid`.
async fn begin(rig: &Rig, site: &Service, subject: &Value, session: &str, sid: &str) -> Answer {
    let body = json!({ "subject": subject, "session_id": session, "kind": "web",
        "auth_time": now(), "idp_sid": sid });
    answer(rig.http.post(rig.url("/v1/sessions")).bearer_auth(&site.token).json(&body)).await
}

fn email(name: &str) -> Value {
    json!({ "format": "email", "email": format!("{name}@corp.example") })
}

#[tokio::test]
async fn a_sid_ends_the_sessions_that_came_of_it_before_200_and_no_other() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let other = rig.service("other").await;
    let made = |answer: Answer| answer.body["seq"].as_u64().unwrap();
    let one = made(begin(&rig, &site, &email("ann"), "s1", "sid-1").await);
    let two = made(begin(&rig, &other, &email("ann"), "s2", "sid-1").await);
    let stays = made(begin(&rig, &site, &email("ann"), "s3", "sid-2").await);
    let ann = "ann@corp.example";
    assert_eq!(site.check(&rig, ann, "s1", one).await, 204);
    let token = signed(TYP, &logout(&json!({ "sid": "sid-1", "sub": "00u1" })));
    let done = send(&rig, &token).await;
    assert_eq!((done.status.as_u16(), &done.body), (200, &json!("")));
    assert_eq!(site.check(&rig, ann, "s1", one).await, 401, "the very next check");
    assert_eq!(other.check(&rig, ann, "s2", two).await, 401, "every service's");
    assert_eq!(site.check(&rig, ann, "s3", stays).await, 204);
    // Once is once, though the log-out had been carried out.
    assert_eq!(said(&send(&rig, &token).await), (400, "invalid_request"));
    // What was on its way when the provider said so comes too late.
    let late = begin(&rig, &site, &email("ann"), "s4", "sid-1").await;
    assert_eq!((late.status.as_u16(), late.code()), (403, "stale_auth"));
    let rig = rig.restart(|_| {}).await;
    let token = site.log_in(&rig).await;
    let old = format!("/v1/check?subject={ann}&session=s1&issued_seq={one}");
    assert_eq!(rig.get(&old, &token).await.status, 401, "it lasts");
    let rows = rig.audited("session-ended").await;
    assert_eq!((rows.len(), &rows[0]["detail"]["event"]), (1, &json!("back-channel-logout")));
    assert_eq!(rig.get("/v1/audit/verify", &rig.admin).await.body["verified"], true);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_sub_alone_ends_every_session_of_that_person_and_the_unknown_are_logged_out_already() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let (ann, bob) = (format!("{ISSUER}|00u1"), format!("{ISSUER}|00u2"));
    let one = site.register(&rig, &ann, "s1").await;
    let two = site.register(&rig, &bob, "s2").await;
    let ended = send(&rig, &signed(TYP, &logout(&json!({ "sub": "00u1" })))).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert_eq!(site.check(&rig, &ann, "s1", one).await, 401);
    for claims in [json!({ "sub": "nobody" }), json!({ "sid": "nowhere" })] {
        assert_eq!(send(&rig, &signed(TYP, &logout(&claims))).await.status, 200, "{claims}");
    }
    // Keycloak's: no type of its own, a member beside the event, and, long ago, no end.
    let events = json!({ LOGOUT_EVENT: {}, "revoke_offline_access": true });
    let keycloak = json!({ "sub": "nobody", "typ": "Logout", "events": events, "exp": null });
    assert_eq!(send(&rig, &signed("JWT", &logout(&keycloak))).await.status, 200);
    assert_eq!(site.check(&rig, &bob, "s2", two).await, 204);
    assert_eq!(rig.audited("signal-unresolved").await.len(), 3);
    rig.hub.stop().await;
}

#[tokio::test]
async fn every_part_of_the_token_must_fit() {
    let rig = Rig::new().await;
    register(&rig, json!({ "clients": ["shop", "mail"] })).await;
    let site = rig.service("site").await;
    let good = json!({ "sid": "sid-1", "aud": "shop" });
    let seq = begin(&rig, &site, &email("ann"), "s", "sid-1").await.body["seq"].as_u64().unwrap();
    let with = |more: Value| {
        let mut claims = logout(&good);
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signed(TYP, &claims)
    };
    let fine = logout(&good);
    for (what, token) in [
        ("nothing", String::new()),
        ("no JWT", "a.b.c".into()),
        ("another key", STRANGER.sign_jwt(TYP, &fine).unwrap()),
        ("a signature over something else", tampered(&signed(TYP, &fine), &logout(&good))),
        ("no algorithm", unsigned(TYP, "none", &fine)),
        ("a symmetric algorithm", unsigned(TYP, "HS256", &fine)),
        ("another algorithm of the same key", unsigned(TYP, "PS256", &fine)),
        ("another issuer", with(json!({ "iss": "https://other.example" }))),
        ("our name for SETs, where clients are named", with(json!({ "aud": "exeunt" }))),
        ("another client", with(json!({ "aud": "someone" }))),
        ("past its time", with(json!({ "exp": now().as_secs() - 120 }))),
        ("of 1970", with(json!({ "iat": 0, "exp": null }))),
        ("of 2100", with(json!({ "iat": 4_102_444_800_u64 }))),
        ("no iat", with(json!({ "iat": null }))),
        ("no jti", with(json!({ "jti": null }))),
        ("a jti with line breaks", with(json!({ "jti": "a\r\nb" }))),
        ("no events", with(json!({ "events": null }))),
        ("another event", with(json!({ "events": { "urn:x": {} } }))),
        ("a nonce", with(json!({ "nonce": "n" }))),
        ("nobody", with(json!({ "sid": null }))),
        ("a SET", signed("secevent+jwt", &fine)),
        ("a command", signed("command+jwt", &fine)),
    ] {
        let refused = send(&rig, &token).await;
        assert_eq!(said(&refused), (400, "invalid_request"), "{what}: {}", refused.body);
        assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204, "{what}");
    }
    assert_eq!(send(&rig, &with(json!({ "aud": ["x", "mail"] }))).await.status, 200);
    assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 401, "the control");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_provider_stays_within_its_bounds() {
    let rig = Rig::new().await;
    register(&rig, json!({ "rate_per_hour": 1 })).await;
    let site = rig.service("site").await;
    let eve = json!({ "format": "email", "email": "eve@other.example" });
    let foreign = begin(&rig, &site, &eve, "e", "sid-e").await.body["seq"].as_u64().unwrap();
    let refused = send(&rig, &signed(TYP, &logout(&json!({ "sid": "sid-e" })))).await;
    assert_eq!(said(&refused), (400, "invalid_request"));
    assert_eq!(site.check(&rig, "eve@other.example", "e", foreign).await, 204);
    assert_eq!(rig.audited("signal-refused").await.len(), 1);
    // Another person of the same provider than the one whose session it is.
    let bob = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "bob" });
    let seq = begin(&rig, &site, &bob, "b", "sid-b").await.body["seq"].as_u64().unwrap();
    let wrong = logout(&json!({ "sid": "sid-b", "sub": "ann" }));
    assert_eq!(said(&send(&rig, &signed(TYP, &wrong)).await), (400, "invalid_request"));
    assert_eq!(site.check(&rig, &format!("{ISSUER}|bob"), "b", seq).await, 204);
    // What ends nothing costs nothing; what ends something does.
    for sid in ["x", "y"] {
        assert_eq!(send(&rig, &signed(TYP, &logout(&json!({ "sid": sid })))).await.status, 200);
    }
    begin(&rig, &site, &email("ann"), "s1", "sid-1").await;
    begin(&rig, &site, &email("ann"), "s2", "sid-2").await;
    assert_eq!(send(&rig, &signed(TYP, &logout(&json!({ "sid": "sid-1" })))).await.status, 200);
    let over = send(&rig, &signed(TYP, &logout(&json!({ "sid": "sid-2" })))).await;
    assert_eq!(said(&over), (429, "rate_limited"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn whoever_may_only_lock_ends_no_session() {
    let rig = Rig::new().await;
    register(&rig, json!({ "tier_ceiling": "lock" })).await;
    let site = rig.service("site").await;
    let seq = begin(&rig, &site, &email("ann"), "s", "sid-1").await.body["seq"].as_u64().unwrap();
    for claims in [json!({ "sid": "sid-1" }), json!({ "sub": "ann" })] {
        let refused = send(&rig, &signed(TYP, &logout(&claims))).await;
        assert_eq!(said(&refused), (400, "invalid_request"), "{claims}");
    }
    assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204);
    rig.hub.stop().await;
}
