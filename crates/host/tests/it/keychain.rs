//! A real keyring daemon on a bus of its own.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use exeunt_engine::ports::{KeychainError, KeychainItem, Keychains};
use exeunt_host::keychain::{KeyringFiles, SecretService, SessionBus};
use exeunt_host::users::{Account, as_account};
use exeunt_testkit::contract::keychains::{KeychainsRig, all};
use tempfile::TempDir;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;

use crate::programs::{Started, command_as, desktop_account, need};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Rig {
    pub(crate) keychains: SecretService,
    pub(crate) account: Account,
    pub(crate) bus: String,
    pub(crate) daemons: Vec<Started>,
    pub(crate) dir: TempDir,
}

impl Rig {
    /// A bus with nobody on it.
    pub(crate) fn bus_only() -> Self {
        need("dbus-daemon", "dbus-daemon");
        let dir = tempfile::tempdir().unwrap();
        let account = desktop_account(dir.path());
        let address = format!("unix:path={}/bus", dir.path().display());
        let mut daemon = command_as(&account, "dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address", "--address", &address]);
        let mut daemon = Started::spawn(daemon.stdout(Stdio::piped()));
        let bus = daemon.first_line();
        let parsed = SessionBus::parse(&bus).unwrap();
        let keychains = service(Some(parsed), &account, LIMIT);
        Self { keychains, account, bus, daemons: vec![daemon], dir }
    }

    /// The bus with an unlocked keyring.
    fn with_keyring() -> Self {
        need("secret-tool", "libsecret-tools");
        let mut rig = Self::bus_only();
        rig.start(Some("password"));
        rig
    }

    /// Starts a keyring, unlocked where there is a password.
    fn start(&mut self, password: Option<&str>) {
        need("gnome-keyring-daemon", "gnome-keyring");
        let mut daemon = command_as(&self.account, "gnome-keyring-daemon");
        daemon.args(["--foreground", "--components=secrets"]);
        daemon.args(password.map(|_| "--unlock"));
        daemon.env("DBUS_SESSION_BUS_ADDRESS", &self.bus).stdin(Stdio::piped());
        let mut daemon = Started::spawn(daemon.stdout(Stdio::piped()));
        let mut input = daemon.0.stdin.take().unwrap();
        input.write_all(password.unwrap_or_default().as_bytes()).unwrap();
        drop(input);
        self.daemons.push(daemon);
        let own = SecretService::new(self.keychains_bus(), self.account.clone(), LIMIT);
        await_that("the keyring takes its name", || {
            !matches!(own.items(), Err(KeychainError::Absent))
        });
    }

    /// Ends the keyring that was started last.
    fn stop(&mut self) {
        drop(self.daemons.pop());
        let own = SecretService::new(self.keychains_bus(), self.account.clone(), LIMIT);
        await_that("the keyring's name is free", || {
            matches!(own.items(), Err(KeychainError::Absent))
        });
    }

    pub(crate) fn keychains_bus(&self) -> Option<SessionBus> {
        Some(SessionBus::parse(&self.bus).unwrap())
    }

    fn keep(&self, label: &str, key: &str, value: &str) {
        self.run("secret-tool", &["store", "--label", label, key, value], b"s3cret");
    }

    fn items(&self) -> Vec<KeychainItem> {
        self.keychains.items().unwrap()
    }

    /// The account's own connection to the bus.
    pub(crate) fn connect(&self) -> Connection {
        let path = self.dir.path().join("bus");
        let connect = || UnixStream::connect(path);
        let stream = as_account(self.account.uid, self.account.gid, connect).unwrap().unwrap();
        Builder::async_io_unix_stream(stream).user_id(self.account.uid).build().unwrap()
    }

    fn keyrings(&self) -> PathBuf {
        self.dir.path().join(".local/share/keyrings")
    }

    fn run(&self, program: &str, args: &[&str], input: &[u8]) {
        let mut command = command_as(&self.account, program);
        command.args(args).env("DBUS_SESSION_BUS_ADDRESS", &self.bus).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert!(child.wait().unwrap().success(), "{program}");
    }
}

fn service(bus: Option<SessionBus>, account: &Account, limit: Duration) -> SecretService {
    let files = KeyringFiles::open(account).unwrap();
    SecretService::new(bus, account.clone(), limit).with_files(files)
}

