//! The revocation check: in process beside plain maps of the same keys, and over HTTP beside a bare
//! server and Redis.
//!
//! It refuses to parse or hash inside the clock, and to ask in an order that a cache could guess.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use exeunt_check::{RevocationState, SessionKey, SubjectHash, Watermark};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionId, Timestamp};
use serde_json::json;

use super::pressure::{Bare, Pressure, Redis};
use super::{Measured, median};
use crate::gateway::LoneHub;

/// Questions in one round.
const ASKED: usize = 1_000_000;
/// How many rounds of each kind, in turn.
const ROUNDS: usize = 5;
/// Connections that ask at the same time.
const CONNECTIONS: usize = 16;

pub(super) fn run(quick: bool) -> Result<Measured> {
    let mut measured = Measured::of("check");
    let sizes: &[(&str, u32)] = if quick {
        &[("10k", 10_000), ("1m", 1_000_000)]
    } else {
        &[("10k", 10_000), ("1m", 1_000_000), ("10m", 10_000_000)]
    };
    for (name, subjects) in sizes {
        eprintln!("-- check in process, {name} subjects");
        let (ours, plain) = in_process(*subjects)?;
        measured.figure(&format!("in_process_{name}_ns"), ours);
        measured.floor(&format!("hashmap_{name}_ns"), plain);
        if *name == "1m" {
            measured.ratio("in_process_vs_hashmap", ours / plain, 1.5);
        }
    }
    eprintln!("-- check over HTTP");
    over_http(&mut measured, Duration::from_millis(if quick { 300 } else { 1500 }))?;
    Ok(measured)
}

/// One signed-in session of each subject; every tenth is denied by name.
struct Keys {
    subjects: Vec<SubjectHash>,
    sessions: Vec<SessionKey>,
    hashes: Vec<SessionHash>,
}

impl Keys {
    fn of(count: u32) -> Result<Self> {
        let mut keys = Self { subjects: Vec::new(), sessions: Vec::new(), hashes: Vec::new() };
        for n in 0..count {
            let hash = SessionHash::of("bench", &SessionId::parse(format!("session-{n}"))?);
            keys.subjects.push(SubjectHash::of_key(&format!("opaque:subject-{n}")));
            keys.sessions.push(SessionKey::from(&hash));
            if n % 10 == 0 {
                keys.hashes.push(hash);
            }
        }
        Ok(keys)
    }
}

/// Nanoseconds a check: ours, and two look-ups in plain maps.
fn in_process(count: u32) -> Result<(f64, f64)> {
    let keys = Keys::of(count)?;
    let mark = Watermark { seq: 7, at: Timestamp(1) };
    let state = RevocationState::restore(
        9,
        keys.subjects.iter().map(|subject| (*subject, mark)),
        keys.hashes.iter().map(|hash| (*hash, 8)),
    );
    let marks: HashMap<SubjectHash, Watermark> =
        keys.subjects.iter().map(|subject| (*subject, mark)).collect();
    let denied: HashMap<SessionKey, u64> =
        keys.hashes.iter().map(|hash| (SessionKey::from(hash), 8)).collect();
    let order = order(keys.subjects.len());
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let by_state = timed(&keys, &order, |subject, session| {
            // Registered after the watermark: both maps are asked.
            state.is_refused(subject, session, 8).is_some()
        });
        let by_maps = timed(&keys, &order, |subject, session| {
            marks.get(&subject).is_some_and(|mark| 8 <= mark.seq) || denied.contains_key(&session)
        });
        ensure!(by_state.1 == by_maps.1, "the two do not agree: {} {}", by_state.1, by_maps.1);
        ensure!(by_state.1 > 0, "nothing was refused");
        ours.push(by_state.0);
        plain.push(by_maps.0);
    }
    Ok((median(ours), median(plain)))
}

/// Nanoseconds a question, and how many were refused.
fn timed(
    keys: &Keys,
    order: &[usize],
    is_refused: impl Fn(SubjectHash, SessionKey) -> bool,
) -> (f64, usize) {
    let begun = Instant::now();
    let refused = order
        .iter()
        .filter(|at| black_box(is_refused(keys.subjects[**at], keys.sessions[**at])))
        .count();
    let asked = u32::try_from(order.len()).map_or(f64::NAN, f64::from);
    (begun.elapsed().as_secs_f64() * 1e9 / asked, refused)
}

/// [`ASKED`] places below `count`, by a generator of its own seed (Marsaglia's xorshift64).
fn order(count: usize) -> Vec<usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 1).unwrap_or_default() % count
    };
    std::iter::repeat_with(&mut next).take(ASKED).collect()
}

fn over_http(measured: &mut Measured, round: Duration) -> Result<()> {
    let hub = LoneHub::start()?;
    let service = hub.service("bench")?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let body = json!({
        "subject": { "format": "opaque", "id": "alice" }, "session_id": "s1", "kind": "web",
        "auth_time": u64::try_from(since.as_millis())?,
    });
    let session = hub.as_service(&service, "/v1/sessions", &body)?;
    let seq = session["seq"].as_u64().with_context(|| format!("no sequence: {session}"))?;
    let token = hub.token(&service)?;
    let ask = format!(
        "GET /v1/check?subject=alice&session=s1&issued_seq={seq} HTTP/1.1\r\nhost: hub\r\n\
         authorization: Bearer {token}\r\n\r\n"
    );
    let address = hub.url.trim_start_matches("http://").to_owned();
    let ours = Pressure::http_204(&address, ask)?;
    let bare = Bare::start()?;
    let floor = Pressure::http_204(&bare.address, "GET / HTTP/1.1\r\nhost: bare\r\n\r\n".into())?;
    let redis = Redis::start()?;
    let peer = Pressure::redis_get(&redis.address)?;
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (rates, one) in rates.iter_mut().zip([&ours, &floor, &peer]) {
            rates.push(one.rate(CONNECTIONS, round)?);
        }
    }
    let [ours, floor, peer] = rates.map(median);
    measured.figure("http_checks_per_s", ours);
    measured.floor("bare_204_per_s", floor);
    measured.floor("redis_get_per_s", peer);
    measured.at_least("http_vs_bare", ours / floor, 0.75);
    measured.at_least("http_vs_redis_get", ours / peer, 1.0);
    Ok(())
}
