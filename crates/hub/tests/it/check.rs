//! The check: refused from the commit on, by the hub and by guards.
//!
//! It refuses to sample: the race counts every request that began after the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use exeunt_check::wire::{self, DeltasResponse, SnapshotResponse};
use exeunt_domain::{Outcome, SessionId, Subject, Timestamp};
use exeunt_guard::{Freshness, Guard, GuardLayer, HubError, Mode, Options, Refused};
use exeunt_hub::sequencer::now;
use serde_json::json;
use tower::{Layer as _, Service as _};

use crate::rig::{Rig, Service, config};

const SOON: Duration = Duration::from_secs(20);

fn names(subject: &str, session: &str) -> (Subject, SessionId) {
    (Subject::parse(subject).unwrap(), SessionId::parse(session).unwrap())
}

async fn guard(rig: &Rig, site: &Service, instance: &str) -> Guard {
    let instance = instance.to_owned();
    let options = Options { instance, ..Options::default() };
    Guard::connect(&rig.hub.url, &site.id, &site.secret, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_that_began_after_the_commit_is_accepted() {
    let rig = Arc::new(Rig::new().await);
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let started = Instant::now();
    let (committed, done) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicBool::new(false)));
    let mut racers = Vec::new();
    for _ in 0..4 {
        let (rig, token, done) = (Arc::clone(&rig), site.token.clone(), Arc::clone(&done));
        racers.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            let path = format!("/v1/check?subject=alice&session=s1&issued_seq={seq}");
            while !done.load(Ordering::Relaxed) {
                let began = started.elapsed().as_nanos() as u64;
                answers.push((began, rig.get(&path, &token).await.status.as_u16()));
            }
            answers.push((u64::MAX, rig.get(&path, &token).await.status.as_u16()));
            answers
        }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.sign_out("alice").await;
    committed.store(started.elapsed().as_nanos() as u64, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    done.store(true, Ordering::Relaxed);
    let committed = committed.load(Ordering::SeqCst);
    let (mut before, mut after) = (0, 0);
    for racer in racers {
        for (began, status) in racer.await.unwrap() {
            if began >= committed {
                assert_eq!(status, 401, "accepted after the commit");
                after += 1;
            } else if status == 204 {
                before += 1;
            }
        }
    }
    assert!(before > 0 && after > 4, "the race was run: {before} before, {after} after");
}

#[tokio::test]
async fn a_guard_refuses_what_was_revoked_and_the_txn_is_verified_when_all_hold_it() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let (one, two) = (guard(&rig, &site, "one").await, guard(&rig, &site, "two").await);
    let (alice, s1) = names("alice", "s1");
    let (bob, s2) = names("bob", "s2");
    let first = site.register(&rig, "alice", "s1").await;
    let second = site.register(&rig, "bob", "s2").await;
    assert_eq!(one.check(&alice, &s1, first), Ok(Freshness::Fresh));

    let done = rig.sign_out("alice").await;
    assert_eq!(done.outcome, Outcome::Contained, "no guard has confirmed it yet");
    for guard in [&one, &two] {
        guard.at_least(done.seq, SOON).await.unwrap();
        assert_eq!(guard.check(&alice, &s1, first), Err(Refused::SignedOut(done.seq)));
        assert_eq!(guard.check(&bob, &s2, second), Ok(Freshness::Fresh));
    }
    let txn = done.txn.unwrap();
    let events = rig.http.get(rig.url(&exeunt_api::path::txn_events(&txn)));
    let text = events.bearer_auth(&rig.admin).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"outcome\":\"verified\""), "the stream ends when it is: {text}");
    assert_eq!(rig.audited("check-confirmed").await.len(), 1);

    site.end(&rig, "s2").await;
    let latest = site.register(&rig, "carol", "s3").await;
    one.at_least(latest, SOON).await.unwrap();
    assert!(matches!(one.check(&bob, &s2, second), Err(Refused::Ended(_))));
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_service_that_asks_the_hub_each_time_confirms_by_asking() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 204);
    let txn = rig.sign_out("alice").await.txn.unwrap();
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Contained);
    assert_eq!(site.check(&rig, "alice", "s1", seq).await, 401);
    assert_eq!(rig.txn(&txn).await.outcome, Outcome::Verified);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_new_session_on_an_old_authentication_is_refused_until_a_fresh_one() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let guard = guard(&rig, &site, "one").await;
    let before = Timestamp(now().0 - 1000);
    site.register(&rig, "alice", "s1").await;
    rig.sign_out("alice").await;
    let stale = site.try_register(&rig, "alice", "s2", before).await;
    assert_eq!((stale.status.as_u16(), stale.code()), (403, "stale_auth"));
    let (subject, session_id) = names("alice", "s3");
    let mut request = wire::SessionRequest {
        subject: subject.clone(),
        session_id: session_id.clone(),
        kind: exeunt_domain::SessionKind::Web,
        auth_time: before,
        device: None,
        label: None,
        place: None,
        idp_sid: None,
        id_token: None,
        expires: None,
    };
    assert!(matches!(guard.register(&request).await, Err(HubError::StaleAuth)));
    request.auth_time = now();
    let seq = guard.register(&request).await.unwrap();
    assert_eq!(guard.check(&subject, &session_id, seq), Ok(Freshness::Fresh));
    assert_eq!(site.check(&rig, "alice", "s3", seq).await, 204);
    guard.end(&session_id).await.unwrap();
    assert_eq!(site.check(&rig, "alice", "s3", seq).await, 401);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_sequence_that_was_never_given_out_is_refused() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let seq = site.register(&rig, "alice", "s1").await;
    for forged in [0, seq + 100, u64::MAX >> 1] {
        assert_eq!(site.check(&rig, "alice", "s1", forged).await, 401);
    }
    rig.hub.stop().await;
}

