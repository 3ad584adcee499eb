//! How long a close takes on small and large homes, beside `rm -rf` and BleachBit on the same home.
//!
//! It refuses a home that is not made anew for each of the three, and a time without the memory.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::{Measured, quantile};
use crate::people::{Ground, Person};
use crate::process;
use crate::traps::{self, Scene};

const MEGABYTE: u64 = 1_000_000;
/// How often the memory of a running program is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Sizes of cached files, in turn, in bytes.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Free disk that a home of a given size must leave, as a multiple of it.
const ROOM: u64 = 2;

/// One home: its name in figures, its size and how often it is measured.
struct Size {
    name: &'static str,
    bytes: u64,
    rounds: usize,
}

const SMALL: Size = Size { name: "10mb", bytes: 10 * MEGABYTE, rounds: 9 };
const MIDDLE: Size = Size { name: "1gb", bytes: 1_000 * MEGABYTE, rounds: 3 };
const LARGE: Size = Size { name: "10gb", bytes: 10_000 * MEGABYTE, rounds: 3 };

/// Medians of one size, in milliseconds and megabytes.
struct Times {
    unusable: f64,
    verified: f64,
    memory: f64,
    rm: f64,
    bleachbit: f64,
    left_by_bleachbit: usize,
    files: u32,
}

pub(super) fn run(quick: bool) -> Result<Measured> {
    let ground = Ground::new()?;
    let owner = ground.person("contained")?;
    let mut measured = Measured::of("contain");
    let small = measure(&ground, &owner, &SMALL, &mut measured)?;
    let middle = measure(&ground, &owner, &MIDDLE, &mut measured)?;
    let room = rustix::fs::statvfs(ground.path())?;
    let fits = room.f_bavail * room.f_frsize > LARGE.bytes * ROOM;
    if !quick && !fits {
        eprintln!("   {}: left out, the disk has no room for it", LARGE.name);
    }
    let largest = if quick || !fits {
        middle
    } else {
        let large = measure(&ground, &owner, &LARGE, &mut measured)?;
        measured.aim("unusable_10gb_ms", large.unusable, 150.0);
        large
    };
    measured.ratio("unusable_flatness", largest.unusable / small.unusable, 2.0);
    measured.ratio("verified_vs_rm", largest.verified / largest.rm, 1.2);
    measured.ratio("verified_vs_bleachbit", small.verified / small.bleachbit, 1.0);
    Ok(measured)
}

fn measure(ground: &Ground, owner: &Person, size: &Size, into: &mut Measured) -> Result<Times> {
    let mut columns: [Vec<f64>; 5] = Default::default();
    let (mut left, mut files) = (0, 0);
    for round in 0..size.rounds {
        let home = |who: &str| filled(ground, owner, &format!("{}-{round}-{who}", size.name), size);
        let (scene, count) = home("ours")?;
        let [unusable, verified, memory] = ours(&scene)?;
        discard(scene)?;
        let (scene, _) = home("rm")?;
        let mut remove = scene.person.command("rm");
        remove.args(["-rf", ".config", ".mozilla", ".cache"]);
        let removed = timed(&mut remove)?;
        ensure!(removed.status.success(), "rm ended with {}", removed.status);
        let rm = removed.milliseconds;
        discard(scene)?;
        let (scene, _) = home("bleachbit")?;
        let begun = Instant::now();
        traps::bleachbit(&scene)?;
        let bleachbit = begun.elapsed().as_secs_f64() * 1e3;
        if round == 0 {
            (left, files) = (scene.truth()?.len(), count);
        }
        discard(scene)?;
        for (column, value) in columns.iter_mut().zip([unusable, verified, memory, rm, bleachbit]) {
            column.push(value);
        }
        let name = size.name;
        eprintln!(
            "   {name}, {count} files: unusable {unusable:.1} ms, verified {verified:.1} ms, \
             {memory:.1} MB; rm {rm:.1} ms; BleachBit {bleachbit:.1} ms"
        );
    }
    let [unusable, verified, memory, rm, bleachbit] = columns.map(|mut column| {
        column.sort_by(f64::total_cmp);
        quantile(&column, 0.5)
    });
    let times = Times { unusable, verified, memory, rm, bleachbit, left_by_bleachbit: left, files };
    times.tell(size.name, into)?;
    Ok(times)
}

