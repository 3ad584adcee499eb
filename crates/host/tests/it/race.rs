//! An account that swaps its directories and files for links while its home is contained: a process
//! of its own, started for this.
//!
//! `EXEUNT_RACE_SWAPS=5000000 cargo test -p exeunt-host --test it race::` races for longer.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exeunt_catalogue::Catalogue;
use exeunt_domain::order::Demand;
use exeunt_domain::{Authority, Tier, Txn};
use exeunt_engine::ports::{Clock as _, Host};
use exeunt_engine::{Plan, Survey};
use exeunt_host::clock::SystemClock;
use exeunt_host::files::{Bases, LinuxFiles};
use exeunt_host::users::{Account, as_account};
use exeunt_testkit::{FakeJournal, FakeLocker, FakeProcesses};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{
    CWD, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, mkdirat,
    openat2, symlinkat,
};

use crate::homes::{STRANGER, is_root};

/// Swaps that must have happened during one race, unless the environment asks for more.
const SWAPS: u64 = 100_000;
/// How long a race may take for so many.
const WITHIN: Duration = Duration::from_secs(150);
/// Where the attacker is told what to do: the home, and the directory outside.
const ORDERS: &str = "EXEUNT_RACE";

/// One app whose stores lie at every depth: a tree, files by a pattern, and an edit.
const PREY: &str = r#"
[[app]]
id = "prey"
name = "Prey"
kind = "cli"
layout = "flat"
evidence = ["https://prey.example"]
roots = { all = ["home:.prey"] }
[[app.store]]
id = "tree"
tier = "sign-out"
about = "a tree"
paths = ["a/b/store"]
removes = [".prey/a/b/store/x"]
[[app.store]]
id = "files"
tier = "sign-out"
about = "files"
paths = ["a/*/file*"]
removes = [".prey/a/b/file1"]
keeps = [".prey/a/kept"]
[[app.store]]
id = "rc"
tier = "sign-out"
about = "a line"
paths = ["a/rc"]
edit = { lines = { starts = ["token"] } }
removes = [".prey/a/rc"]
"#;

/// What is swapped, from the outermost on; each has its like outside.
const DIRS: [&str; 5] = ["", "a", "a/b", "a/b/store", "a/b/store/sub"];
const FILES: [&str; 4] = ["a/rc", "a/b/file1", "a/b/store/x", "a/b/store/sub/canary"];

#[test]
fn an_account_that_swaps_links_in_leads_root_nowhere() {
    if is_root("containing another account") {
        Race::begin(Homes::OfRoot).run();
    }
}

/// Where not even the quarantine is beyond the account's reach.
#[test]
fn an_account_that_swaps_the_quarantine_too_leads_root_nowhere() {
    if is_root("containing another account") {
        Race::begin(Homes::Shared).run();
    }
}

#[test]
fn an_account_that_swaps_links_in_leads_user_mode_nowhere() {
    if is_root("playing an unprivileged account") {
        let race = Race::begin(Homes::Shared);
        as_account(STRANGER, STRANGER, || race.run()).unwrap();
    } else {
        Race::begin(Homes::Shared).run();
    }
}

/// What the directory is like that the home lies in.
#[derive(Clone, Copy)]
enum Homes {
    /// Only root may write to it, as to `/home`.
    OfRoot,
    /// Everybody may, as to `/tmp`: a quarantine then lies in the home itself.
    Shared,
}

struct Race {
    owner: Account,
    outside: Outside,
    attacker: Attacker,
    _ground: tempfile::TempDir,
}

