//! Global Token Revocation by an identity provider, in both bodies that are in use.
//!
//! It refuses to try only the way that works: each part of the proof is tried when it does not fit.

use exeunt_hub::global_revocation::{METADATA, PATH};
use exeunt_hub::sequencer::now;
use serde_json::{Value, json};

use crate::idp::{ISSUER, STRANGER, claims, key, register, tampered, unsigned};
use crate::rig::{Answer, Rig};

const TYP: &str = "global-token-revocation+jwt";

fn proof(rig: &Rig, more: &Value) -> String {
    key().sign_jwt(TYP, &claims(&rig.url(PATH), more)).unwrap()
}

fn about(email: &str) -> Value {
    json!({ "sub_id": { "format": "email", "email": email } })
}

async fn revoke(rig: &Rig, body: &Value) -> Answer {
    rig.post(PATH, &proof(rig, &json!({})), body).await
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn either_body_signs_the_subject_out_before_204() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let named = format!("{ISSUER}|u1");
    let okta = json!({ "subject": { "format": "iss_sub", "iss": ISSUER, "sub": "u1" } });
    for (subject, session, body) in
        [("ann@corp.example", "s1", about("Ann@corp.example")), (named.as_str(), "s2", okta)]
    {
        let seq = site.register(&rig, subject, session).await;
        assert_eq!(site.check(&rig, subject, session, seq).await, 204);
        let done = revoke(&rig, &body).await;
        assert_eq!((done.status.as_u16(), &done.body), (204, &json!("")), "{body}");
        assert_eq!(site.check(&rig, subject, session, seq).await, 401, "the very next check");
    }
    let rig = rig.restart(|_| {}).await;
    let token = site.log_in(&rig).await;
    let old = format!("/v1/check?subject={named}&session=s2&issued_seq=1");
    assert_eq!(rig.get(&old, &token).await.status, 401, "it lasts");
    let rows = rig.audited("sign-out").await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in &rows {
        assert!(row["actor"].as_str().unwrap().starts_with("transmitter:"), "{row}");
        assert_eq!(row["detail"]["event"], "global-token-revocation", "{row}");
        assert_eq!(row["detail"]["tier"], "sign-out", "{row}");
    }
    assert_eq!(rig.get("/v1/audit/verify", &rig.admin).await.body["verified"], true);
    rig.hub.stop().await;
}

#[tokio::test]
async fn every_part_of_the_proof_must_fit() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "ann@corp.example", "s").await;
    let endpoint = rig.url(PATH);
    let good = claims(&endpoint, &json!({}));
    let signed = |typ: &str, claims: &Value| key().sign_jwt(typ, claims).unwrap();
    let with = |more: Value| signed(TYP, &claims(&endpoint, &more));
    let other = claims(&endpoint, &json!({}));
    for (what, token) in [
        ("no token", String::new()),
        ("an operator's token", rig.admin.clone()),
        ("another key", STRANGER.sign_jwt(TYP, &good).unwrap()),
        ("a signature over something else", tampered(&signed(TYP, &good), &other)),
        ("no algorithm", unsigned(TYP, "none", &good)),
        ("a symmetric algorithm", unsigned(TYP, "HS256", &good)),
        ("another issuer", with(json!({ "iss": "https://other.example" }))),
        ("another audience", with(json!({ "aud": "https://other.example" }))),
        ("our name for SETs and ID tokens", with(json!({ "aud": "exeunt" }))),
        ("past its time", with(json!({ "exp": now().as_secs() - 120 }))),
        ("not yet", with(json!({ "nbf": now().as_secs() + 600 }))),
        ("no end", with(json!({ "exp": null }))),
        ("no name", with(json!({ "jti": null }))),
        ("an ID token", signed("JWT", &good)),
        ("a SET", signed("secevent+jwt", &good)),
    ] {
        let refused = rig.post(PATH, &token, &about("ann@corp.example")).await;
        assert_eq!(said(&refused), (401, "invalid_token"), "{what}: {}", refused.body);
        assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204, "{what}");
    }
    let challenged = rig.http.post(&endpoint).json(&json!({})).send().await.unwrap();
    assert_eq!(challenged.headers()["www-authenticate"], r#"Bearer error="invalid_token""#);
    let once = signed(TYP, &good);
    assert_eq!(rig.post(PATH, &once, &about("ann@corp.example")).await.status, 204);
    let again = site.register(&rig, "ann@corp.example", "s2").await;
    let repeat = rig.post(PATH, &once, &about("ann@corp.example")).await;
    assert_eq!(said(&repeat), (401, "invalid_token"));
    assert_eq!(site.check(&rig, "ann@corp.example", "s2", again).await, 204, "once is once");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_transmitter_stays_within_its_bounds_and_is_told_whom_nobody_knows() {
    let rig = Rig::new().await;
    register(&rig, json!({ "rate_per_hour": 2 })).await;
    let site = rig.service("site").await;
    site.register(&rig, "eve@other.example", "e").await;
    site.register(&rig, "ann@corp.example", "a").await;
    let foreign = revoke(&rig, &about("eve@other.example")).await;
    assert_eq!(said(&foreign), (403, "forbidden"));
    let theirs =
        json!({ "sub_id": { "format": "iss_sub", "iss": "https://x.example", "sub": "u" } });
    assert_eq!(said(&revoke(&rig, &theirs).await), (403, "forbidden"));
    for body in [
        json!({}),
        json!({ "sub_id": "ann@corp.example" }),
        json!({ "sub_id": { "format": "email" } }),
        json!({ "sub_id": { "format": "tenant", "id": "all" } }),
        json!({ "sub_id": about("a@corp.example")["sub_id"], "subject": about("ann@corp.example")["sub_id"] }),
    ] {
        assert_eq!(said(&revoke(&rig, &body).await), (400, "invalid_request"), "{body}");
    }
    assert_eq!(rig.audited("signal-refused").await.len(), 7);
    assert_eq!(said(&revoke(&rig, &about("nobody@corp.example")).await), (404, "not_found"));
    assert_eq!(rig.audited("signal-unresolved").await.len(), 1);
    assert_eq!(revoke(&rig, &about("ann@corp.example")).await.status, 204);
    assert_eq!(said(&revoke(&rig, &about("ann@corp.example")).await), (429, "rate_limited"));
    assert_eq!(rig.audited("sign-out").await.len(), 1);
    rig.hub.stop().await;
}

#[tokio::test]
async fn whoever_may_only_lock_is_not_told_that_sessions_are_revoked() {
    let rig = Rig::new().await;
    register(&rig, json!({ "tier_ceiling": "lock" })).await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "ann@corp.example", "s").await;
    assert_eq!(said(&revoke(&rig, &about("ann@corp.example")).await), (403, "forbidden"));
    assert_eq!(site.check(&rig, "ann@corp.example", "s", seq).await, 204);
    assert_eq!(rig.audited("signal-refused").await.len(), 1);
    rig.hub.stop().await;
}

#[tokio::test]
async fn the_endpoint_is_advertised() {
    let rig = Rig::new().await;
    let found = rig.get(METADATA, "").await;
    assert_eq!(found.body["issuer"], rig.hub.issuer);
    assert_eq!(found.body["global_token_revocation_endpoint"], rig.url(PATH));
    rig.hub.stop().await;
}
