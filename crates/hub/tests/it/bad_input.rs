//! Bad input at every door that takes a body: the wrong type, ten megabytes, broken JSON, unknown
//! members; and requests that are made to break out of a header.
//!
//! It refuses to try a few doors: the table of doors says which there are.

use exeunt_api::path;
use exeunt_hub::access::{RULES, Rule, Who};
use reqwest::{Method, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Device, Rig, Service};

/// Doors that take no body.
const BODILESS: [&str; 4] = [
    "/v1/txn/{txn}/cancel",
    "/v1/txn/{txn}/retry",
    "/v1/proposals/{txn}/withdraw",
    "/v1/connectors/{name}/test",
];
/// Doors that take a form (RFC 6749, RFC 7662, OpenID Connect Back-Channel Logout 1.0, and a draft).
const FORMS: [&str; 4] =
    ["/oauth/token", "/oauth/introspect", "/v1/back-channel-logout", "/v1/provider-commands"];
/// Doors that take a SET (RFC 8935) and answer in its shape.
const SETS: [&str; 4] =
    ["/v1/enroll", "/v1/device/lease", "/ssf/events", "/ssf/receive/{transmitter}"];

struct Scene {
    rig: Rig,
    device: Device,
    site: Service,
}

impl Scene {
    async fn new() -> Self {
        let mut rig = Rig::with(|config| config.provider_commands = true).await;
        // Somebody who opens every door of operators.
        let body = serde_json::json!({ "name": "all", "roles": exeunt_api::Role::ALL });
        let all: exeunt_api::AdminTokenResponse =
            rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await.read();
        rig.admin = all.token;
        let device = rig.device("occ-07").await;
        let mut site = rig.service("site").await;
        let body = serde_json::json!({
            "name": "rp", "aud": "rp", "scopes": ["ssf.read", "ssf.manage"]
        });
        let made: exeunt_api::ServiceResponse =
            rig.post(path::SERVICES, &rig.admin, &body).await.read();
        let receiver =
            Service { id: made.client_id, secret: made.client_secret, token: String::new() };
        site.token = receiver.log_in(&rig).await;
        Self { rig, device, site }
    }

    /// Each door that takes a body: method, place, the type that it takes, a token that it takes.
    fn doors(&self) -> Vec<(Method, String, &'static str, &str)> {
        let takes = |place: &str| {
            if FORMS.contains(&place) {
                "application/x-www-form-urlencoded"
            } else if SETS.contains(&place) {
                "application/secevent+jwt"
            } else {
                "application/json"
            }
        };
        let with_body = RULES.iter().filter(|Rule(method, place, _)| {
            ["POST", "PUT", "PATCH"].contains(method) && !BODILESS.contains(place)
        });
        let doors = with_body.map(|Rule(method, place, who)| {
            let token = match who {
                Who::Operator(_) => self.rig.admin.as_str(),
                Who::Device => &self.device.token,
                Who::Service => &self.site.token,
                Who::Anyone | Who::Transmitter => "",
            };
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let at = place.replace(['{', '}'], "");
            (method, at, takes(place), token)
        });
        doors.collect()
    }

    async fn send(
        &self,
        method: &Method,
        at: &str,
        media: &str,
        token: &str,
        body: Vec<u8>,
    ) -> Response {
        let ask = self.rig.http.request(method.clone(), self.rig.url(at)).bearer_auth(token);
        ask.header("content-type", media).body(body).send().await.unwrap()
    }

    async fn rows(&self) -> u64 {
        let verdict = self.rig.get(path::AUDIT_VERIFY, &self.rig.admin).await;
        verdict.read::<exeunt_api::AuditVerdict>().rows
    }
}