pub(crate) fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::yield_now();
    }
}

impl KeychainsRig for Rig {
    fn keychains(&self) -> &dyn Keychains {
        &self.keychains
    }

    fn store(&self, label: &str, value: &str) {
        self.keep(label, "account", value);
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
    for bus in [Some(bus), None] {
        let keychains = service(bus, &account, LIMIT);
        assert!(matches!(keychains.items(), Err(KeychainError::Absent)));
    }
}

#[test]
fn gives_up_on_a_bus_that_never_answers() {
    let dir = tempfile::tempdir().unwrap();
    let account = desktop_account(dir.path());
    let path = dir.path().join("bus");
    let _listens_and_says_nothing = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(account.uid), None).unwrap();
    let limit = Duration::from_millis(200);
    let keychains = service(Some(SessionBus::Path(path)), &account, limit);
    let before = Instant::now();
    assert!(matches!(keychains.items(), Err(KeychainError::Timeout(after)) if after == limit));
    assert!(before.elapsed() < Duration::from_secs(5));
}

/// A keyring whose file is there and that does not list its items hides them (R8): they are
/// withheld, never taken for none. gnome-keyring 42.1 stays so with a file that came after its start.
#[test]
#[expect(clippy::disallowed_methods, reason = "the keyring that this very test made")]
fn what_a_keyring_has_not_loaded_is_withheld_until_it_lists_it() {
    let mut rig = Rig::with_keyring();
    rig.keep("one", "service", "gh:github.com");
    rig.stop();
    let (file, aside) = (rig.keyrings().join("login.keyring"), rig.dir.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    rig.start(None);
    assert!(rig.items().is_empty());
    std::fs::rename(&aside, &file).unwrap();
    let items = rig.items();
    let [item] = items.as_slice() else { panic!("{items:?}") };
    assert!(item.address.starts_with("file:.local/share/keyrings/login.keyring"), "{item:?}");
    assert!(item.is_veiled() && item.collection == "Login", "{item:?}");
    assert!(matches!(rig.keychains.clear(item), Err(KeychainError::Unserved)));
    rig.stop();
    rig.start(None);
    let items = rig.items();
    assert!(items.len() == 1 && items[0].address.starts_with('/'), "{items:?}");
    rig.keychains.clear(item).unwrap();
}

#[test]
fn without_a_service_a_keyring_file_withholds_what_it_holds() {
    let mut rig = Rig::with_keyring();
    rig.keep("one", "service", "gh:github.com");
    rig.keep("two", "service", "gh:github.example");
    assert_eq!(rig.items().len(), 2);
    rig.stop();
    let without_bus = service(None, &rig.account, LIMIT);
    for keychains in [&rig.keychains, &without_bus] {
        let items = keychains.items().unwrap();
        assert_eq!(items.len(), 2, "{items:?}");
        assert!(items.iter().all(KeychainItem::is_veiled));
        assert!(items[0].attributes.contains_key("gkr:compat:hashed:service"), "{items:?}");
        assert!(matches!(keychains.clear(&items[0]), Err(KeychainError::Unserved)));
    }
    #[expect(clippy::disallowed_methods, reason = "the keyring that this very test made")]
    std::fs::remove_file(rig.keyrings().join("login.keyring")).unwrap();
    assert!(matches!(rig.keychains.items(), Err(KeychainError::Absent)));
}

#[test]
fn a_file_that_is_no_keyring_may_hold_anything() {
    let dir = tempfile::tempdir().unwrap();
    let account = desktop_account(dir.path());
    let app = dir.path().join(".var/app/org.example.App/data/keyrings");
    std::fs::create_dir_all(&app).unwrap();
    std::fs::write(
        app.join("default.keyring"),
        [b"GnomeKeyring\n\r\0\n\x01\0".as_slice(), &[7; 400]].concat(),
    )
    .unwrap();
    std::fs::write(app.join("empty.keyring"), b"").unwrap();
    let items = service(None, &account, LIMIT).items().unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    assert!(items[0].is_veiled() && items[0].attributes.is_empty());
    assert_eq!(items[0].collection, "org.example.App");
}
