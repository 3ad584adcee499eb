//! A real keyring daemon on a bus of its own.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use exeunt_engine::ports::{KeychainError, Keychains};
use exeunt_host::keychain::{SecretService, SessionBus};
use exeunt_host::users::Account;
use exeunt_testkit::contract::keychains::{KeychainsRig, all};
use tempfile::TempDir;

use crate::programs::{Started, command_as, desktop_account, need};

const LIMIT: Duration = Duration::from_secs(10);

struct Rig {
    keychains: SecretService,
    account: Account,
    bus: String,
    _daemons: Vec<Started>,
    _dir: TempDir,
}

impl Rig {
    /// A bus with nobody on it.
    fn bus_only() -> Self {
        need("dbus-daemon", "dbus-daemon");
        let dir = tempfile::tempdir().unwrap();
        let account = desktop_account(dir.path());
        let address = format!("unix:path={}/bus", dir.path().display());
        let mut daemon = command_as(&account, "dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address", "--address", &address]);
        let mut daemon = Started::spawn(daemon.stdout(Stdio::piped()));
        let bus = daemon.first_line();
        let parsed = SessionBus::parse(&bus).unwrap();
        let keychains = SecretService::new(parsed, account.clone(), LIMIT);
        Self { keychains, account, bus, _daemons: vec![daemon], _dir: dir }
    }

    /// The bus with an unlocked keyring.
    fn with_keyring() -> Self {
        need("gnome-keyring-daemon", "gnome-keyring");
        need("secret-tool", "libsecret-tools");
        let mut rig = Self::bus_only();
        let mut daemon = command_as(&rig.account, "gnome-keyring-daemon");
        daemon.args(["--foreground", "--unlock", "--components=secrets"]);
        daemon.env("DBUS_SESSION_BUS_ADDRESS", &rig.bus).stdin(Stdio::piped());
        let mut daemon = Started::spawn(daemon.stdout(Stdio::piped()));
        daemon.0.stdin.take().unwrap().write_all(b"password").unwrap();
        rig._daemons.insert(0, daemon);
        let until = Instant::now() + LIMIT;
        while matches!(rig.keychains.items(), Err(KeychainError::Absent)) {
            assert!(Instant::now() < until, "the keyring never took its name");
            std::thread::yield_now();
        }
        rig
    }

    fn run(&self, program: &str, args: &[&str], input: &[u8]) {
        let mut command = command_as(&self.account, program);
        command.args(args).env("DBUS_SESSION_BUS_ADDRESS", &self.bus).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert!(child.wait().unwrap().success(), "{program}");
    }
}

impl KeychainsRig for Rig {
    fn keychains(&self) -> &dyn Keychains {
        &self.keychains
    }

    fn store(&self, label: &str, (key, value): (&str, &str)) {
        self.run("secret-tool", &["store", "--label", label, key, value], b"s3cret");
    }

    fn lock(&self) {
        need("dbus-send", "dbus-bin or dbus");
        let args = [
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.secrets",
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service.Lock",
            "array:objpath:/org/freedesktop/secrets/collection/login",
        ];
        self.run("dbus-send", &args, b"");
    }
}

#[test]
fn secret_service_keeps_the_contract() {
    all(Rig::with_keyring);
}

#[test]
fn never_starts_a_keychain_that_is_not_running() {
    let rig = Rig::bus_only();
    assert!(matches!(rig.keychains.items(), Err(KeychainError::Absent)));
    // Were one activated by the first call, the second would find it.
    assert!(matches!(rig.keychains.items(), Err(KeychainError::Absent)));
}

#[test]
fn no_bus_means_no_keychain() {
    let dir = tempfile::tempdir().unwrap();
    let account = desktop_account(dir.path());
    let bus = SessionBus::Path(dir.path().join("none"));
    let keychains = SecretService::new(bus, account, LIMIT);
    assert!(matches!(keychains.items(), Err(KeychainError::Absent)));
}

#[test]
fn gives_up_on_a_bus_that_never_answers() {
    let dir = tempfile::tempdir().unwrap();
    let account = desktop_account(dir.path());
    let path = dir.path().join("bus");
    let _listens_and_says_nothing = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(account.uid), None).unwrap();
    let limit = Duration::from_millis(200);
    let keychains = SecretService::new(SessionBus::Path(path), account, limit);
    let before = Instant::now();
    assert!(matches!(keychains.items(), Err(KeychainError::Timeout(after)) if after == limit));
    assert!(before.elapsed() < Duration::from_secs(5));
}
