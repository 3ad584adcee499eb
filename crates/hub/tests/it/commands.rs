//! OpenID Provider Commands (a draft), behind their flag.
//!
//! It refuses to try a hub that was not told to take them without seeing that it does not.

use exeunt_hub::provider_commands::PATH;
use exeunt_hub::sequencer::now;
use serde_json::{Value, json};

use crate::idp::{ISSUER, STRANGER, claims, key, register, tampered, unsigned};
use crate::rig::{Answer, Rig, answer};

const TYP: &str = "command+jwt";

fn command(rig: &Rig, more: &Value) -> Value {
    let usual = json!({ "client_id": "exeunt", "command": "invalidate", "sub": "00u1",
        "tenant": "organization" });
    let mut claims = claims(&rig.url(PATH), &usual);
    let members = claims.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

async fn send(rig: &Rig, token: &str) -> Answer {
    answer(rig.http.post(rig.url(PATH)).form(&[("command_token", token), ("other", "x")])).await
}

async fn ask(rig: &Rig, more: Value) -> Answer {
    send(rig, &key().sign_jwt(TYP, &command(rig, &more)).unwrap()).await
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"].as_str().unwrap_or_default())
}

async fn rig() -> Rig {
    let rig = Rig::with(|config| config.provider_commands = true).await;
    register(&rig, json!({})).await;
    rig
}

#[tokio::test]
async fn invalidate_ends_everything_of_an_account_before_its_answer() {
    let rig = rig().await;
    let site = rig.service("site").await;
    let ann = format!("{ISSUER}|00u1");
    let seq = site.register(&rig, &ann, "s1").await;
    assert_eq!(site.check(&rig, &ann, "s1", seq).await, 204);
    let token = key().sign_jwt(TYP, &command(&rig, &json!({}))).unwrap();
    let response = rig.http.post(rig.url(PATH)).form(&[("command_token", &token)]).send().await;
    let response = response.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let done: Value = response.json().await.unwrap();
    assert_eq!(done, json!({ "sub": "00u1", "account_state": "active" }));
    assert_eq!(site.check(&rig, &ann, "s1", seq).await, 401, "the very next check");
    let rows = rig.audited("sign-out").await;
    assert_eq!(rows[0]["detail"]["event"], "provider-command invalidate");
    assert_eq!(said(&send(&rig, &token).await), (400, "invalid_request"), "once is once");
    let unknown = ask(&rig, json!({ "sub": "nobody" })).await;
    assert_eq!(said(&unknown), (409, "incompatible_state"));
    assert_eq!(unknown.body["account_state"], "unknown");
    rig.hub.stop().await;
}

#[tokio::test]
async fn metadata_says_what_is_done_here() {
    let rig = rig().await;
    let metadata = json!({ "command": "metadata", "sub": null, "metadata": { "domains": ["x"] } });
    let said = ask(&rig, metadata).await;
    assert_eq!(said.status, 200, "{}", said.body);
    assert_eq!(said.body["context"], json!({ "iss": ISSUER, "tenant": "organization" }));
    assert_eq!(said.body["commands_supported"], json!(["metadata", "invalidate"]));
    assert_eq!(said.body["command_endpoint"], rig.url(PATH));
    rig.hub.stop().await;
}

#[tokio::test]
async fn every_part_of_the_token_must_fit() {
    let rig = rig().await;
    let site = rig.service("site").await;
    let ann = format!("{ISSUER}|00u1");
    let seq = site.register(&rig, &ann, "s1").await;
    let good = command(&rig, &json!({}));
    let signed = |typ: &str, claims: &Value| key().sign_jwt(typ, claims).unwrap();
    let with = |more: Value| signed(TYP, &command(&rig, &more));
    for (what, token, status, error) in [
        ("another key", STRANGER.sign_jwt(TYP, &good).unwrap(), 400, "invalid_request"),
        (
            "tampered",
            tampered(&signed(TYP, &good), &command(&rig, &json!({}))),
            400,
            "invalid_request",
        ),
        // No token at all, as it is read: nobody has issued it.
        ("no algorithm", unsigned(TYP, "none", &good), 401, "unrecognized_provider"),
        ("HS256", unsigned(TYP, "HS256", &good), 400, "invalid_request"),
        ("an ID token", signed("JWT", &good), 400, "invalid_request"),
        ("a logout token", signed("logout+jwt", &good), 400, "invalid_request"),
        (
            "another provider",
            with(json!({ "iss": "https://x.example" })),
            401,
            "unrecognized_provider",
        ),
        ("another endpoint", with(json!({ "aud": "https://x.example" })), 400, "invalid_request"),
        ("our name for SETs", with(json!({ "aud": "exeunt" })), 400, "invalid_request"),
        ("another client", with(json!({ "client_id": "x" })), 400, "invalid_request"),
        ("past its time", with(json!({ "exp": now().as_secs() - 120 })), 400, "invalid_request"),
        ("no end", with(json!({ "exp": null })), 400, "invalid_request"),
        ("a nonce", with(json!({ "nonce": "n" })), 400, "invalid_request"),
        ("nobody", with(json!({ "sub": null })), 400, "invalid_request"),
        ("delete", with(json!({ "command": "delete" })), 400, "unsupported_command"),
        ("a tenant", with(json!({ "command": "invalidate_tenant" })), 400, "unsupported_command"),
    ] {
        let refused = send(&rig, &token).await;
        assert_eq!(said(&refused), (status, error), "{what}: {}", refused.body);
        assert_eq!(site.check(&rig, &ann, "s1", seq).await, 204, "{what}");
    }
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_was_not_told_to_takes_no_commands() {
    let rig = Rig::new().await;
    register(&rig, json!({})).await;
    let site = rig.service("site").await;
    let ann = format!("{ISSUER}|00u1");
    let seq = site.register(&rig, &ann, "s1").await;
    assert_eq!(ask(&rig, json!({})).await.status, 404);
    assert_eq!(site.check(&rig, &ann, "s1", seq).await, 204);
    rig.hub.stop().await;
}