#[tokio::test]
async fn every_door_refuses_the_wrong_type_and_broken_bodies_in_its_own_shape() {
    let scene = Scene::new().await;
    let before = scene.rows().await;
    let doors = scene.doors();
    assert!(doors.len() > 20, "{}", doors.len());
    for (method, at, media, token) in &doors {
        let wrong = scene.send(method, at, "text/plain", token, b"{}".to_vec()).await;
        let status = wrong.status().as_u16();
        // A form's door answers by its RFC: 400, or 401 for whoever proved nothing.
        assert!([400, 401, 404, 415].contains(&status), "{method} {at}: {status}");
        assert!(status != 404 || at.contains("/sign-in") || at.contains("ssf/receive"), "{at}");
        let broken = scene.send(method, at, media, token, b"{\"a\":\xff".to_vec()).await;
        let status = broken.status().as_u16();
        assert!([400, 401, 404].contains(&status), "{method} {at}: {status}");
        let media = broken.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(media, "application/json", "{method} {at}");
        let said: serde_json::Value = broken.json().await.unwrap();
        let named = said["error"]["code"].is_string()
            || said["error"].is_string()
            || said["err"].is_string();
        assert!(named, "{method} {at}: {said}");
    }
    assert_eq!(scene.rows().await, before, "nothing was written");
    scene.rig.hub.stop().await;
}

#[tokio::test]
async fn every_door_that_takes_json_refuses_a_member_that_it_does_not_know() {
    let scene = Scene::new().await;
    for Rule(method, place, who) in RULES {
        let ours = place.starts_with("/v1/") && !SETS.contains(place) && !BODILESS.contains(place);
        if *method != "POST" || !ours {
            continue;
        }
        let token = match who {
            Who::Operator(_) => scene.rig.admin.clone(),
            Who::Service => scene.rig.service("json").await.token,
            Who::Anyone | Who::Device | Who::Transmitter => continue,
        };
        let at = place.replace(['{', '}'], "");
        let body = br#"{"no_such_member":1}"#.to_vec();
        let refused = scene.send(&Method::POST, &at, "application/json", &token, body).await;
        assert_eq!(refused.status(), 400, "{place}");
        let said = refused.text().await.unwrap();
        assert!(said.contains("no_such_member"), "{place}: {said}");
        if matches!(who, Who::Service) {
            break;
        }
    }
    scene.rig.hub.stop().await;
}

#[tokio::test]
async fn ten_megabytes_are_refused_before_they_are_read() {
    let scene = Scene::new().await;
    for (method, at, media, token) in scene.doors() {
        let mut stream = TcpStream::connect(scene.rig.hub.addr).await.unwrap();
        let head = format!(
            "{method} {at} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: {media}\r\ncontent-length: 10485760\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A little over a megabyte, and no more: whoever waits for the rest never answers.
        let _ = stream.write_all(&vec![b' '; (1 << 20) + (64 << 10)]).await;
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let refused = ["400", "401", "404", "413"].iter().any(|status| answer.ends_with(status));
        assert!(refused, "{method} {at}: {answer}");
    }
    assert_eq!(scene.rig.get(path::HEALTH, "").await.status, 200);
    scene.rig.hub.stop().await;
}

/// What the hub answers to exactly these bytes, until it hangs up.
async fn raw(rig: &Rig, request: &str) -> String {
    let mut stream = TcpStream::connect(rig.hub.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}

#[tokio::test]
async fn nothing_breaks_out_of_a_header() {
    let rig = Rig::new().await;
    let admin = rig.admin.clone();
    let request = |at: &str, header: &str| {
        format!(
            "GET {at} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {admin}\r\n{header}\
             connection: close\r\n\r\n"
        )
    };
    assert!(raw(&rig, &request("/v1/operator", "")).await.starts_with("HTTP/1.1 200"));
    for header in ["x: a\rb\r\n", "x: a\0b\r\n", "x y: a\r\n", " folded: a\r\n", ": a\r\n"] {
        let said = raw(&rig, &request("/v1/operator", header)).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{header:?}: {said}");
    }
    let injected = "x%0d%0aset-cookie:%20a=b";
    for at in [
        format!("/v1/txn/{injected}"),
        format!("/v1/receipts/{injected}"),
        format!("/v1/sessions?subject={injected}"),
        format!("/{injected}"),
    ] {
        let said = raw(&rig, &request(&at, "")).await;
        let (head, _) = said.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_ascii_lowercase().contains("set-cookie"), "{at}: {head}");
        assert!(head.starts_with("HTTP/1.1 4"), "{at}: {head}");
    }
    // The same in a body: refused where it would become a name.
    for subject in ["a\r\nb", "a\0b", "\u{1b}[2J"] {
        let body = serde_json::json!({ "subject": subject });
        let refused = rig.post(path::SIGN_OUT, &rig.admin, &body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"));
    }
    rig.hub.stop().await;
}
