//! `exeunt-warden once` as root at a machine, over throwaway homes.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const CANARY: &str = "c4n4ry-c4n4ry-c4n4ry";
/// An item as GitHub's command stores it.
const GH: [&str; 4] = ["service", "gh:github.com", "username", "alice"];
/// The key of Chromium's cookies and saved passwords, as Chromium stores it.
const SAFE_STORAGE: [&str; 4] =
    ["xdg:schema", "chrome_libsecret_os_crypt_password_v2", "application", "chromium"];

/// A home with keyring files, secrets that are only reported, and a bookmark.
struct Home {
    uid: u32,
    dir: tempfile::TempDir,
    children: Vec<Child>,
}

impl Home {
    /// Each by an offset of its own below 20.
    fn new(offset: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: another account's home needs root");
            return None;
        }
        Some(Self::of(2_050_000_000 + std::process::id() % 100_000 * 20 + offset))
    }

    /// A home of the account `games`: a bus serves only accounts that a database knows, and nothing
    /// else runs as this one.
    fn of_games() -> Option<Self> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|line| line.starts_with("games:")).unwrap();
        let uid = line.split(':').nth(2).unwrap().parse().unwrap();
        rustix::process::geteuid().is_root().then(|| Self::of(uid))
    }

    fn of(uid: u32) -> Self {
        let home = Self { uid, dir: tempfile::tempdir().unwrap(), children: Vec::new() };
        lchown(home.dir.path(), Some(uid), Some(uid)).unwrap();
        home.put(".local/share/keyrings/other.keyring", "[keyring]\ndisplay-name=other\n");
        home.put(".bash_history", &format!("export GITHUB_TOKEN={CANARY}\n"));
        home.put(".env", &format!("API_KEY={CANARY}\n"));
        home.put("Documents/letter.txt", "dear");
        home
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, words: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, words).unwrap();
        for place in path.ancestors().take_while(|place| *place != self.dir.path()) {
            lchown(place, Some(self.uid), Some(self.uid)).unwrap();
        }
    }

    fn command(&self, program: &str) -> Command {
        let found = ["/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists());
        assert!(found, "{program} is missing: run `cargo xtask test`");
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.dir.path());
        command.env("XDG_RUNTIME_DIR", self.path("run")).current_dir("/");
        command.uid(self.uid).gid(self.uid).stderr(Stdio::null());
        command
    }

    fn warden(&self, args: &[&str]) -> Output {
        let mut once = Command::new(env!("CARGO_BIN_EXE_exeunt-warden"));
        once.args(["once", "--json", "--home"]).arg(self.dir.path()).args(args);
        once.output().unwrap()
    }

    fn start(&mut self, command: &mut Command) -> &mut Child {
        self.children.push(command.spawn().unwrap());
        self.children.last_mut().unwrap()
    }

    /// A bus with a keyring that holds one item of GitHub's command and is locked.
    fn with_locked_keyring(&mut self) -> String {
        let bus = self.with_keyring();
        let to = "--dest=org.freedesktop.secrets";
        let lock = "org.freedesktop.Secret.Service.Lock";
        let what = "array:objpath:/org/freedesktop/secrets/collection/login";
        let mut send = self.command("dbus-send");
        send.args(["--session", "--print-reply", to, "/org/freedesktop/secrets", lock, what]);
        send.env("DBUS_SESSION_BUS_ADDRESS", &bus).stdout(Stdio::null());
        assert!(send.status().unwrap().success());
        bus
    }

    /// A bus with an unlocked keyring that holds one item of GitHub's command.
    fn with_keyring(&mut self) -> String {
        let bus = format!("unix:path={}", self.path("bus").display());
        let mut daemon = self.command("dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address", "--address", &bus]);
        let daemon = self.start(daemon.stdout(Stdio::piped()));
        let mut byte = [0];
        while daemon.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte != *b"\n" {}
        self.start_keyring(&bus);
        let until = Instant::now() + Duration::from_secs(20);
        while !self.path(".local/share/keyrings/login.keyring").exists() || !self.stores(&bus, &GH)
        {
            assert!(Instant::now() < until, "the keyring never took the item");
            std::thread::yield_now();
        }
        bus
    }

    fn start_keyring(&mut self, bus: &str) {
        let mut keyring = self.command("gnome-keyring-daemon");
        keyring.args(["--foreground", "--unlock", "--components=secrets"]);
        keyring.env("DBUS_SESSION_BUS_ADDRESS", bus).stdin(Stdio::piped()).stdout(Stdio::null());
        self.start(&mut keyring).stdin.take().unwrap().write_all(b"password").unwrap();
    }

    /// Ends what was started last.
    fn end_last(&mut self) {
        let mut child = self.children.pop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Whether the desktop's own tool finds the item, in a keyring that runs.
    fn finds(&self, bus: &str, attributes: &[&str]) -> bool {
        let mut tool = self.command("secret-tool");
        tool.arg("lookup").args(attributes).env("DBUS_SESSION_BUS_ADDRESS", bus);
        let found = tool.output().unwrap();
        String::from_utf8_lossy(&found.stdout).contains(CANARY)
    }

    fn stores(&self, bus: &str, attributes: &[&str]) -> bool {
        let mut tool = self.command("secret-tool");
        tool.args(["store", "--label=item"]).args(attributes);
        let mut tool =
            tool.env("DBUS_SESSION_BUS_ADDRESS", bus).stdin(Stdio::piped()).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(CANARY.as_bytes()).unwrap();
        tool.wait().unwrap().success()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _already_gone = child.kill();
            let _already_reaped = child.wait();
        }
    }
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn row<'v>(receipt: &'v Value, app: &str) -> &'v Value {
    let rows = receipt["stores"].as_array().unwrap();
    rows.iter().find(|row| row["app"] == app).unwrap_or_else(|| panic!("no {app} in {rows:#?}"))
}

