//! Operators: which role opens which door, how far one of them reaches, and what the audit has of it.
//!
//! It refuses to try a few doors: each is tried with each role.

use exeunt_api::{AdminTokenResponse, OperatorInfo, Role, path};
use exeunt_domain::Proof;
use exeunt_hub::access::{RULES, Rule, Who};
use exeunt_hub::http::doors;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, answer};

/// A token with these roles.
async fn operator(rig: &Rig, name: &str, roles: &[Role]) -> String {
    let body = json!({ "name": name, "roles": roles });
    let minted: AdminTokenResponse = rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await.read();
    minted.token
}

/// Knocks at a door with a token and nothing else.
async fn knock(rig: &Rig, method: &str, place: &str, token: &str) -> Answer {
    let place =
        place.replace("{txn}", "none").replace("{name}", "nobody").replace("{transmitter}", "none");
    let place = place.replace("{device}", "none");
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    answer(rig.http.request(method, rig.url(&place)).bearer_auth(token)).await
}

#[tokio::test]
async fn every_door_has_a_rule_and_every_rule_a_door() {
    let rig = Rig::new().await;
    let served = doors(&rig.hub.state()).done().1;
    for rule in RULES {
        assert!(served.contains(&rule), "{rule:?} is not served");
    }
    rig.hub.stop().await;
}

/// Routes that go around the table would go around its rules, too.
#[test]
fn no_route_goes_around_the_table() {
    fn look(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found);
            } else if path != std::path::Path::new("src/access.rs")
                && std::fs::read_to_string(&path).unwrap().contains(".route(")
            {
                found.push(path.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    look(std::path::Path::new("src"), &mut found);
    assert!(found.is_empty(), "open these through `access::Doors`: {found:?}");
}

#[tokio::test]
async fn each_role_opens_its_own_doors_and_no_other() {
    let rig = Rig::new().await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, operator(&rig, role.as_str(), &[role]).await));
    }
    let mut tried = 0;
    for Rule(method, place, who) in RULES {
        let Who::Operator(roles) = who else { continue };
        assert_eq!(knock(&rig, method, place, "guess").await.status, 401, "{method} {place}");
        for (role, token) in &tokens {
            let said = knock(&rig, method, place, token).await;
            let refused = said.status == 403 && said.body.to_string().contains("one of the roles");
            assert_eq!(refused, !roles.contains(role), "{role}: {method} {place}: {}", said.body);
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    let noted = rig.audited("access-refused").await;
    let by_viewer = noted.iter().filter(|row| row["actor"] == "admin:viewer");
    assert!(by_viewer.count() >= 8, "{noted:?}");
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_operator_learns_who_they_are_and_the_last_administrator_stays() {
    let rig = Rig::new().await;
    let help = operator(&rig, "hilde", &[Role::HelpDesk, Role::Viewer]).await;
    let who: OperatorInfo = rig.get(path::OPERATOR, &help).await.read();
    assert_eq!((who.name.as_str(), who.roles), ("hilde", vec![Role::Viewer, Role::HelpDesk]));
    let remove = |name: &str| rig.http.delete(rig.url(&format!("{}/{name}", path::ADMIN_TOKENS)));
    let gone = answer(remove("hilde").bearer_auth(&rig.admin)).await;
    assert_eq!(gone.status, 204);
    assert_eq!(rig.get(path::OPERATOR, &help).await.status, 401);
    let unknown = answer(remove("hilde").bearer_auth(&rig.admin)).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "not_found"));
    let last = answer(remove("bootstrap").bearer_auth(&rig.admin)).await;
    assert_eq!((last.status.as_u16(), last.code()), (409, "conflict"));
    let second = operator(&rig, "ada", &[Role::Administrator]).await;
    assert_eq!(answer(remove("bootstrap").bearer_auth(&second)).await.status, 204);
    assert_eq!(rig.get(path::OPERATOR, &rig.admin).await.status, 401);
    let mut rig = rig.restart(|_| {}).await;
    assert_eq!(rig.get(path::OPERATOR, &rig.admin).await.status, 401, "gone for good");
    rig.admin = second;
    assert_eq!(rig.audited("admin-token-removed").await.len(), 2);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_token_needs_a_role_and_a_name() {
    let rig = Rig::new().await;
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "roles": [] }),
        json!({ "name": "x", "roles": ["root"] }),
        json!({ "name": " ", "roles": ["viewer"] }),
        json!({ "name": "x", "roles": ["viewer"], "ttl_s": 0 }),
    ] {
        let refused = rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"), "{body}");
    }
    rig.hub.stop().await;
}

