//! An order from the operator's call to the receipt at the hub, beside its floor.
//!
//! It refuses to refill the home inside the clock, and to count a round that was not verified.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use exeunt_domain::receipt::Mode;
use exeunt_domain::{Jti, Outcome};

use super::between::Between;
use super::floor::Floor;
use super::{Measured, p50_p99};
use crate::house::{Admin, House, SUBJECT, Subjects};
use crate::people::{Ground, Person};
use crate::waiting;

const LIMIT: Duration = Duration::from_secs(30);
/// Who has not run for so long is done.
const REST: Duration = Duration::from_millis(30);

/// Ten stores in eleven small places, each of another kind.
const STORES: [&str; 11] = [
    ".config/chromium/Default/Cookies",
    ".config/chromium/Default/Local Storage/leveldb/000003.log",
    ".config/chromium/Default/Session Storage/000003.log",
    ".config/chromium/Default/Sessions/Session_1",
    ".config/chromium/Default/IndexedDB/https_x_0.indexeddb.leveldb/000003.log",
    ".config/mozilla/firefox/rig.alice/cookies.sqlite",
    ".config/mozilla/firefox/rig.alice/sessionstore-backups/recovery.jsonlz4",
    ".config/mozilla/firefox/rig.alice/storage/default/http+++x/ls/data.sqlite",
    ".config/chromium/Default/Service Worker/Database/000003.log",
    ".aws/sso/cache/x.json",
    ".claude/.credentials.json",
];

/// What makes the places above profiles.
const PROFILES: [(&str, &str); 4] = [
    (".config/chromium/Local State", "{}"),
    (".config/chromium/Default/Preferences", "{}"),
    (".config/mozilla/firefox/profiles.ini", "[Profile0]\nName=a\nIsRelative=1\nPath=rig.alice\n"),
    (".config/mozilla/firefox/rig.alice/prefs.js", "\n"),
];

pub(super) fn run(quick: bool) -> Result<Measured> {
    let rounds = if quick { 50 } else { 500 };
    let mut house = House::open_in(Ground::new()?, Subjects::Alice, Mode::User)?;
    let socket = house.ground.path().join("between.sock");
    let warden = house.runtime.join("warden.sock");
    let between = Between::listen(&socket, &warden, &house.alice)?;
    house.listen_between(socket);
    house.stop_agent(rustix::process::Signal::TERM)?;
    house.start_agent()?;
    house.enrol("bench")?;
    let admin = house.admin()?;
    let floor = Floor::start(house.ground.path())?;
    for (place, text) in PROFILES {
        house.alice.write(place, text)?;
    }
    let mut samples = Samples::default();
    let mut read = 0;
    for round in 0..rounds {
        if round % 100 == 0 {
            eprintln!("-- order {round} of {rounds}");
        }
        make_ready(&house, &admin)?;
        samples.floor.push(floor.round()?);
        // Either begins on a machine at rest, or the one would have warmed it for the other.
        at_rest(&house)?;
        let taken = one(&house, &admin, &between, &mut read).with_context(|| house.logs());
        samples.add(taken.with_context(|| format!("round {round}"))?);
    }
    Ok(samples.measured(rounds))
}

struct Round {
    received: f64,
    handed_over: f64,
    fenced: f64,
    receipt: f64,
}

/// A session, and stores to end: all that comes before the clock.
fn make_ready(house: &House, admin: &Admin) -> Result<()> {
    begin_session(house, admin)?;
    // Only now, or the watch over a closed home would tell of what came back meanwhile.
    refill(&house.alice)?;
    // The warden looks at each store that is made, which belongs to the making.
    at_rest(house)
}

/// Waits until the warden has not run for a moment.
fn at_rest(house: &House) -> Result<()> {
    let (warden, _) = house.ids();
    let id = warden.context("no warden")?;
    let mut last = (ran(id)?, Instant::now());
    waiting::until("a warden at rest", LIMIT, || {
        let now = ran(id)?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() >= REST).then_some(()))
    })
}

/// How long a process's threads have run, in nanoseconds (Documentation/scheduler/sched-stats.rst).
fn ran(id: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end in between; its share is missed once, and the sum has changed.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let ran = stat.split_whitespace().next().context("an empty schedstat")?;
        sum += ran.parse::<u64>()?;
    }
    Ok(sum)
}

