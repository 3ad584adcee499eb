//! Names of one subject: joined by an operator, by rules, by an identity provider's signature; and
//! what a sign-out of one of them reaches.
//!
//! It refuses to look at the one that was named only: each test names another that ends, and one
//! that stays.

use exeunt_api::{SignOutResponse, SubjectInfo, path};
use exeunt_check::wire::SessionResponse;
use exeunt_domain::{Proof, Subject, Tier};
use exeunt_hub::sequencer::now;
use serde_json::{Value, json};

use crate::idp::{ISSUER, STRANGER, claims, key, register};
use crate::rig::{Answer, Rig, Service};

async fn join(rig: &Rig, subject: &str, alias: &str) -> Answer {
    let body = json!({ "subject": subject, "alias": alias, "reason": "HR record 4711" });
    rig.post(path::SUBJECT_JOIN, &rig.admin, &body).await
}

async fn names(rig: &Rig, subject: &str) -> Vec<(String, String)> {
    let at = format!("{}?subject={subject}", path::SUBJECT);
    let info: SubjectInfo = rig.get(&at, &rig.admin).await.read();
    info.aliases.into_iter().map(|one| (one.alias, one.how)).collect()
}

fn keys(names: &[(String, String)]) -> Vec<&str> {
    names.iter().map(|(key, _)| key.as_str()).collect()
}

#[tokio::test]
async fn a_sign_out_of_any_name_reaches_all_of_them_in_one_transaction() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let device = rig.device("occ-07").await;
    let sub = format!("{ISSUER}|u1");
    let all = ["alice@corp.example", "acct:alice@corp", "alice", sub.as_str()];
    let mut seqs = Vec::new();
    for (n, name) in all.iter().enumerate() {
        seqs.push(site.register(&rig, name, &format!("s{n}")).await);
    }
    let other = site.register(&rig, "bob@corp.example", "b").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    for name in &all[1..] {
        assert_eq!(join(&rig, all[0], name).await.status, 200);
    }
    let shown: SignOutResponse = rig
        .post(path::SIGN_OUT, &rig.admin, &json!({ "subject": sub, "preview": true }))
        .await
        .read();
    assert_eq!((shown.sessions.len(), shown.devices.len()), (5, 1));
    assert_eq!((shown.aliases[0].as_str(), shown.aliases.len()), (sub.as_str(), 4));
    let order = json!({ "subject": sub, "digest": shown.digest });
    let done: SignOutResponse = rig.post(path::SIGN_OUT, &rig.admin, &order).await.read();
    for (n, name) in all.iter().enumerate() {
        let said = site.check(&rig, name, &format!("s{n}"), seqs[n]).await;
        assert_eq!(said, 401, "{name}");
        // Nor does an old sign-in come back under another name.
        let late = site.try_register(&rig, name, &format!("t{n}"), seqs_before()).await;
        assert_eq!((late.status.as_u16(), late.code()), (403, "stale_auth"), "{name}");
    }
    assert_eq!(site.check(&rig, "bob@corp.example", "b", other).await, 204);
    let orders = device.peek(&rig).await;
    let (txn, order) = device.order(&rig, orders.values().next().unwrap());
    assert_eq!(txn, done.txn);
    assert_eq!(order.user, Some(Subject::parse("alice").unwrap()), "as the device knows them");
    let row = &rig.audited("sign-out").await[0];
    assert_eq!(row["detail"]["aliases"].as_array().unwrap().len(), 4, "{row}");
    let rig = rig.restart(|_| {}).await;
    let token = site.log_in(&rig).await;
    let at = format!("/v1/check?subject=alice&session=s2&issued_seq={}", seqs[2]);
    assert_eq!(rig.get(&at, &token).await.status, 401, "each name has its watermark on disk");
    rig.hub.stop().await;
}

/// A sign-in well before any sign-out of these tests.
fn seqs_before() -> exeunt_domain::Timestamp {
    exeunt_domain::Timestamp(now().0 - 60_000)
}

