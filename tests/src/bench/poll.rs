//! Thousands of devices in a long poll over TLS: their memory, one order to all of them, and their
//! return after a restart, each beside a bare server of the same libraries.
//!
//! It refuses to count an order that a device heard twice, and to forget one that it never heard.

mod crowd;
mod enrolled;
mod hub;
mod parked;
mod quorum;
mod talk;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;

use self::crowd::{Ask, Crowd, Member, Told, monotonic};
use self::enrolled::Desk;
use self::hub::{Certificate, Hub};
use self::quorum::Quorum;
use self::talk::Talk;
use super::footprint::steady_megabytes;
use super::{Measured, median, p50_p99};

pub(super) use self::crowd::{NAME as CROWD, play};
pub(super) use self::parked::{NAME as PARKED, serve};

/// How many processes the devices are spread over.
const PROCESSES: usize = 2;
/// How often each thing is done, beside the same at the bare server.
const ROUNDS: usize = 3;

pub(super) fn run(quick: bool) -> Result<Measured> {
    let count = if quick { 1_000 } else { 10_000 };
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::issue(dir.path())?;
    let mut hub = Hub::over(dir.path(), &certificate)?;
    eprintln!("-- poll: enrolling {count} devices");
    let base = hub.start_clear()?;
    let quorum = Quorum::found(&hub, &base)?;
    let address = hub.address().to_string();
    let desk = Desk { address, hub: hub.url.clone(), operator: hub.operator()? };
    let members = desk.enrol(count)?;
    hub.end(Signal::TERM)?;
    let mut measured = Measured::of("poll");
    measured.note(
        "one order to all: a lock of every device, from the last approver's call on; one signed \
         entry of the log, one row a device that awaits its receipt. The bare server sends as many \
         bytes and keeps nothing",
    );
    measured.figure("devices", float(count));
    let mut bench = Bench::open(hub, quorum, &certificate, &members)?;
    bench.memory(&mut measured)?;
    bench.fan_out(&mut measured)?;
    bench.reconnect(&mut measured)?;
    bench.lost(&mut measured)?;
    Ok(measured)
}

/// The hub and the bare server, each with a crowd of its own.
struct Bench {
    hub: Hub,
    quorum: Quorum,
    bare: Talk,
    certificate: Certificate,
    at_hub: Throng,
    at_bare: Throng,
    /// Bytes of an order.
    bytes: usize,
}

impl Bench {
    fn open(
        mut hub: Hub,
        quorum: Quorum,
        certificate: &Certificate,
        members: &[Member],
    ) -> Result<Self> {
        hub.start_tls()?;
        let at_hub = Throng::gather(members, certificate, hub.address(), &hub.url, 1)?;
        let (bare, address) = bare(certificate)?;
        let at_bare = Throng::gather(members, certificate, address, &hub.url, 2)?;
        let certificate = certificate.clone();
        Ok(Self { hub, quorum, bare, certificate, at_hub, at_bare, bytes: 0 })
    }

    /// Kibibytes of resident memory that a waiting device costs its server.
    fn memory(&mut self, measured: &mut Measured) -> Result<()> {
        eprintln!("-- poll: memory");
        let hub = self.hub.id()?;
        let ours = grown(hub, &mut self.at_hub)?;
        let floor = grown(self.bare.id(), &mut self.at_bare)?;
        measured.figure("memory_kib_per_device", ours);
        measured.floor("memory_kib_per_bare_poll", floor);
        measured.ratio("memory_vs_bare", ours / floor, 1.3);
        Ok(())
    }

    /// One order to everyone.
    fn fan_out(&mut self, measured: &mut Measured) -> Result<()> {
        let (mut ours, mut floor) = (Spread::default(), Spread::default());
        for round in 0..ROUNDS {
            eprintln!("-- poll: one order to all, round {round}");
            let order = self.quorum.almost(&self.hub.url)?;
            let begun = monotonic();
            self.quorum.last(&self.hub.url, &order)?;
            self.bytes = ours.add(begun, self.at_hub.hear()?)?;
            let begun = monotonic();
            self.bare.ask(&parked::Ask::Ring { bytes: self.bytes })?;
            floor.add(begun, self.at_bare.hear()?)?;
            // Everyone waits again before the next round.
            steady_megabytes(self.hub.id()?)?;
        }
        measured.figure("order_bytes", float(self.bytes));
        ours.tell(|name, value| measured.figure(&format!("order_{name}"), value));
        floor.tell(|name, value| measured.floor(&format!("bare_{name}"), value));
        let (ours, floor) = (median(ours.rates), median(floor.rates));
        measured.figure("deliveries_per_s", ours);
        measured.floor("bare_deliveries_per_s", floor);
        measured.at_least("fanout_vs_bare", ours / floor, 0.7);
        Ok(())
    }

    /// Everyone comes back after a restart.
    fn reconnect(&mut self, measured: &mut Measured) -> Result<()> {
        let (mut ours, mut floor, mut tokens) = (Vec::new(), Vec::new(), 0);
        for round in 0..ROUNDS {
            eprintln!("-- poll: everyone comes back, round {round}");
            self.hub.end(Signal::TERM)?;
            self.hub.start_tls()?;
            let begun = monotonic();
            let back = self.at_hub.connect()?;
            ours.push(self.at_hub.rate(begun, back.0));
            tokens += back.1;
            let (bare, address) = bare(&self.certificate)?;
            self.bare = bare;
            self.at_bare.address = address;
            let begun = monotonic();
            let back = self.at_bare.connect()?;
            floor.push(self.at_bare.rate(begun, back.0));
        }
        measured.figure("reconnect_tokens", float(tokens));
        let (ours, floor) = (median(ours), median(floor));
        measured.figure("reconnects_per_s", ours);
        measured.floor("bare_connects_per_s", floor);
        measured.at_least("reconnect_vs_bare", ours / floor, 0.7);
        Ok(())
    }