#[tokio::test]
async fn deltas_follow_the_snapshot_without_a_gap_and_an_old_reader_is_sent_back() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    site.register(&rig, "alice", "s1").await;
    let snapshot: SnapshotResponse = rig.get(wire::SNAPSHOT, &site.token).await.read();
    assert_eq!((snapshot.aud.as_str(), snapshot.watermarks.len()), ("site", 0));
    let (heard, done) =
        tokio::join!(site.deltas(&rig, snapshot.seq, 25), async { rig.sign_out("alice").await });
    let heard: DeltasResponse = heard.read();
    assert_eq!((heard.after, heard.seq, heard.deltas.len()), (snapshot.seq, done.seq, 1));
    let heartbeat: DeltasResponse = site.deltas(&rig, done.seq, 0).await.read();
    assert!(heartbeat.deltas.is_empty() && heartbeat.seq >= done.seq);
    let ahead = site.deltas(&rig, done.seq + 1000, 0).await;
    assert_eq!((ahead.status.as_u16(), ahead.code()), (410, "snapshot_needed"));

    let rig = rig.restart(|_| {}).await;
    let site = Service { token: site.log_in(&rig).await, ..site };
    let behind = site.deltas(&rig, snapshot.seq, 0).await;
    assert_eq!(behind.code(), "snapshot_needed", "a restart keeps no old changes in memory");
    let again: SnapshotResponse = rig.get(wire::SNAPSHOT, &site.token).await.read();
    assert_eq!(again.watermarks[0].0, "alice");
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_guard_outlives_a_hub_restart_and_goes_stale_without_a_hub() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let connect = |mode| {
        let max_stale = Duration::from_secs(2);
        let instance = format!("{mode:?}");
        let options = Options { max_stale, mode, instance, ..Options::default() };
        Guard::connect(&rig.hub.url, &site.id, &site.secret, options)
    };
    let (strict, lenient) =
        (connect(Mode::Strict).await.unwrap(), connect(Mode::BestEffort).await.unwrap());
    let seq = site.register(&rig, "alice", "s1").await;
    let rig = rig.restart(|_| {}).await;
    let done = rig.sign_out("alice").await;
    strict.at_least(done.seq, SOON).await.unwrap();
    lenient.at_least(done.seq, SOON).await.unwrap();
    let (alice, s1) = names("alice", "s1");
    assert_eq!(strict.check(&alice, &s1, seq), Err(Refused::SignedOut(done.seq)));

    let (bob, s2) = names("bob", "s2");
    let Rig { hub, data, .. } = rig;
    hub.stop().await;
    drop(data);
    while strict.check(&bob, &s2, done.seq + 1).is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(strict.check(&bob, &s2, done.seq + 1), Err(Refused::Stale(_))));
    while lenient.check(&bob, &s2, done.seq + 1) == Ok(Freshness::Fresh) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(lenient.check(&bob, &s2, done.seq + 1), Ok(Freshness::Stale(_))));
    assert_eq!(lenient.check(&alice, &s1, seq), Err(Refused::SignedOut(done.seq)));
}

