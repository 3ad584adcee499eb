//! A large record: what people wait for does not grow with it.
//!
//! It refuses to measure an empty one: it is filled through the store, command by command.

use std::time::{Duration, Instant};

use exeunt_domain::receipt::Mode;
use exeunt_domain::session::SessionHash;
use exeunt_domain::{DeviceId, Jti, Proof, SessionId, SessionKind, Timestamp};
use exeunt_hub::store::command::{DeviceSession, Enrol, MintToken, Source};
use exeunt_hub::store::sqlite::SqliteStore;
use exeunt_hub::store::{Command, Keep, Store as _, View as _};
use exeunt_ssf::SigningKey;

use crate::store::say::{Plain, register, sign_out, subject};

const BATCH: usize = 512;
const KEEP: Keep = Keep { seen_ms: 1 << 40, session_ms: 1 << 40 };

/// How large, and how long what may take.
struct Scale {
    sessions: usize,
    devices: usize,
    start: Duration,
}

fn device(n: usize) -> DeviceId {
    DeviceId::parse(format!("device-{n:06}")).unwrap()
}

/// Each person has nine sessions at services; everyone up to the number of devices one at a device.
fn person(session: usize) -> usize {
    session / 9
}

fn secret(n: usize) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&(n as u64).to_be_bytes());
    secret
}

fn enrolment(n: usize, agent: &SigningKey) -> [Command; 2] {
    let key = SigningKey::generate().unwrap();
    let (secret, name) = (secret(n), device(n));
    let expires = Timestamp(u64::MAX >> 1);
    let (actor, named) = ("admin:test".to_owned(), Some(name.clone()));
    let enrol = Enrol {
        secret,
        jti: Jti::parse("enrol").unwrap(),
        name,
        device_key: key.jwk().clone(),
        agent_key: agent.jwk().clone(),
        mode: Mode::Installed,
    };
    [
        Command::MintToken(MintToken {
            actor,
            secret,
            name: named,
            group: None,
            tenant: None,
            approvers: None,
            expires,
        }),
        Command::Enrol(Box::new(enrol)),
    ]
}

fn console(n: usize, now: u64) -> Command {
    let id = SessionId::parse(format!("console-{n}")).unwrap();
    Command::DeviceSession(DeviceSession {
        from: Source { device: device(n), epoch: 1, jti: Jti::parse("begin").unwrap() },
        subject: subject(n),
        session: SessionHash::of(device(n).as_str(), &id),
        kind: SessionKind::Console,
        proof: Proof::Account,
        since: Timestamp(now),
        ended: false,
        good_for_ms: 1_000_000,
    })
}

fn fill(store: &mut SqliteStore, mint: &mut Plain, commands: impl Iterator<Item = Command>) {
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let batch: Vec<_> = commands.by_ref().take(BATCH).collect();
        let applied = store.apply(&batch, mint).unwrap();
        assert!(applied.iter().all(|done| done.reply.is_ok()));
        store.tidy(false).unwrap();
    }
}

/// The median, and what one in a hundred exceeds.
fn spread(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

fn stays_within_limits(scale: &Scale) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.db");
    let mut store = SqliteStore::open(&path).unwrap();
    let mut mint = Plain { now: 1000, minted: 0 };
    let agent = SigningKey::generate().unwrap();
    let people = scale.sessions.div_ceil(9);
    let (filling, ()) = timed(|| {
        fill(&mut store, &mut mint, (0..scale.devices).flat_map(|n| enrolment(n, &agent)));
        fill(&mut store, &mut mint, (0..scale.devices).map(|n| console(n, 1000)));
        fill(&mut store, &mut mint, (0..scale.sessions).map(|n| register(person(n), n, 1000)));
        // A tenth has been signed out before.
        fill(&mut store, &mut mint, (0..people / 10).map(|n| sign_out(n * 10, n)));
    });
    let rows = store.head().seq;
    drop(store);
    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    let begun = Instant::now();
    let mut store = SqliteStore::open(&path).unwrap();
    let view = store.view().unwrap();
    let loaded = view.load().unwrap();
    let starting = begun.elapsed();
    assert_eq!(loaded.devices.len(), scale.devices);

    let rounds = 300.min(people / 20);
    let signing_out = spread(
        (0..rounds)
            .map(|n| {
                let ask = sign_out(n * 10 + 5, 1_000_000 + n);
                let (took, applied) = timed(|| store.apply(&[ask], &mut mint).unwrap());
                assert!(applied[0].reply.is_ok());
                took
            })
            .collect(),
    );
    // Sleeping devices wait for nothing, others for an order.
    let polling = spread(
        (0..scale.devices)
            .step_by(7)
            .map(|n| timed(|| view.outstanding(&device(n), 0, 100).unwrap()).0)
            .collect(),
    );
    let pruning = spread(
        (0..100).map(|_| timed(|| store.prune(Timestamp(2000), &KEEP, BATCH).unwrap()).0).collect(),
    );
    let (listing, devices) = timed(|| view.devices().unwrap());
    assert_eq!(devices.len(), scale.devices);
    let (verifying, chain) = timed(|| view.audit_chain(0).unwrap());
    assert_eq!((chain.broken, chain.head), (None, store.head()));
    println!(
        "{} sessions, {} devices, {rows} rows, {size} MiB: filled in {filling:.0?}; \
         start {starting:.0?}; sign-out p50 {:.0?} p99 {:.0?}; poll p50 {:.0?} p99 {:.0?}; \
         prune step p50 {:.0?} p99 {:.0?}; list of devices {listing:.0?}; audit verify {verifying:.0?}",
        scale.sessions,
        scale.devices,
        signing_out.0,
        signing_out.1,
        polling.0,
        polling.1,
        pruning.0,
        pruning.1,
    );
    assert!(starting < scale.start, "it starts in {starting:?}");
    let limit = Duration::from_millis(20);
    assert!(signing_out.0 < limit, "a sign-out takes {:?}", signing_out.0);
    assert!(polling.0 < limit, "a poll takes {:?}", polling.0);
    assert!(pruning.0 < 5 * limit, "a step of pruning takes {:?}", pruning.0);
}

#[test]
fn a_record_of_thousands_stays_within_limits() {
    stays_within_limits(&Scale { sessions: 9000, devices: 300, start: Duration::from_secs(5) });
}

#[test]
#[ignore = "minutes: cargo test --release -p exeunt-hub --test it scale -- --ignored --nocapture"]
fn a_record_of_a_million_sessions_and_a_hundred_thousand_devices_stays_within_limits() {
    stays_within_limits(&Scale {
        sessions: 1_000_000,
        devices: 100_000,
        start: Duration::from_secs(20),
    });
}