#[tokio::test]
async fn whoever_asks_at_a_device_is_signed_out_under_every_name() {
    let rig = Rig::new().await;
    let (site, device) = (rig.service("site").await, rig.device("occ-07").await);
    let seq = site.register(&rig, "alice@corp.example", "s1").await;
    device.begin(&rig, "alice", "c1", Proof::Account).await;
    join(&rig, "alice", "alice@corp.example").await;
    let asked = device.ask_sign_out(&rig, "t1", "alice", "c1", Tier::SignOut).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    assert_eq!(site.check(&rig, "alice@corp.example", "s1", seq).await, 401);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_name_that_joins_a_signed_out_subject_loses_its_older_sessions() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let old = site.register(&rig, "acct:alice@corp", "s1").await;
    site.register(&rig, "alice@corp.example", "s2").await;
    rig.sign_out("alice@corp.example").await;
    assert_eq!(site.check(&rig, "acct:alice@corp", "s1", old).await, 204);
    let young = site.register(&rig, "acct:alice@corp", "s3").await;
    assert_eq!(join(&rig, "alice@corp.example", "acct:alice@corp").await.status, 200);
    assert_eq!(site.check(&rig, "acct:alice@corp", "s1", old).await, 401);
    assert_eq!(site.check(&rig, "acct:alice@corp", "s3", young).await, 204, "signed in since");
    let row = &rig.audited("aliases-joined").await[0];
    assert_eq!(row["sessions"].as_array().unwrap().len(), 1, "{row}");
    assert_eq!(row["reason"], "HR record 4711");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_split_holds_against_rules_and_providers_and_yields_to_an_operator() {
    let rules = "[[rule]]\nname = 'staff'\nsame = ['{user}', '{user}@corp.example']";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    let rig = Rig::with(|config| config.aliases = Some(file.path().to_owned())).await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    assert_eq!(names(&rig, "alice").await[1], ("alice@corp.example".into(), "rule:staff".into()));
    let split = json!({ "alias": "alice", "reason": "another Alice" });
    assert_eq!(rig.post(path::SUBJECT_SPLIT, &rig.admin, &split).await.status, 200);
    assert_eq!(keys(&names(&rig, "alice@corp.example").await), ["alice@corp.example"]);
    let order = json!({ "subject": "alice@corp.example" });
    let unknown = rig.post(path::SIGN_OUT, &rig.admin, &order).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "unknown_subject"));
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204, "never everyone");
    assert_eq!(rig.audited("sign-out-refused").await.len(), 1);
    let again = rig.post(path::SUBJECT_SPLIT, &rig.admin, &split).await;
    assert_eq!((again.status.as_u16(), again.code()), (404, "not_found"));
    assert_eq!(join(&rig, "alice", "alice@corp.example").await.status, 200);
    rig.sign_out("alice@corp.example").await;
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 401);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_rule_joins_what_is_registered_before_and_after_it_was_written() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "acct:alice@corp", "s1").await;
    let order = json!({ "subject": "alice@corp.example" });
    let refused = rig.post(path::SIGN_OUT, &rig.admin, &order).await;
    assert_eq!(refused.code(), "unknown_subject");
    let file = tempfile::NamedTempFile::new().unwrap();
    let rules = "[[rule]]\nname = 'staff'\nsame = ['acct:{user}@corp', '{user}@corp.example']";
    std::fs::write(file.path(), rules).unwrap();
    let rig = rig.restart(|config| config.aliases = Some(file.path().to_owned())).await;
    rig.sign_out("alice@corp.example").await;
    let token = site.log_in(&rig).await;
    let at = format!("/v1/check?subject=acct:alice@corp&session=s1&issued_seq={seq}");
    assert_eq!(rig.get(&at, &token).await.status, 401);
    rig.hub.stop().await;
}

async fn with_token(rig: &Rig, site: &Service, subject: &str, id: &str, token: &str) -> Answer {
    let body = json!({
        "subject": Subject::parse(subject).unwrap(), "session_id": id, "kind": "federated",
        "auth_time": now(), "id_token": token,
    });
    rig.post(path::SESSIONS, &site.token, &body).await
}

fn id_token(more: &Value) -> String {
    let mut said = json!({ "sub": "u1", "email": "Alice@corp.example", "email_verified": true });
    said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key().sign_jwt("JWT", &claims("some-client", &said)).unwrap()
}

