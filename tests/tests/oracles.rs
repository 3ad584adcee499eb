//! Strangers' tools look for sessions before and after a close: each must find what was planted
//! before, and nothing after.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what several tests share may fail as loudly as they do"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use exeunt_tests::browser::{Browser, Kind};
use exeunt_tests::desktop::{Desktop, Screen};
use exeunt_tests::keyring::{KEPT, Keyring, TOKENS};
use exeunt_tests::people::{Ground, Person};
use exeunt_tests::process;
use exeunt_tests::site::{Gate, Options, Site};
use exeunt_tests::traps::{self, residue};
use serde::Deserialize;
use serde_json::Value;

/// The readers of other people's cookies that are asked.
const READERS: [&str; 2] = ["rookiepy", "browser_cookie3"];
/// The system's Python: every user may execute it.
const PYTHON: &str = "/usr/bin/python3";
/// A value shorter than this is no secret, and would be found anywhere.
const SHORTEST: usize = 12;

/// One installation is made at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The readers, installed for the people of one ground.
struct Readers {
    packages: PathBuf,
    script: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Answer {
    cookies: Vec<Cookie>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Cookie {
    name: String,
    value: String,
}

impl Readers {
    /// Installs the pinned versions once, below `target`, and copies them to where the people of
    /// `ground` may read them.
    fn install(ground: &Ground) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles");
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracles");
        let wanted = std::fs::read_to_string(sources.join("requirements.txt")).unwrap();
        let stamp = venv.join("installed.txt");
        {
            let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
            if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
                let mut make = Command::new(PYTHON);
                let made = process::output(make.args(["-m", "venv", "--clear"]).arg(&venv));
                made.expect("python3 -m venv; `apt-get install python3-venv` brings it");
                let mut pip = Command::new(venv.join("bin/pip"));
                pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
                process::output(pip.arg("-r").arg(sources.join("requirements.txt"))).unwrap();
                std::fs::write(&stamp, &wanted).unwrap();
            }
        }
        let dir = ground.dir("oracles", 0o755).unwrap();
        let lib = std::fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap().path();
        let mut copy = Command::new("cp");
        copy.args(["-r", "--no-preserve=ownership"]).arg(lib.join("site-packages")).arg(&dir);
        process::output(&mut copy).unwrap();
        let script = dir.join("cookies.py");
        std::fs::copy(sources.join("cookies.py"), &script).unwrap();
        process::output(Command::new("chmod").args(["-R", "a+rX"]).arg(&dir)).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
        Self { packages: dir.join("site-packages"), script }
    }

    /// What `reader` finds, run as the person on their own desktop.
    fn ask(&self, reader: &str, desktop: &Desktop, browser: &Browser) -> Answer {
        let mut ask = desktop.command(PYTHON);
        ask.env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        ask.arg(&self.script).args([reader, browser.kind().name()]).arg(browser.profile());
        let said = process::output(&mut ask).unwrap();
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    }
}

fn site() -> Site {
    Site::start(Options {
        user: "alice".into(),
        password: "correct horse".into(),
        api_key: None,
        gate: Gate::Open,
        listen: ([127, 0, 0, 1], 0).into(),
    })
    .unwrap()
}

/// `exeunt-warden once`: its exit code and what it printed.
fn close(alice: &Person, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut once = Command::new(traps::warden_program().unwrap());
    once.args(["once", "--json", "--home"]).arg(&alice.home).args(arguments);
    let ended = once.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let json = serde_json::from_slice(&ended.stdout);
    (ended.status.code(), json.unwrap_or_else(|error| panic!("{error}; it said:\n{said}")))
}

/// Other people's tools find the cookie before and nothing after, and neither does a search of
/// every byte in the home (R7, R8, R51).
fn strangers_find_nothing_after(kind: Kind) {
    let ground = Ground::new().unwrap();
    let readers = Readers::install(&ground);
    let alice = ground.person("alice").unwrap();
    let desktop = Desktop::start(&alice, Screen::Headless).unwrap();
    let (site, canary) = (site(), "canary-4f1d9c7be2a05836");
    let mut browser = Browser::prepare(kind, &desktop).unwrap();
    browser.sign_in(&desktop, &site, canary).unwrap();
    browser.close(&desktop).unwrap();

    let given = site.cookies_of(kind.name()).unwrap();
    let sid = given.split_once('=').unwrap().1;
    let mut secrets = vec![canary.to_owned(), sid.to_owned()];
    for reader in READERS {
        let found = readers.ask(reader, &desktop, &browser);
        let has = found.cookies.iter().any(|one| one.name == "sid" && one.value == sid);
        assert!(has, "{reader} did not find the cookie before: {found:?}");
        secrets.extend(found.cookies.into_iter().map(|one| one.value));
    }
    secrets.retain(|secret| secret.len() >= SHORTEST);
    secrets.sort_unstable();
    secrets.dedup();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let before = residue::in_tree(&alice.home, &secrets).unwrap();
    let seen = |wanted: &str| before.iter().any(|found| secrets[found.secret] == wanted);
    assert!(seen(canary), "the search did not find the canary before: {before:?}");
    // Chromium's cookies are encrypted on disk: there the readers above are the ones that see them.
    assert!(kind == Kind::Chromium || seen(sid), "nor the cookie: {before:?}");

    let control = browser.visit(&desktop, &site).unwrap();
    assert_eq!(control.me_status, 200, "{control:?}");
    let (code, closed) = close(&alice, &[]);
    assert_eq!(code, Some(0), "{closed:#}");
    browser.was_ended().unwrap();

    for reader in READERS {
        let found = readers.ask(reader, &desktop, &browser);
        assert!(found.cookies.is_empty(), "{reader} still finds {found:?}");
        assert!(found.error.is_some(), "{reader} read a database that should be gone");
    }
    let after = residue::in_tree(&alice.home, &secrets).unwrap();
    assert!(after.is_empty(), "{after:?}");
}

#[test]
fn strangers_find_nothing_in_chromium_after_a_close() {
    strangers_find_nothing_after(Kind::Chromium);
}

#[test]
fn strangers_find_nothing_in_firefox_after_a_close() {
    strangers_find_nothing_after(Kind::Firefox);
}

/// The desktop's own keyring tool finds the tokens before and none after (R10).
#[test]
fn secret_tool_finds_no_token_after_a_close() {
    let ground = Ground::new().unwrap();
    let alice = ground.person("alice").unwrap();
    let desktop = Desktop::start(&alice, Screen::Headless).unwrap();
    let keyring = Keyring::start(&desktop, "demo").unwrap();
    for item in TOKENS.into_iter().chain([KEPT]) {
        keyring.store(&desktop, item, "token-4f1d9c7be2a05836").unwrap();
    }
    let tells = |attribute: &[&str]| {
        let mut tool = desktop.command("secret-tool");
        let told = tool.args(["search", "--all", "--unlock"]).args(attribute).output().unwrap();
        String::from_utf8_lossy(&told.stdout).contains("token-4f1d9c7be2a05836")
    };
    let tokens = || TOKENS.iter().filter(|item| tells(item.attributes)).count();
    assert_eq!((tokens(), tells(KEPT.attributes)), (TOKENS.len(), true));

    let (code, closed) = close(&alice, &["--bus", &desktop.bus]);
    assert_eq!(code, Some(0), "{closed:#}");
    assert_eq!((tokens(), tells(KEPT.attributes)), (0, true));
}