/// One order. The agent's log was read up to `read`.
fn one(house: &House, admin: &Admin, between: &Between, read: &mut u64) -> Result<Round> {
    let (sent, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
    let txn = admin.sign_out(SUBJECT)?.txn.context("no transaction")?;
    let passed = between.wait(txn.as_str(), LIMIT)?;
    let state = admin.final_txn(&txn, LIMIT)?;
    ensure!(state.outcome == Outcome::Verified, "{state:?}");
    let left: Vec<_> = STORES.iter().filter(|it| house.alice.home.join(it).exists()).collect();
    ensure!(left.is_empty(), "left: {left:?}");
    let after = |at: Option<Instant>, what| -> Result<f64> {
        let at = at.with_context(|| format!("{what} was not seen"))?;
        Ok(at.saturating_duration_since(sent).as_secs_f64() * 1000.0)
    };
    let (jti, handed_over) = passed.handed_over.context("the order was not handed over")?;
    let log = house.agent_log(*read)?;
    *read += log.len() as u64;
    let fenced = Duration::from_millis(passed.fenced.context("the fence was not seen")?.0);
    Ok(Round {
        received: received(&log, &jti)?.saturating_sub(wall).as_secs_f64() * 1000.0,
        handed_over: after(Some(handed_over), "the order")?,
        // The device's clock is this machine's; it counts whole milliseconds.
        fenced: fenced.saturating_sub(wall).as_secs_f64() * 1000.0,
        receipt: after(passed.committed, "the receipt")?,
    })
}

/// When the agent had the SET in its hands, by its own log, in the wall clock that is also ours.
fn received(log: &str, jti: &Jti) -> Result<Duration> {
    let mark = format!("a SET is here jti={jti}");
    let line = log.lines().find(|line| line.ends_with(&mark));
    let line = line.with_context(|| format!("the agent's log does not name {jti}:\n{log}"))?;
    let time = line.split_whitespace().next().unwrap_or_default();
    let time: jiff::Timestamp = time.parse().with_context(|| format!("the time of {line:?}"))?;
    let micros = u64::try_from(time.as_microsecond()).context("a time before 1970")?;
    Ok(Duration::from_micros(micros))
}

fn refill(alice: &Person) -> Result<()> {
    for store in STORES {
        alice.write(store, [b's'; 512])?;
    }
    Ok(())
}

/// A new session, or the device would be no target.
fn begin_session(house: &House, admin: &Admin) -> Result<()> {
    waiting::until("the session's registration", LIMIT, || {
        // Who started in the very tick of the last close counts as from before it.
        crate::process::output(&mut house.typed_by(&house.alice, &["status", "--json"]))?;
        let sessions = admin.sessions(SUBJECT)?.sessions;
        Ok(sessions.iter().any(|session| session.revoked_by.is_none()).then_some(()))
    })
}

#[derive(Default)]
struct Samples {
    floor: Vec<f64>,
    received: Vec<f64>,
    handed_over: Vec<f64>,
    fenced: Vec<f64>,
    receipt: Vec<f64>,
}

impl Samples {
    fn add(&mut self, round: Round) {
        self.received.push(round.received);
        self.handed_over.push(round.handed_over);
        self.fenced.push(round.fenced);
        self.receipt.push(round.receipt);
    }

    fn measured(self, rounds: u32) -> Measured {
        let mut measured = Measured::of("order");
        measured.figure("orders", f64::from(rounds));
        let floor = p50_p99(self.floor);
        measured.floor("fsync_and_round_trip_p50_ms", floor.0);
        measured.floor("fsync_and_round_trip_p99_ms", floor.1);
        let received = p50_p99(self.received);
        measured.figure("received_p50_ms", received.0);
        measured.figure("received_p99_ms", received.1);
        let handed_over = p50_p99(self.handed_over);
        measured.figure("handed_to_warden_p50_ms", handed_over.0);
        measured.figure("handed_to_warden_p99_ms", handed_over.1);
        let fenced = p50_p99(self.fenced);
        measured.figure("fenced_p50_ms", fenced.0);
        measured.figure("fenced_p99_ms", fenced.1);
        let receipt = p50_p99(self.receipt);
        measured.figure("receipt_p50_ms", receipt.0);
        measured.figure("receipt_p99_ms", receipt.1);
        measured.ratio("received_p50_ratio", received.0 / floor.0, 2.0);
        measured.ratio("received_p99_ratio", received.1 / floor.1, 5.0);
        measured.aim("fenced_p99_ms", fenced.1, 100.0);
        measured
    }
}