#[test]
fn root_purges_keyring_files_and_keeps_documents() {
    let Some(home) = Home::new(0) else { return };
    let kept = home.warden(&["--tier", "sign-out"]);
    assert_eq!(json(&kept)["outcome"], "verified");
    assert!(home.path(".local/share/keyrings/other.keyring").exists());
    let purged = home.warden(&["--tier", "purge"]);
    let receipt = json(&purged);
    assert_eq!(receipt["outcome"], "verified", "{receipt:#}");
    assert_eq!(row(&receipt, "gnome-keyring")["verdict"], "gone");
    assert!(!home.path(".local/share/keyrings/other.keyring").exists());
    assert!(home.path("Documents/letter.txt").exists() && home.path(".env").exists());
}

#[test]
fn a_locked_keyring_is_refused_at_sign_out_and_goes_as_a_file_at_purge() {
    let Some(mut home) = Home::of_games() else { return };
    let bus = home.with_locked_keyring();
    let refused = json(&home.warden(&["--bus", &bus]));
    assert_eq!(row(&refused, "gh")["verdict"], "refused", "{refused:#}");
    assert!(home.path(".local/share/keyrings/login.keyring").exists());
    let purged = json(&home.warden(&["--bus", &bus, "--tier", "purge"]));
    assert!(!home.path(".local/share/keyrings/login.keyring").exists());
    assert_eq!(row(&purged, "gnome-keyring")["verdict"], "gone");
    // The daemon may list for a while what it once read; either way the file is said to be gone.
    let item = row(&purged, "gh");
    assert!(item["detail"].as_str().unwrap().contains("keyring's file"), "{item}");
    assert!(item["verdict"] == "gone" || purged["outcome"] == "partial", "{purged:#}");
}

/// A token that only a keyring's file holds is never taken for gone (R8, R51); after `purge` a
/// stranger's tool finds it in no keyring that is started anew.
#[test]
fn a_token_in_a_keyring_that_does_not_run_is_refused_and_goes_at_purge() {
    let Some(mut home) = Home::of_games() else { return };
    let bus = home.with_keyring();
    assert!(home.finds(&bus, &GH));
    home.end_last();
    for with_bus in [true, false] {
        let args: &[&str] = if with_bus { &["--bus", &bus] } else { &[] };
        let receipt = json(&home.warden(args));
        assert_eq!(row(&receipt, "keyring")["verdict"], "refused", "{receipt:#}");
        assert_eq!(receipt["outcome"], "partial");
    }
    let purged = json(&home.warden(&["--bus", &bus, "--tier", "purge"]));
    assert_eq!(purged["outcome"], "verified", "{purged:#}");
    assert_eq!(row(&purged, "keyring")["verdict"], "gone");
    home.start_keyring(&bus);
    let until = Instant::now() + Duration::from_secs(20);
    while !home.stores(&bus, &["new", "keyring"]) {
        assert!(Instant::now() < until, "the new keyring never answered");
    }
    assert!(!home.finds(&bus, &GH));
}

