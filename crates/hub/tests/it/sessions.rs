//! What the registry knows of a session: its kind, when it was in use, when it ends.
//!
//! It refuses to look at lists only: what is over is refused by the check.

use exeunt_api::{SessionList, path};
use exeunt_check::wire::{self, SessionResponse};
use exeunt_domain::Subject;
use exeunt_hub::sequencer::now;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, Service};

async fn register(rig: &Rig, site: &Service, id: &str, more: Value) -> Answer {
    let mut body = json!({
        "subject": Subject::parse("alice").unwrap(), "session_id": id, "kind": "web",
        "auth_time": now(),
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rig.post(path::SESSIONS, &site.token, &body).await
}

async fn list(rig: &Rig) -> SessionList {
    rig.get(&format!("{}?subject=alice", path::SESSIONS), &rig.admin).await.read()
}

#[tokio::test]
async fn every_kind_is_registered_with_a_device_and_a_place_that_people_know() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let kinds = ["web", "console", "desktop", "federated", "api-key", "agent"];
    for kind in kinds {
        let more = json!({
            "kind": kind, "device": "occ-07", "label": "Chromium on occ-07", "place": "Wiki",
        });
        assert_eq!(register(&rig, &site, kind, more).await.status, 201, "{kind}");
    }
    let mut all = list(&rig).await.sessions;
    all.reverse();
    for (session, kind) in all.iter().zip(kinds) {
        assert_eq!((json!(session.kind), session.place.as_str()), (json!(kind), "Wiki"));
        assert_eq!(session.device.as_deref(), Some("occ-07"));
    }
    assert_eq!(all.len(), kinds.len());
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_session_whose_time_is_over_is_ended_and_refused() {
    let rig =
        Rig::with(|config| config.limits.housekeeping = std::time::Duration::from_millis(20)).await;
    let site = rig.service("site").await;
    let soon = json!({ "expires": now().0 + 1500 });
    let short = register(&rig, &site, "s1", soon).await.read::<SessionResponse>().seq;
    let late = json!({ "expires": now().0 + 3_600_000 });
    let long = register(&rig, &site, "s2", late).await.read::<SessionResponse>().seq;
    assert_eq!(site.check(&rig, "alice", "s1", short).await, 204);
    // The next change of the revocation state is the end of it.
    let news = site.deltas(&rig, short, 25).await;
    assert_eq!(news.body["deltas"][0]["delta"], "denied", "{}", news.body);
    assert_eq!(site.check(&rig, "alice", "s1", short).await, 401);
    assert_eq!(site.check(&rig, "alice", "s2", long).await, 204);
    let all = list(&rig).await.sessions;
    assert_eq!((json!(all[1].status), json!(all[0].status)), (json!("ended"), json!("active")));
    assert_eq!(rig.audited("sessions-expired").await[0]["sessions"][0], json!(all[1].id));
    let past = register(&rig, &site, "s3", json!({ "expires": now().0 - 1 })).await;
    assert_eq!((past.status.as_u16(), past.code()), (400, "invalid_request"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn that_a_session_is_in_use_is_told_in_batches_and_leaves_no_row_in_the_audit() {
    let rig = Rig::new().await;
    let (site, other) = (rig.service("site").await, rig.service("other").await);
    site.register(&rig, "alice", "s1").await;
    let before = list(&rig).await.sessions[0].last_seen;
    let rows = rig.get(path::AUDIT_VERIFY, &rig.admin).await.body["rows"].clone();
    let seen = |token: String, ids: Value| {
        let rig = &rig;
        async move { rig.post(wire::SEEN, &token, &json!({ "session_ids": ids })).await }
    };
    for token in [&site.token, &other.token] {
        let told = seen(token.clone(), json!(["s1", "unknown"])).await;
        assert_eq!(told.status, 204, "{}", told.body);
    }
    assert_eq!(list(&rig).await.sessions[0].last_seen, before, "no write for news of seconds");
    assert_eq!(rig.get(path::AUDIT_VERIFY, &rig.admin).await.body["rows"], rows);
    let many: Vec<_> = (0..1001).map(|n| format!("s{n}")).collect();
    assert_eq!(seen(site.token.clone(), json!(many)).await.status, 400);
    rig.hub.stop().await;
}