    /// The hub is killed the moment after it has promised an order to everyone.
    fn lost(&mut self, measured: &mut Measured) -> Result<()> {
        eprintln!("-- poll: killed after its promise");
        let order = self.quorum.almost(&self.hub.url)?;
        self.quorum.last(&self.hub.url, &order)?;
        self.hub.end(Signal::KILL)?;
        self.hub.start_tls()?;
        self.at_hub.connect()?;
        let (_, missing, _) = self.at_hub.hear()?;
        measured.ratio("lost", float(missing), 0.0);
        Ok(())
    }
}

fn bare(certificate: &Certificate) -> Result<(Talk, SocketAddr)> {
    let mut bare = Talk::start(parked::NAME)?;
    let (cert, key) = (certificate.cert.clone(), certificate.key.clone());
    bare.ask(&parked::Ask::Serve { cert, key })?;
    let address = bare.answer()?;
    Ok((bare, address))
}

/// Kibibytes by which a server grows with each of a crowd.
fn grown(server: u32, crowd: &mut Throng) -> Result<f64> {
    let before = steady_megabytes(server)?;
    crowd.connect()?;
    let after = steady_megabytes(server)?;
    Ok((after - before) * 1_000_000.0 / 1024.0 / float(crowd.count))
}

/// When one order came to each of many devices, in milliseconds, round after round.
#[derive(Default)]
struct Spread {
    first: Vec<f64>,
    middle: Vec<f64>,
    late: Vec<f64>,
    last: Vec<f64>,
    rates: Vec<f64>,
}

impl Spread {
    /// The bytes of an order.
    fn add(&mut self, begun: u64, heard: (Vec<u64>, usize, usize)) -> Result<usize> {
        let (at, missing, bytes) = heard;
        ensure!(missing == 0, "{missing} devices did not hear the order");
        let after = |at: &u64| seconds(begun, *at) * 1000.0;
        let all: Vec<_> = at.iter().map(after).collect();
        let count = float(all.len());
        let first = all.iter().copied().fold(f64::INFINITY, f64::min);
        let last = all.iter().copied().fold(0.0, f64::max);
        let (p50, p99) = p50_p99(all);
        self.first.push(first);
        self.middle.push(p50);
        self.late.push(p99);
        self.last.push(last);
        self.rates.push(count * 1000.0 / last);
        Ok(bytes)
    }

    fn tell(&self, mut figure: impl FnMut(&str, f64)) {
        let of = [&self.first, &self.middle, &self.late, &self.last];
        for (name, samples) in ["first_ms", "p50_ms", "p99_ms", "last_ms"].iter().zip(of) {
            figure(name, median(samples.clone()));
        }
    }
}

/// The devices of one server, in several processes.
struct Throng {
    crowds: Vec<Talk>,
    count: usize,
    address: SocketAddr,
    /// Each crowd connects from addresses of its own, each time from others: ports are not enough.
    net: u8,
    times: u8,
    heard: usize,
}

impl Throng {
    fn gather(
        members: &[Member],
        certificate: &Certificate,
        address: SocketAddr,
        hub: &str,
        net: u8,
    ) -> Result<Self> {
        let mut crowds = Vec::new();
        for devices in members.chunks(members.len().div_ceil(PROCESSES)) {
            let mut crowd = Talk::start(crowd::NAME)?;
            let (ca, devices) = (certificate.ca.clone(), devices.to_vec());
            crowd.ask(&Crowd { ca, hub: hub.to_owned(), devices })?;
            crowds.push(crowd);
        }
        Ok(Self { crowds, count: members.len(), address, net, times: 0, heard: 0 })
    }

    /// Connects everyone; when the last was answered, and how many had to ask for a token.
    fn connect(&mut self) -> Result<(u64, usize)> {
        self.times += 1;
        for (crowd, last) in self.crowds.iter_mut().zip(1..) {
            let source = Ipv4Addr::new(127, self.net, self.times, last);
            crowd.ask(&Ask::Connect { address: self.address, source })?;
        }
        let (mut at, mut tokens) = (0, 0);
        for crowd in &mut self.crowds {
            match crowd.answer()? {
                Told::Connected { at: one, tokens: asked } => {
                    at = at.max(one);
                    tokens += asked;
                }
                Told::Heard { .. } => bail!("a crowd answers something else"),
            }
        }
        Ok((at, tokens))
    }

    /// When each heard the next order, how many orders are missing, and an order's bytes.
    fn hear(&mut self) -> Result<(Vec<u64>, usize, usize)> {
        self.heard += 1;
        for crowd in &mut self.crowds {
            crowd.ask(&Ask::Hear { orders: self.heard })?;
        }
        let mut all = (Vec::new(), 0, 0);
        for crowd in &mut self.crowds {
            match crowd.answer()? {
                Told::Heard { at, missing, bytes } => {
                    all.0.extend(at);
                    all.1 += missing;
                    all.2 = bytes;
                }
                Told::Connected { .. } => bail!("a crowd answers something else"),
            }
        }
        Ok(all)
    }

    /// How many a second came, when everyone came between the two.
    fn rate(&self, begun: u64, last: u64) -> f64 {
        float(self.count) / seconds(begun, last)
    }
}

/// Between two readings of the monotonic clock.
fn seconds(begun: u64, at: u64) -> f64 {
    Duration::from_nanos(at.saturating_sub(begun)).as_secs_f64()
}

fn float(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::NAN, f64::from)
}