impl Race {
    fn begin(homes: Homes) -> Self {
        // In memory, where there is room: nothing waits for a disk, and the race is the faster.
        let memory = tempfile::tempdir_in("/dev/shm");
        let ground = memory.or_else(|_| tempfile::tempdir()).unwrap();
        let mode = match homes {
            Homes::OfRoot => 0o755,
            Homes::Shared => 0o1777,
        };
        std::fs::set_permissions(ground.path(), PermissionsExt::from_mode(mode)).unwrap();
        let (uid, gid) = match is_root("another account") {
            true => (STRANGER, STRANGER),
            false => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        let home = ground.path().join("home");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(uid), Some(gid)).unwrap();
        let owner = Account { uid, gid, name: "prey".into(), home };
        let outside = Outside::make(&ground.path().join("outside"), &owner);
        let attacker = Attacker::start(&owner, &outside.root, &ground.path().join("count"));
        Self { owner, outside, attacker, _ground: ground }
    }

    fn run(mut self) {
        let catalogue = Catalogue::parse(&[("prey.toml".to_owned(), PREY.to_owned())]).unwrap();
        let wanted = std::env::var("EXEUNT_RACE_SWAPS").ok().and_then(|swaps| swaps.parse().ok());
        let wanted = wanted.unwrap_or(SWAPS);
        let begun = Instant::now();
        let limit = WITHIN * u32::try_from(wanted.div_ceil(SWAPS)).unwrap();
        let (mut rounds, mut stores, mut gone) = (0, 0, 0);
        while self.attacker.swaps() < wanted {
            assert!(begun.elapsed() < limit, "{} swaps in {limit:?}", self.attacker.swaps());
            assert!(self.attacker.is_alive(), "the attacker gave up");
            let (found, removed) = contain(&catalogue, &self.owner);
            (rounds, stores, gone) = (rounds + 1, stores + found, gone + removed);
            self.outside.assert_untouched();
        }
        let swaps = self.attacker.swaps();
        drop(self.attacker);
        eprintln!(
            "{swaps} swaps during {rounds} containments in {:.1?}: {gone} of {stores} stores gone",
            begun.elapsed()
        );
        assert!(gone > 0, "the race never let anything be contained");
        self.outside.assert_as_it_was();
    }
}

/// One whole containment by the real adapter. Returns how many stores were found, and how many of
/// them were gone at the end.
fn contain(catalogue: &Catalogue, owner: &Account) -> (usize, usize) {
    let files = LinuxFiles::open(&owner.home, owner, Bases::default(), &[]).unwrap();
    let (processes, locker) = (FakeProcesses::new(), FakeLocker::new());
    let journal = FakeJournal::new();
    let host = Host {
        files: &files,
        processes: &processes,
        keychains: Vec::new(),
        agents: None,
        disks: None,
        include: &[],
        locker: &locker,
        hand_over: None,
        isolated: true,
        clock: &SystemClock,
        journal: &journal,
        observe: &|_| {},
    };
    let demand = Demand {
        txn: Txn::parse("race").unwrap(),
        authority: Authority::LocalRequest { uid: 0, surface: "test".into() },
        tier: Tier::SignOut,
        subject: None,
        reason: None,
        hand_over: false,
    };
    let survey = Survey::take(catalogue, &host);
    let found = survey.reports().len();
    let armed = Plan::draft(survey, Tier::SignOut).arm(demand, &SystemClock, SystemClock.instant());
    armed.execute(&host, vec![], vec![]).check(catalogue, &host);
    let left = Survey::take(catalogue, &host).reports().len();
    for quarantine in files.leftover_quarantines().unwrap_or_default() {
        // It may have been swapped for something else meanwhile.
        let _swapped = exeunt_engine::ports::Files::empty_quarantine(&files, &quarantine);
    }
    (found, found.saturating_sub(left))
}

/// A tree that has every name of the prey's, and a watch over it. All of it is the account's own,
/// so that permissions protect nothing.
struct Outside {
    root: PathBuf,
    watch: OwnedFd,
}

/// When everything outside was last read, as far as it says.
const LONG_AGO: Timespec = Timespec { tv_sec: 1_000_000, tv_nsec: 0 };

