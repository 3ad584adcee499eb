//! Programs that tests start, and what to do when one is missing.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use exeunt_host::users::Account;
use rustix::process::geteuid;

/// Panics with a hint when a program is not installed: a test that needs it must not pass.
pub(crate) fn need(program: &str, package: &str) {
    let places = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"];
    let found = places.iter().any(|place| Path::new(place).join(program).is_file());
    assert!(found, "{program} is missing: run `cargo xtask test`, or install {package}");
}

/// The account that desktop programs run as: `nobody` under root, else the user's own.
pub(crate) fn desktop_account(home: &Path) -> Account {
    let uid = if geteuid().is_root() { 65_534 } else { geteuid().as_raw() };
    let account = Account { home: home.to_owned(), ..Account::of_uid(uid).unwrap() };
    std::os::unix::fs::chown(home, Some(account.uid), Some(account.gid)).unwrap();
    account
}

/// A command that runs as `account` with nothing of our environment.
pub(crate) fn command_as(account: &Account, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &account.home)
        .env("LANG", "C.UTF-8")
        .env("XDG_RUNTIME_DIR", account.home.join("run"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if geteuid().is_root() {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// A child that ends with the test.
pub(crate) struct Started(pub(crate) Child);

impl Started {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Its first line on standard output.
    pub(crate) fn first_line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("standard output is a pipe");
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}