/// The key that saved passwords hang on goes only when it is asked for by name (R11).
#[test]
fn a_browsers_key_stays_until_it_is_asked_for_and_saved_passwords_with_it() {
    let Some(mut home) = Home::of_games() else { return };
    let bus = home.with_keyring();
    assert!(home.stores(&bus, &SAFE_STORAGE));
    let passwords = ".config/chromium/Default/Login Data";
    home.put(passwords, "saved passwords");
    home.put(".config/chromium/Default/Preferences", "{}");
    let receipt = json(&home.warden(&["--bus", &bus]));
    assert_eq!(receipt["outcome"], "verified", "{receipt:#}");
    assert!(!home.finds(&bus, &GH));
    assert!(home.finds(&bus, &SAFE_STORAGE) && home.path(passwords).exists());
    let asked = json(&home.warden(&["--bus", &bus, "--include", "chromium/safe-storage"]));
    assert_eq!(row(&asked, "chromium")["verdict"], "gone", "{asked:#}");
    assert!(!home.finds(&bus, &SAFE_STORAGE) && home.path(passwords).exists());
}

#[test]
fn anybody_but_root_is_refused_a_purge() {
    let Some(home) = Home::new(2) else { return };
    let program = home.path("warden");
    std::fs::copy(env!("CARGO_BIN_EXE_exeunt-warden"), &program).unwrap();
    let mut once = Command::new(&program);
    once.args(["once", "--tier", "purge", "--home"]).arg(home.dir.path());
    let output = once.uid(home.uid).gid(home.uid).env("HOME", "/nonexistent").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("for root"));
    assert!(home.path(".local/share/keyrings/other.keyring").exists());
}

#[test]
fn an_unknown_opt_in_rule_is_refused_before_anything_is_touched() {
    let Some(home) = Home::new(3) else { return };
    for wrong in ["chromium/cookies", "nothing", "gh/token"] {
        let output = home.warden(&["--tier", "purge", "--include", wrong]);
        assert!(!output.status.success(), "{wrong}");
        assert!(home.path(".local/share/keyrings/other.keyring").exists());
    }
    let taken = home.warden(&["--tier", "purge", "--include", "chromium/safe-storage"]);
    assert_eq!(json(&taken)["outcome"], "verified");
}

#[test]
fn a_survey_names_places_of_secrets_and_never_a_secret() {
    let Some(mut home) = Home::new(4) else { return };
    let mut carrier = home.command("sleep");
    home.start(carrier.arg("60").env("DEPLOY_TOKEN", CANARY));
    for as_json in [true, false] {
        let mut once = Command::new(env!("CARGO_BIN_EXE_exeunt-warden"));
        once.args(["once", "--survey", "--home"]).arg(home.dir.path());
        let output = once.args(as_json.then_some("--json")).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        for place in ["DEPLOY_TOKEN", ".bash_history", ".env"] {
            assert!(text.contains(place), "{place} in {text}");
        }
        let all = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&all).contains("c4n4ry"));
    }
    assert!(home.path(".env").exists() && home.path(".bash_history").exists());
}

/// Holds a store of a home's, and hides that.
const HIDE: &str = "import ctypes, signal, sys
held = open(sys.argv[1])
ctypes.CDLL(None).prctl(4, 0)
print('ready', flush=True)
while True: signal.pause()";

impl Home {
    /// Starts a program that says when it is ready, with a store of the home's as its argument.
    fn start_with_store(&mut self, script: &str) -> u32 {
        self.put(".aws/sso/cache/a.json", "token");
        let store = self.path(".aws/sso/cache/a.json");
        let mut python = self.command("python3");
        python.args(["-S", "-c", script]).arg(store).stdout(Stdio::piped());
        let child = self.start(&mut python);
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"ready\n");
        child.id()
    }
}

#[test]
fn in_user_mode_one_that_hides_what_it_holds_makes_the_verdict_unknown() {
    let Some(mut home) = Home::new(5) else { return };
    home.start_with_store(HIDE);
    let program = home.path("warden");
    std::fs::copy(env!("CARGO_BIN_EXE_exeunt-warden"), &program).unwrap();
    let mut once = Command::new(&program);
    once.args(["once", "--json", "--home"]).arg(home.dir.path());
    let output = once.uid(home.uid).gid(home.uid).env("HOME", "/nonexistent").output().unwrap();
    let receipt = json(&output);
    let store = row(&receipt, "aws");
    assert_eq!(store["verdict"], "unknown", "{receipt:#}");
    assert!(store["detail"].as_str().unwrap().contains("hides"), "{store}");
    assert_eq!(receipt["outcome"], "unreachable");
    // Root sees through it, and ends it.
    let Some(mut home) = Home::new(6) else { return };
    let pid = home.start_with_store(HIDE);
    let receipt = json(&home.warden(&[]));
    assert_eq!(row(&receipt, "aws")["verdict"], "gone", "{receipt:#}");
    assert!(is_dead(pid));
}