impl Outside {
    fn make(root: &Path, owner: &Account) -> Self {
        for dir in DIRS {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in FILES {
            std::fs::write(root.join(file), content(file)).unwrap();
        }
        for place in DIRS.iter().chain(&FILES) {
            chown(root.join(place), Some(owner.uid), Some(owner.gid)).unwrap();
            let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let times = Timestamps { last_access: LONG_AGO, last_modification: keep };
            let flags = rustix::fs::AtFlags::empty();
            rustix::fs::utimensat(CWD, root.join(place), &times, flags).unwrap();
        }
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        for place in DIRS.iter().chain(&FILES) {
            inotify::add_watch(&watch, root.join(place), WatchFlags::ALL_EVENTS).unwrap();
        }
        Self { root: root.to_owned(), watch }
    }

    /// Nothing was opened, read, listed, changed, moved or removed.
    fn assert_untouched(&self) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        match events.next() {
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => panic!("the watch failed: {error}"),
            Ok(event) => {
                let (what, name): (ReadFlags, _) = (event.events(), event.file_name());
                panic!("something outside the home was touched: {what:?} {name:?}");
            }
        }
    }

    fn assert_as_it_was(&self) {
        self.assert_untouched();
        for place in DIRS.iter().chain(&FILES) {
            let data = std::fs::symlink_metadata(self.root.join(place)).unwrap();
            assert_eq!(data.atime(), LONG_AGO.tv_sec, "{place} was read");
        }
        for file in FILES {
            assert_eq!(std::fs::read(self.root.join(file)).unwrap(), content(file), "{file}");
        }
    }
}

fn content(file: &str) -> Vec<u8> {
    if file.ends_with("rc") { b"token=t\nkept\n".to_vec() } else { b"canary".to_vec() }
}

/// The attacker's process. Ended when dropped.
struct Attacker {
    process: Child,
    count: std::fs::File,
}

impl Attacker {
    /// Starts this very program again, with nothing to do but [`attacker`], and waits until it has
    /// swapped something.
    fn start(owner: &Account, outside: &Path, count: &Path) -> Self {
        std::fs::write(count, [0; 8]).unwrap();
        chown(count, Some(owner.uid), Some(owner.gid)).unwrap();
        let orders = [&owner.home, outside, count].map(|path| path.to_str().unwrap().to_owned());
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["race::attacker", "--exact", "--nocapture"])
            .env(ORDERS, format!("{}:{}:{}", orders.join(":"), owner.uid, owner.gid))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut attacker = Self { process, count: std::fs::File::open(count).unwrap() };
        let until = Instant::now() + WITHIN;
        assert!(attacker.is_alive());
        while attacker.swaps() == 0 && attacker.is_alive() && Instant::now() < until {
            std::thread::yield_now();
        }
        attacker
    }

    fn swaps(&self) -> u64 {
        let mut bytes = [0; 8];
        self.count.read_exact_at(&mut bytes, 0).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The attacker: no test, unless it was started as [`Attacker::start`] does.
#[test]
fn attacker() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let [home, outside, count, uid, gid] = orders.split(':').collect::<Vec<_>>()[..] else {
        panic!("bad orders");
    };
    as_account(uid.parse().unwrap(), gid.parse().unwrap(), || {
        attack(Path::new(home), Path::new(outside), Path::new(count));
    })
    .unwrap();
}

/// It reaches for everything by handles, beneath its home and through no link: what is touched
/// outside was touched by somebody else.
struct Prey {
    home: OwnedFd,
    path: PathBuf,
    outside: PathBuf,
    swaps: u64,
}

fn attack(home: &Path, outside: &Path, count: &Path) {
    let count = std::fs::File::options().write(true).open(count).unwrap();
    let handle = rustix::fs::open(home, HANDLE, Mode::empty()).unwrap();
    let (path, outside_too) = (home.to_owned(), outside.to_owned());
    let mut prey = Prey { home: handle, path, outside: outside_too, swaps: 0 };
    for lap in 0_u64.. {
        prey.plant();
        for place in DIRS.iter().chain(&FILES) {
            let there =
                if place.is_empty() { ".prey".to_owned() } else { format!(".prey/{place}") };
            prey.swap(&there, &outside.join(place));
        }
        if lap % 4 == 0 {
            prey.swap_quarantines();
        }
        count.write_all_at(&prey.swaps.to_le_bytes(), 0).unwrap();
    }
}

