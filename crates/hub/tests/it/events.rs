//! What events of other parties end, by the operator's policy.
//!
//! It refuses to take an answer of 202 for an effect: what ended is looked at by a check.

use exeunt_hub::sequencer::now;
use exeunt_ssf::new_id;
use serde_json::{Value, json};

use crate::idp::{ISSUER, key, register};
use crate::rig::{Answer, Rig, answer};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";

/// A hub that follows this policy, and a transmitter's door at it.
async fn rig(policy: &str) -> (Rig, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, policy).unwrap();
    let rig = Rig::with(|config| config.policy = Some(file)).await;
    let made = register(&rig, json!({})).await;
    (rig, made.body["endpoint_url"].as_str().unwrap().to_owned())
}

async fn send(rig: &Rig, door: &str, event: &str, body: Value, sub_id: Value) -> Answer {
    let claims = json!({
        "iss": ISSUER, "aud": "exeunt", "jti": new_id(now()).unwrap(), "iat": now().as_secs(),
        "sub_id": sub_id, "events": { (format!("{CAEP}{event}")): body },
    });
    let compact = key().sign_jwt("secevent+jwt", &claims).unwrap();
    let ask = rig.http.post(door).header("content-type", "application/secevent+jwt").body(compact);
    answer(ask).await
}

fn ann() -> Value {
    json!({ "format": "email", "email": "ann@corp.example" })
}

#[tokio::test]
async fn a_policy_decides_what_an_event_ends() {
    let policy = "[events]\nsession-revoked = \"nothing\"\nrisk-level-change = \"sign-out\"\n\
                  device-compliance-change = \"lock\"\n";
    let (rig, door) = rig(policy).await;
    let site = rig.service("site").await;
    let device = rig.device("occ-07").await;
    let mut seq = site.register(&rig, "ann@corp.example", "s").await;
    device
        .begin(&rig, "ann@corp.example", "console", exeunt_domain::Proof::Account)
        .await
        .read::<Value>();
    let high = json!({ "principal": "USER", "current_level": "HIGH" });
    let low = json!({ "principal": "USER", "current_level": "LOW" });
    let not = json!({ "current_status": "not-compliant", "previous_status": "compliant" });
    for (event, body, alive, orders) in [
        ("session-revoked", json!({}), true, 0),
        ("risk-level-change", low, true, 0),
        ("device-compliance-change", not, true, 1),
        ("risk-level-change", high, false, 2),
    ] {
        assert_eq!(send(&rig, &door, event, body, ann()).await.status, 202, "{event}");
        let now = site.check(&rig, "ann@corp.example", "s", seq).await;
        assert_eq!(now == 204, alive, "{event}: {now}");
        let done = rig.audited("sign-out").await;
        assert_eq!(done.len(), orders, "{event}: {done:?}");
    }
    let done = rig.audited("sign-out").await;
    assert_eq!(
        (&done[0]["detail"]["tier"], &done[1]["detail"]["tier"]),
        (&json!("lock"), &json!("sign-out"))
    );
    // Names nobody, but then it ends nothing either: noted, and no error for the transmitter.
    let nobody = send(&rig, &door, "session-revoked", json!({}), json!({})).await;
    assert_eq!(nobody.status, 202);
    let nobody =
        send(&rig, &door, "credential-change", json!({ "change_type": "revoke" }), json!({})).await;
    assert_eq!(nobody.status, 400, "by default it ends sessions");
    seq = site.register(&rig, "ann@corp.example", "s2").await;
    assert_eq!(site.check(&rig, "ann@corp.example", "s2", seq).await, 204);
    rig.hub.stop().await;
}

#[tokio::test]
async fn without_a_policy_compliance_and_risk_are_noted_and_end_nothing() {
    let (rig, door) = rig("").await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "ann@corp.example", "s").await;
    for (event, body) in [
        ("risk-level-change", json!({ "principal": "USER", "current_level": "HIGH" })),
        ("device-compliance-change", json!({ "current_status": "not-compliant" })),
    ] {
        assert_eq!(send(&rig, &door, event, body, ann()).await.status, 202, "{event}");
        assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204, "{event}");
    }
    assert_eq!(rig.audited("signal-noted").await.len(), 2);
    assert_eq!(send(&rig, &door, "session-revoked", json!({}), ann()).await.status, 202);
    assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 401, "the control");
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_event_about_one_session_ends_none_where_the_policy_says_lock() {
    let (rig, door) = rig("[events]\nsession-revoked = \"lock\"\n").await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "ann@corp.example", "s").await;
    let one = json!({ "format": "complex", "user": ann(),
        "session": { "format": "opaque", "id": "sid-1" } });
    let refused = send(&rig, &door, "session-revoked", json!({}), one).await;
    assert_eq!((refused.status.as_u16(), &refused.body["err"]), (400, &json!("access_denied")));
    assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_paused_stream_is_an_alarm_that_operators_see() {
    let (rig, _) = rig("").await;
    let list = rig.get("/v1/transmitters", &rig.admin).await.body;
    assert_eq!(list["transmitters"][0]["stream"]["status"], "enabled");
    let id = list["transmitters"][0]["id"].as_str().unwrap();
    let claims = json!({
        "iss": ISSUER, "aud": "exeunt", "jti": new_id(now()).unwrap(), "iat": now().as_secs(),
        "sub_id": { "format": "opaque", "id": "stream" },
        "events": { "https://schemas.openid.net/secevent/ssf/event-type/stream-updated":
            { "status": "paused", "reason": "maintenance" } },
    });
    let compact = key().sign_jwt("secevent+jwt", &claims).unwrap();
    let ask = rig.http.post(rig.url(&format!("/ssf/receive/{id}")));
    let ask = ask.header("content-type", "application/secevent+jwt").body(compact);
    assert_eq!(answer(ask).await.status, 202);
    let list = rig.get("/v1/transmitters", &rig.admin).await.body;
    let stream = &list["transmitters"][0]["stream"];
    assert_eq!((&stream["status"], &stream["reason"]), (&json!("paused"), &json!("maintenance")));
    assert_eq!(rig.audited("stream-alarm").await.len(), 1);
    let alarms = rig.get("/v1/alarms", &rig.admin).await.body;
    let alarm = &alarms["alarms"][0];
    assert_eq!(alarm["kind"], "stream-alarm", "{alarms}");
    assert_eq!(alarm["detail"], "a transmitter's stream is paused: maintenance");
    rig.hub.stop().await;
}