/// Whether a process has ended, reaped or not.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[test]
fn a_sign_out_ends_holders_a_purge_everybody_and_another_user_never() {
    let (Some(mut home), Some(mut other)) = (Home::new(7), Home::new(8)) else { return };
    let hold = "import signal, sys
held = open(sys.argv[1])
print('ready', flush=True)
while True: signal.pause()";
    let theirs = other.start_with_store(hold);
    let holder = home.start_with_store(hold);
    let mut sleep = home.command("sleep");
    let bystander = home.start(sleep.arg("1000")).id();
    assert_eq!(json(&home.warden(&[]))["outcome"], "verified");
    assert!(is_dead(holder) && !is_dead(bystander));
    let receipt = json(&home.warden(&["--tier", "purge"]));
    assert!(is_dead(bystander));
    assert_eq!(row(&receipt, "account")["verdict"], "gone", "{receipt:#}");
    assert!(!is_dead(theirs) && other.path(".aws/sso/cache/a.json").exists());
}

#[test]
fn a_hand_over_ends_everybody_and_says_what_is_left() {
    let Some(mut home) = Home::new(9) else { return };
    let mut sleep = home.command("sleep");
    let bystander = home.start(sleep.arg("1000")).id();
    let output = home.warden(&["--hand-over"]);
    let receipt = json(&output);
    assert!(is_dead(bystander));
    let rows: Vec<_> = receipt["stores"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["app"] == "account")
        .collect();
    for what in ["processes", "runtime-directory"] {
        let row = rows.iter().find(|row| row["store"] == what).unwrap();
        assert_eq!(row["verdict"], "gone", "{receipt:#}");
    }
    assert_eq!(receipt["outcome"], "verified", "{receipt:#}");
    // What nobody takes away is said.
    let runtime = PathBuf::from(format!("/run/user/{}", home.uid));
    std::fs::create_dir_all(&runtime).unwrap();
    let receipt = json(&home.warden(&["--hand-over"]));
    remove(&runtime);
    assert_eq!(receipt["outcome"], "partial", "{receipt:#}");
    assert!(receipt["steps"].as_array().unwrap().iter().any(|step| step["step"] == "hand-over"));
}

#[expect(clippy::disallowed_methods, reason = "a directory of this test's own")]
fn remove(dir: &Path) {
    std::fs::remove_dir(dir).unwrap();
}

#[test]
fn one_that_cannot_be_killed_is_unknown_and_holds_nothing_up() {
    let Some(mut home) = Home::new(10) else { return };
    let outside = tempfile::tempdir().unwrap();
    let place = outside.path().join("mute");
    std::fs::create_dir(&place).unwrap();
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut server = Command::new("python3");
    server.args(["-S", "-c", exeunt_testkit::mute::SERVER]).arg(&place).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut said = server.stdout.take().unwrap();
    let mut hear = |word: &str| {
        let mut line = vec![0; word.len() + 1];
        said.read_exact(&mut line).unwrap();
        assert_eq!(line, format!("{word}\n").into_bytes());
    };
    hear("mounted");
    let hold = "import os, sys\nheld = open(sys.argv[1])\nprint('ready', flush=True)";
    home.start_with_store(&format!("{hold}\nos.stat({:?})", place.join("x")));
    hear("asked");
    let began = Instant::now();
    let receipt = json(&home.warden(&[]));
    let took = began.elapsed();
    server.kill().unwrap();
    server.wait().unwrap();
    let detach = rustix::mount::UnmountFlags::DETACH;
    rustix::mount::unmount(&place, detach).unwrap();
    assert_eq!(row(&receipt, "aws")["verdict"], "unknown", "{receipt:#}");
    assert_eq!(receipt["outcome"], "unreachable");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_relaunch_in_the_middle_is_contained_again_and_the_receipt_says_so() {
    let Some(home) = Home::new(11) else { return };
    home.put(".aws/sso/cache/a.json", "token");
    let store = home.path(".aws/sso/cache/a.json");
    // Not the account's, and so neither stopped nor ended: as soon as the store is out of reach it
    // signs in again, and somebody holds that.
    let (receipt, mut again) = std::thread::scope(|scope| {
        let relaunch = scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(20);
            while store.exists() {
                assert!(Instant::now() < until, "the store never went");
                std::thread::yield_now();
            }
            home.put(".aws/sso/cache/a.json", "again");
            let held = std::fs::File::open(&store).unwrap();
            home.command("sleep").arg("1000").stdin(held).spawn().unwrap()
        });
        let receipt = json(&home.warden(&[]));
        (receipt, relaunch.join().unwrap())
    });
    let dead = is_dead(again.id());
    let _already_gone = again.kill();
    again.wait().unwrap();
    let row = row(&receipt, "aws");
    assert_eq!(row["verdict"], "gone", "{receipt:#}");
    assert!(row["detail"].as_str().unwrap().contains("came back"), "{row}");
    assert!(dead && !store.exists());
}
