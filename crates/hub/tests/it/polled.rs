//! One hub polls another: nothing is lost while either is away.
//!
//! It refuses to look into either hub: what was taken shows in checks, and in what the other holds.

use exeunt_api::{ServiceResponse, path};
use serde_json::{Value, json};

use crate::rig::{Rig, Service};

const ANN: &str = "ann@corp.example";

/// A hub that transmits, and a client there.
async fn transmitter() -> (Rig, Service) {
    let rig = Rig::new().await;
    let aud = "https://receiver.example";
    let ask = json!({ "name": aud, "aud": aud, "scopes": ["ssf.read", "ssf.manage"] });
    let minted: ServiceResponse = rig.post(path::SERVICES, &rig.admin, &ask).await.read();
    let (id, secret) = (minted.client_id, minted.client_secret);
    let mut client = Service { id, secret, token: String::new() };
    client.token = client.log_in(&rig).await;
    // Its key is made when it is first asked for, which takes long without optimisation.
    assert_eq!(rig.get("/.well-known/ssf-configuration", "").await.status, 200);
    (rig, client)
}

/// A hub that polls it, by its URL and the client alone.
async fn receiver(other: &Rig, client: &Service) -> (Rig, Value) {
    let rig = Rig::new().await;
    let ask = json!({
        "poll": { "url": other.hub.url, "client_id": client.id, "client_secret": client.secret },
        "may_speak_about": { "domains": ["corp.example"] },
    });
    let made = rig.post(path::TRANSMITTERS, &rig.admin, &ask).await;
    assert_eq!(made.status, 201, "{}", made.body);
    (rig, made.body)
}

/// Waits until a session is refused at its hub.
async fn refused(rig: &Rig, site: &Service, session: &str, seq: u64) {
    let mut after = seq;
    while site.check(rig, ANN, session, seq).await == 204 {
        let news: Value = site.deltas(rig, after, 30).await.read();
        after = news["seq"].as_u64().unwrap_or(after);
    }
}

#[tokio::test]
async fn a_sign_out_at_one_hub_ends_sessions_at_the_other_and_survives_restarts() {
    let (other, client) = transmitter().await;
    let (rig, made) = receiver(&other, &client).await;
    assert_eq!((&made["issuer"], &made["delivery"]), (&json!(other.hub.issuer), &json!("poll")));
    assert_eq!(made["aud"], "https://receiver.example");
    let mut site = rig.service("site").await;
    client.register(&other, ANN, "there").await;
    let here = site.register(&rig, ANN, "here").await;
    other.sign_out(ANN).await;
    refused(&rig, &site, "here", here).await;

    // While the receiver is away, it waits there; while the transmitter is, here.
    let here = site.register(&rig, ANN, "here-2").await;
    let crate::rig::Rig { hub, data, keys, http, admin } = rig;
    let addr = hub.addr;
    hub.stop().await;
    other.sign_out(ANN).await;
    let other = other.restart(|_| {}).await;
    let mut config = crate::rig::config(data.path());
    config.listen = addr;
    let rig = Rig { hub: exeunt_hub::start(config).await.unwrap(), data, keys, http, admin };
    site.token = site.log_in(&rig).await;
    refused(&rig, &site, "here-2", here).await;
    let rows = rig.audited("sign-out").await;
    assert_eq!(rows.len(), 2, "each once: {rows:?}");

    // Its credentials are in a file of the hub's user, and nowhere in the record.
    let secret = std::fs::read_to_string(rig.data.path().join("polled")).unwrap();
    assert!(secret.contains(&client.secret));
    for entry in std::fs::read_dir(rig.data.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "polled" {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(client.secret.len()).any(|at| at == client.secret.as_bytes());
            assert!(!found, "{:?}", entry.file_name());
        }
    }
    let removed = rig.http.delete(rig.url(&format!(
        "{}/{}",
        path::TRANSMITTERS,
        made["id"].as_str().unwrap()
    )));
    assert_eq!(removed.bearer_auth(&rig.admin).send().await.unwrap().status(), 204);
    let token = client.log_in(&other).await;
    assert_eq!(other.get("/ssf/streams", &token).await.body, json!([]), "our stream there is gone");
    rig.hub.stop().await;
    other.hub.stop().await;
}