impl Prey {
    /// The directory that `place` is in, and its name there.
    fn within<'p>(&self, place: &'p str) -> Option<(OwnedFd, &'p str)> {
        let (dir, name) = place.rsplit_once('/').unwrap_or((".", place));
        Some((self.open(dir, HANDLE)?, name))
    }

    fn open(&self, place: &str, flags: OFlags) -> Option<OwnedFd> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mode = if flags.contains(OFlags::CREATE) { Mode::RWXU } else { Mode::empty() };
        openat2(&self.home, place, flags | OFlags::CLOEXEC, mode, beneath).ok()
    }

    /// Makes anew what was contained, and takes away links that were left where it was.
    fn plant(&self) {
        for place in DIRS {
            let place = format!(".prey/{place}");
            let Some((dir, name)) = self.within(place.trim_end_matches('/')) else { continue };
            if mkdirat(&dir, name, Mode::RWXU).is_err() && is_link(&dir, name) {
                remove(&dir, name);
                let _raced = mkdirat(&dir, name, Mode::RWXU);
            }
        }
        for file in FILES {
            let place = format!(".prey/{file}");
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            if let Some(fresh) = self.open(&place, flags) {
                let _raced = rustix::io::write(&fresh, &content(file));
            } else if let Some((dir, name)) = self.within(&place)
                && is_link(&dir, name)
            {
                remove(&dir, name);
            }
        }
    }

    /// Exchanges what is at `place` and a link to `target`, and back. Each step may fail, since the
    /// other side is as fast.
    fn swap(&mut self, place: &str, target: &Path) {
        let Some((dir, name)) = self.within(place) else { return };
        if symlinkat(target, &self.home, LINK).is_err() {
            return self.clear_link();
        }
        for _ in 0..2 {
            let swapped = exchange(&dir, name, &self.home);
            self.swaps += u64::from(swapped);
        }
        remove(&self.home, LINK);
    }

    /// Takes away what could not be swapped back: a whole directory.
    #[expect(clippy::disallowed_methods, reason = "a test plays the account that swaps its files")]
    fn clear_link(&self) {
        remove(&self.home, LINK);
        let _gone = std::fs::remove_dir_all(self.path.join(LINK));
    }

    /// Swaps quarantines, and what lies in them.
    fn swap_quarantines(&mut self) {
        let outside = self.outside.join("a");
        for quarantine in self.names(".") {
            if quarantine.starts_with(".exeunt-") {
                for name in self.names(&quarantine) {
                    self.swap(&format!("{quarantine}/{name}"), &outside);
                }
                self.swap(&quarantine, &outside);
            }
        }
    }

    fn names(&self, place: &str) -> Vec<String> {
        let Some(dir) = self.open(place, OFlags::RDONLY | OFlags::DIRECTORY) else {
            return Vec::new();
        };
        let entries = rustix::fs::Dir::new(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "." && name != "..").collect()
    }
}

/// The link that waits to be swapped in, and afterwards what it was swapped for.
const LINK: &str = "link";
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn is_link(dir: &OwnedFd, name: &str) -> bool {
    rustix::fs::readlinkat(dir, name, Vec::new()).is_ok()
}

#[expect(clippy::disallowed_methods, reason = "a test plays the account that swaps its files")]
fn exchange(dir: &OwnedFd, name: &str, home: &OwnedFd) -> bool {
    rustix::fs::renameat_with(dir, name, home, LINK, RenameFlags::EXCHANGE).is_ok()
}

#[expect(clippy::disallowed_methods, reason = "a test plays the account that swaps its files")]
fn remove(dir: &OwnedFd, name: &str) {
    let _raced = rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty());
}