impl Times {
    fn tell(&self, name: &str, into: &mut Measured) -> Result<()> {
        into.figure(&format!("files_{name}"), f64::from(self.files));
        into.figure(&format!("unusable_{name}_ms"), self.unusable);
        into.figure(&format!("verified_{name}_ms"), self.verified);
        into.figure(&format!("peak_rss_{name}_mb"), self.memory);
        into.floor(&format!("rm_{name}_ms"), self.rm);
        into.floor(&format!("bleachbit_{name}_ms"), self.bleachbit);
        let left = u32::try_from(self.left_by_bleachbit)?;
        into.floor(&format!("left_by_bleachbit_{name}"), f64::from(left));
        Ok(())
    }
}

/// Milliseconds until nothing usable was in reach, milliseconds of the whole program until it had
/// looked again and signed, and the most memory that it held, in megabytes.
fn ours(scene: &Scene<'_>) -> Result<[f64; 3]> {
    let mut once = Command::new(traps::warden_program()?);
    let done = timed(once.args(["once", "--json", "--home"]).arg(&scene.person.home))?;
    ensure!(done.status.success(), "the warden ended with {}", done.status);
    let said: Value = serde_json::from_slice(&done.said)?;
    ensure!(said["outcome"] == "verified", "not verified: {said}");
    let steps = said["steps"].as_array().context("no steps")?;
    let fence = steps.iter().find(|step| step["step"] == "quarantine").context("no fence")?;
    let unusable = fence["at_ms"].as_f64().context("no time")?;
    let left = scene.truth()?;
    ensure!(left.is_empty(), "something is left: {left:?}");
    Ok([unusable, done.milliseconds, done.megabytes])
}

/// What a program took.
pub(crate) struct Done {
    pub(crate) milliseconds: f64,
    pub(crate) megabytes: f64,
    pub(crate) status: std::process::ExitStatus,
    pub(crate) said: Vec<u8>,
}

/// Executes a program; its memory is looked at while it runs.
pub(crate) fn timed(command: &mut Command) -> Result<Done> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut out = child.stdout.take().context("standard output was piped")?;
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        out.read_to_end(&mut said).map(|_| said)
    });
    let id = Pid::from_raw(i32::try_from(child.id())?).context("a process id is zero")?;
    let handle = pidfd_open(id, PidfdFlags::empty())?;
    let every = Timespec::try_from(LOOK)?;
    let mut most = 0.0_f64;
    loop {
        most = most.max(peak_megabytes(child.id()));
        let mut watched = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut watched, Some(&every)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return Err(error).context("waiting for a process"),
        }
    }
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let status = child.wait()?;
    let said = reader.join().ok().context("a reader panicked")??;
    Ok(Done { milliseconds, megabytes: most, status, said })
}

/// The most memory that a process has held so far, in megabytes of a million bytes.
fn peak_megabytes(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kilobytes.unwrap_or(0.0_f64) * 1024.0 / 1e6
}

/// A signed-in home whose caches and site storage fill it up to its size, written to disk.
fn filled<'g>(
    ground: &'g Ground,
    owner: &Person,
    name: &str,
    size: &Size,
) -> Result<(Scene<'g>, u32)> {
    let mut scene = Scene::new(ground, owner, name, false)?;
    scene.chromium("chromium", ".config/chromium", "Default")?;
    scene.firefox(".mozilla/firefox", "abcd.default-release")?;
    scene.control()?;
    let dirs = [
        ".cache/chromium/Default/Cache/Cache_Data",
        ".config/chromium/Default/Service Worker/CacheStorage/0a/1b",
        ".config/chromium/Default/IndexedDB/https_corp.example_0.indexeddb.blob/1/00",
        ".cache/mozilla/firefox/abcd.default-release/cache2/entries",
        ".mozilla/firefox/abcd.default-release/storage/default/https+++corp.example/cache/morgue",
    ];
    let block = vec![0x5a_u8; 1 << 20];
    let (mut written, mut count) = (0, 0_u32);
    for (number, length) in SIZES.into_iter().cycle().enumerate() {
        if written >= size.bytes {
            break;
        }
        let dir = dirs.get(number % dirs.len()).context("no directory")?;
        let content = block.get(..length).unwrap_or_default();
        scene.write(format!("{dir}/f_{number:06x}"), content)?;
        written += u64::try_from(length)?;
        count += 1;
    }
    process::output(&mut Command::new("sync"))?;
    Ok((scene, count))
}

/// Takes a measured home away, and waits until the disk is done with it.
fn discard(scene: Scene<'_>) -> Result<()> {
    process::output(Command::new("rm").arg("-rf").arg(&scene.person.home))?;
    process::output(&mut Command::new("sync"))?;
    scene.end()
}