#[tokio::test]
async fn too_many_calls_are_refused_with_a_time_to_come_back() {
    let rig = Rig::with(|config| config.limits.calls_per_minute = 3).await;
    let other = operator(&rig, "otto", &[Role::Viewer]).await;
    for _ in 0..2 {
        assert_eq!(rig.get(path::OPERATOR, &rig.admin).await.status, 200);
    }
    let asked = rig.http.get(rig.url(path::OPERATOR)).bearer_auth(&rig.admin);
    let refused = asked.send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let seconds = refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
    assert!((1..=21).contains(&seconds), "{seconds}");
    assert_eq!(rig.get(path::OPERATOR, &other).await.status, 200, "another operator's calls");
    rig.hub.stop().await;
}

#[tokio::test]
async fn devices_are_counted_within_an_hour_per_operator_and_in_all() {
    let rig = Rig::with(|config| {
        config.limits.devices.each = 2;
        config.limits.devices.in_all = 3;
    })
    .await;
    for n in 0..5 {
        let device = rig.device(&format!("occ-{n}")).await;
        assert_eq!(device.begin(&rig, &format!("s{n}"), "c", Proof::Account).await.status, 202);
    }
    let (olive, otto) = (
        operator(&rig, "olive", &[Role::Responder]).await,
        operator(&rig, "otto", &[Role::HelpDesk]).await,
    );
    let sign_out = |token: String, body: Value| {
        let rig = &rig;
        async move { rig.post(path::SIGN_OUT, &token, &body).await }
    };
    let of = |n: usize| json!({ "subject": format!("s{n}") });
    assert_eq!(sign_out(olive.clone(), of(0)).await.status, 200);
    assert_eq!(sign_out(olive.clone(), of(1)).await.status, 200);
    // The same device again reaches no further device.
    let again = json!({ "subject": "s0", "device": "occ-0" });
    assert_eq!(sign_out(olive.clone(), again).await.status, 200);
    let refused = sign_out(olive.clone(), of(2)).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "rate_limited"));
    let say = refused.body["error"]["message"].as_str().unwrap();
    assert!(say.contains("this operator's") && say.contains("3 devices"), "{say}");
    // A preview touches nothing, and is not counted.
    let preview = json!({ "subject": "s2", "preview": true });
    assert_eq!(sign_out(olive.clone(), preview).await.status, 200);
    assert_eq!(sign_out(otto.clone(), of(2)).await.status, 200);
    let refused = sign_out(otto.clone(), of(3)).await;
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("all operators together"));
    let sessions = rig.get("/v1/sessions?subject=s3", &rig.admin).await;
    assert_eq!(sessions.body["sessions"][0]["status"], "active", "nothing was done");
    // A person at their own device is not an operator.
    let device = rig.device("own").await;
    device.begin(&rig, "me", "c", Proof::Account).await;
    let own = device.ask_sign_out(&rig, "t-own", "me", "c", exeunt_domain::Tier::SignOut).await;
    assert_eq!(own.status, 202);
    assert_eq!(rig.audited("sign-out-refused").await.len(), 2);
    // What was counted is counted after a restart.
    let rig = rig
        .restart(|config| {
            config.limits.devices.each = 2;
            config.limits.devices.in_all = 100;
        })
        .await;
    let refused = rig.post(path::SIGN_OUT, &olive, &of(4)).await;
    assert_eq!(refused.status, 429);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_look_is_in_the_audit_with_who_looked() {
    let rig = Rig::new().await;
    let olive = operator(&rig, "olive", &[Role::Viewer]).await;
    for _ in 0..3 {
        assert_eq!(rig.get("/v1/sessions?subject=alice", &olive).await.status, 200);
    }
    let looks = rig.audited("looked").await;
    let of_olive: Vec<_> = looks.iter().filter(|row| row["actor"] == "admin:olive").collect();
    assert_eq!(of_olive.len(), 1, "{looks:?}");
    assert_eq!(of_olive[0]["detail"]["what"], "/v1/sessions?subject=alice");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_hub_without_a_provider_says_how_operators_get_in() {
    let rig = Rig::new().await;
    let body = json!({ "redirect_uri": "http://127.0.0.1:1/", "code_challenge": "x".repeat(43) });
    let refused = rig.post(path::SIGN_IN, "", &body).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (404, "not_found"));
    assert!(refused.body["error"]["hint"].as_str().unwrap().contains("--sign-in"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn whoever_reads_the_audit_page_by_page_comes_to_its_end() {
    let rig = Rig::new().await;
    for name in ["a", "b", "c"] {
        rig.service(name).await;
    }
    let (mut after, mut rows) = (0, 0);
    for page in 1.. {
        assert!(page < 20, "{rows} rows, and no end");
        let url = rig.url(&format!("/v1/audit?after={after}&limit=2"));
        let asked = rig.http.get(url).bearer_auth(&rig.admin).send().await.unwrap();
        let text = asked.text().await.unwrap();
        let Some(last) = text.lines().last() else { break };
        after = serde_json::from_str::<serde_json::Value>(last).unwrap()["seq"].as_u64().unwrap();
        rows += text.lines().count();
    }
    assert!(rows >= 4, "{rows}");
    assert_eq!(rig.audited("looked").await.len(), 1);
    rig.hub.stop().await;
}