#[tokio::test]
async fn a_guard_does_not_follow_a_hub_that_forgot() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let options = Options { max_stale: Duration::from_secs(2), ..Options::default() };
    let guard = Guard::connect(&rig.hub.url, &site.id, &site.secret, options).await.unwrap();
    let seq = site.register(&rig, "alice", "s1").await;
    let done = rig.sign_out("alice").await;
    guard.at_least(done.seq, SOON).await.unwrap();
    let Rig { hub, data, .. } = rig;
    let address = hub.addr;
    hub.stop().await;
    // A hub over an empty directory at the same address knows neither service nor sign-out.
    let empty = tempfile::tempdir().unwrap();
    let mut config = config(empty.path());
    config.listen = address;
    let forgetful = exeunt_hub::start(config).await.unwrap();
    let (alice, s1) = names("alice", "s1");
    let (bob, s2) = names("bob", "s2");
    while guard.check(&bob, &s2, done.seq + 1).is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(guard.check(&alice, &s1, seq), Err(Refused::SignedOut(done.seq)));
    forgetful.stop().await;
    drop(data);
}

#[tokio::test]
async fn the_layer_answers_401_before_the_service_sees_the_request() {
    let rig = Rig::new().await;
    let site = rig.service("site").await;
    let guard = guard(&rig, &site, "one").await;
    let seq = site.register(&rig, "alice", "s1").await;
    let layer = GuardLayer::new(guard.clone(), move |guard: &Guard, request: &Request| {
        let session = request.headers().get("x-session")?.to_str().ok()?;
        let (subject, session) = names("alice", session);
        Some(guard.key(&subject, &session, seq))
    });
    let served = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&served);
    let inner = tower::service_fn(move |_: Request| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            Ok::<_, std::convert::Infallible>(axum::http::Response::new(String::from("hello")))
        }
    });
    let mut service = layer.layer(inner);
    let ask = |session: Option<&str>| {
        let mut request = axum::http::Request::builder().uri("/");
        if let Some(session) = session {
            request = request.header("x-session", session);
        }
        request.body(()).unwrap()
    };
    assert_eq!(service.call(ask(Some("s1"))).await.unwrap().status(), 200);
    let done = rig.sign_out("alice").await;
    guard.at_least(done.seq, SOON).await.unwrap();
    assert_eq!(service.call(ask(Some("s1"))).await.unwrap().status(), 401);
    assert_eq!(service.call(ask(None)).await.unwrap().status(), 200);
    assert_eq!(served.load(Ordering::SeqCst), 2);
    rig.hub.stop().await;
}

type Request = axum::http::Request<()>;

#[tokio::test]
async fn a_service_speaks_for_its_own_audience_only() {
    let rig = Rig::new().await;
    let (one, two) = (rig.service("one").await, rig.service("two").await);
    let seq = one.register(&rig, "alice", "s1").await;
    two.register(&rig, "alice", "s1").await;
    let ended = rig.http.delete(rig.url("/v1/sessions/s1")).bearer_auth(&two.token);
    assert_eq!(ended.send().await.unwrap().status(), 204);
    assert_eq!(one.check(&rig, "alice", "s1", seq).await, 204);
    let taken = json!({ "name": "x", "aud": "one" });
    assert_eq!(rig.post(exeunt_api::path::SERVICES, &rig.admin, &taken).await.code(), "conflict");
    rig.hub.stop().await;
}