#[tokio::test]
async fn a_providers_id_token_joins_its_own_name_and_a_verified_address() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let sub = format!("{ISSUER}|u1");
    let old = site.register(&rig, "alice@corp.example", "s0").await;
    let made = with_token(&rig, &site, &sub, "s1", &id_token(&json!({}))).await;
    let seq = made.read::<SessionResponse>().seq;
    let known = names(&rig, "alice@corp.example").await;
    assert_eq!(
        known,
        [
            ("alice@corp.example".to_owned(), "id-token".to_owned()),
            (sub.clone(), "id-token".to_owned())
        ]
    );
    rig.sign_out("alice@corp.example").await;
    for (name, session, seq) in [(sub.as_str(), "s1", seq), ("alice@corp.example", "s0", old)] {
        assert_eq!(site.check(&rig, name, session, seq).await, 401, "{name}");
    }
    let rows = rig.audited("session-registered").await;
    assert_eq!(rows[1]["detail"]["joined"].as_array().unwrap().len(), 2, "{rows:?}");
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_id_token_joins_nothing_that_its_issuer_did_not_prove() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let sub = format!("{ISSUER}|u1");
    let said = json!({ "sub": "u1" });
    let forged = STRANGER.sign_jwt("JWT", &claims("some-client", &said)).unwrap();
    let logout = key().sign_jwt("logout+jwt", &claims("some-client", &said)).unwrap();
    let foreign =
        key().sign_jwt("JWT", &claims("x", &json!({ "iss": "https://evil.example" }))).unwrap();
    let stale = id_token(&json!({ "exp": now().as_secs() - 600 }));
    let slept = id_token(&json!({ "auth_time": now().as_secs() - 7200 }));
    for (n, token) in [&forged, &logout, &foreign, &stale, &slept, "x.y.z"].iter().enumerate() {
        let refused = with_token(&rig, &site, &sub, &format!("r{n}"), token).await;
        let say = refused.body.to_string();
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (400, "invalid_request"),
            "{n}: {say}"
        );
        assert!(say.contains("id_token"), "{say}");
    }
    let token = id_token(&json!({}));
    let about_another = with_token(&rig, &site, "ceo@corp.example", "r9", &token).await;
    assert_eq!(about_another.status, 400);
    // An address that is not verified, or not the provider's to speak about, stays alone.
    for (n, more) in [json!({ "email_verified": false }), json!({ "email": "a@elsewhere.example" })]
        .iter()
        .enumerate()
    {
        let made = with_token(&rig, &site, &sub, &format!("s{n}"), &id_token(more)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(keys(&names(&rig, &sub).await), [sub.as_str()], "{more}");
    }
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_address_that_was_given_to_somebody_new_makes_two_people_no_one() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let (first, second) = (format!("{ISSUER}|u1"), format!("{ISSUER}|u2"));
    with_token(&rig, &site, &first, "s1", &id_token(&json!({}))).await.read::<SessionResponse>();
    let token = id_token(&json!({ "sub": "u2" }));
    with_token(&rig, &site, &second, "s2", &token).await.read::<SessionResponse>();
    assert_eq!(keys(&names(&rig, &second).await), [second.as_str()]);
    let rows = rig.audited("session-registered").await;
    assert!(rows[1]["detail"]["why"].as_str().unwrap().contains("two people"), "{rows:?}");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_set_with_aliases_signs_all_of_them_out_or_nobody() {
    let rig = Rig::new().await;
    let made = register(&rig, json!({})).await;
    let at = format!("/ssf/receive/{}", made.body["id"].as_str().unwrap());
    let site = rig.service("site").await;
    let sub = format!("{ISSUER}|u1");
    let one = site.register(&rig, &sub, "s1").await;
    let two = site.register(&rig, "alice@corp.example", "s2").await;
    let ceo = site.register(&rig, "ceo@other.example", "s3").await;
    let push = |emails: Vec<&str>| {
        let mut all = vec![json!({ "format": "iss_sub", "iss": ISSUER, "sub": "u1" })];
        all.extend(emails.iter().map(|one| json!({ "format": "email", "email": one })));
        let event = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
        let set = json!({ "exp": null, "sub_id": { "format": "aliases", "identifiers": all },
            "events": { event: { "event_timestamp": now().as_secs() } } });
        let set = key().sign_jwt("secevent+jwt", &claims("exeunt", &set)).unwrap();
        crate::rig::push(&rig, &at, "", set)
    };
    let refused = push(vec!["ceo@other.example"]).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(site.check(&rig, &sub, "s1", one).await, 204, "nobody is half signed out");
    assert_eq!(push(vec!["alice@corp.example"]).await.status, 202);
    for (name, session, seq) in [(sub.as_str(), "s1", one), ("alice@corp.example", "s2", two)] {
        assert_eq!(site.check(&rig, name, session, seq).await, 401, "{name}");
    }
    assert_eq!(site.check(&rig, "ceo@other.example", "s3", ceo).await, 204);
    assert_eq!(names(&rig, &sub).await[1].1, "set");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_subject_has_sixty_four_names_and_no_more() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s").await;
    for n in 1..64 {
        assert_eq!(join(&rig, "alice", &format!("alias-{n}")).await.status, 200, "{n}");
    }
    let refused = join(&rig, "alice", "alias-64").await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "conflict"));
    let say = refused.body["error"]["message"].as_str().unwrap();
    assert!(say.contains("64 names") && say.contains("split"), "{say}");
    // Two that are half full do not become one that is over it, either.
    for n in 1..40 {
        join(&rig, "bob", &format!("bob-{n}")).await;
    }
    assert_eq!(join(&rig, "bob", "alice").await.status, 409);
    assert_eq!(rig.sign_out("alias-63").await.aliases.len(), 64);
    assert_eq!(rig.audited("aliases-refused").await.len(), 2);
    rig.hub.stop().await;
}

#[tokio::test]
async fn joining_needs_a_reason_and_two_names() {
    let rig = Rig::new().await;
    for body in [
        json!({ "subject": "a", "alias": "b", "reason": " " }),
        json!({ "subject": "", "alias": "a", "reason": "r" }),
        json!({ "subject": "a", "alias": "b" }),
    ] {
        let refused = rig.post(path::SUBJECT_JOIN, &rig.admin, &body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{body}");
    }
    assert_eq!(join(&rig, "a", "a").await.code(), "conflict");
    rig.hub.stop().await;
}
