//! One account's machine: the adapters behind the engine's ports, for a home and its session.
//!
//! It refuses the caller's own home where one is named, and a session of another account.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use exeunt_catalogue::Catalogue;
use exeunt_engine::ports::{
    Agents, Clock, Disks, HandOver, Host, Journal, Keychains, Locker, Moment,
};
use exeunt_host::agents::LinuxAgents;
use exeunt_host::clock::SystemClock;
use exeunt_host::disks::LinuxDisks;
use exeunt_host::files::{Bases, LinuxFiles};
use exeunt_host::hand_over::LinuxHandOver;
use exeunt_host::keychain::{KWallet, KernelKeyrings, KeyringFiles, SecretService, SessionBus};
use exeunt_host::locker::{DesktopSession, NoLocker, Runner, SessionLocker, Wishes};
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_host::reported::LinuxEnvironments;
use exeunt_host::users::Account;
use exeunt_ipc::message::Reported;

use crate::confine::Launcher;
use crate::sweep::Swept;

/// How long one question to the keychain may take.
const KEYCHAIN_WITHIN: Duration = Duration::from_secs(5);
/// How long one question to an agent may take.
const AGENT_WITHIN: Duration = Duration::from_secs(2);

/// Whose home, and how much of a session comes with it.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    /// The account that owns the home.
    pub(crate) account: Account,
    /// The desktop session to lock, if there is one.
    pub(crate) session: Option<DesktopSession>,
    /// The bus whose keychain is cleared, if there is one.
    pub(crate) bus: Option<SessionBus>,
    /// Processes to spare with all their children: the tray.
    pub(crate) keep: KeepList,
    /// How the session is locked.
    pub(crate) locker: Wishes,
    /// Opt-in keyring rules that were asked for, as `app/rule`.
    pub(crate) include: Vec<String>,
}

impl Whose {
    /// The owner of a home that was named on the command line.
    ///
    /// # Errors
    /// A home that is not there, is not a directory, or is the caller's own.
    pub(crate) fn of_home(home: &Path) -> anyhow::Result<Self> {
        let home = home.canonicalize().with_context(|| format!("no home at {}", home.display()))?;
        let meta = std::fs::metadata(&home)?;
        if !meta.is_dir() {
            bail!("{} is not a directory", home.display());
        }
        refuse_own(&home)?;
        let account = owner_of(&home)?;
        let keep = KeepList::default();
        let locker = Wishes::default();
        Ok(Self { account, session: None, bus: None, keep, locker, include: Vec::new() })
    }

    /// The account's own session as its live processes show it.
    pub(crate) fn with_live_session(mut self) -> Self {
        match DesktopSession::discover(&self.account) {
            Ok(session) => {
                self.bus = session.bus.as_deref().and_then(|bus| SessionBus::parse(bus).ok());
                self.session = session.has_screen().then_some(session);
            }
            Err(error) => tracing::warn!(%error, "the account's session could not be found"),
        }
        self
    }
}

/// The account that owns a home, with that home as its own.
///
/// # Errors
/// The home is not there.
pub(crate) fn owner_of(home: &Path) -> anyhow::Result<Account> {
    let home = home.canonicalize().with_context(|| format!("no home at {}", home.display()))?;
    let (uid, gid) = std::fs::metadata(&home).map(|meta| (meta.uid(), meta.gid()))?;
    Ok(match Account::of_uid(uid) {
        Ok(known) => Account { home, ..known },
        Err(_) => Account { uid, gid, name: uid.to_string(), home },
    })
}

/// `--home` never means the home of whoever calls.
fn refuse_own(home: &Path) -> anyhow::Result<()> {
    let by_account = Account::of_uid(rustix::process::getuid().as_raw()).ok().map(|a| a.home);
    let by_variable = std::env::var_os("HOME").map(PathBuf::from);
    for own in by_account.into_iter().chain(by_variable) {
        if own.canonicalize().is_ok_and(|own| own.starts_with(home) || home == own) {
            bail!("{} is your own home, or holds it: name another one", home.display());
        }
    }
    Ok(())
}

/// The adapters of one account. Hand them to the engine with [`Machine::host`].
pub(crate) struct Machine {
    files: LinuxFiles,
    processes: LinuxProcesses,
    keychains: Vec<Box<dyn Keychains + Send>>,
    agents: LinuxAgents,
    disks: LinuxDisks,
    environments: LinuxEnvironments,
    include: Vec<String>,
    locker: Box<dyn Locker + Send>,
    hand_over: Option<LinuxHandOver>,
    clock: SystemClock,
    isolated: bool,
}

impl Machine {
    /// Opens the home and prepares the adapters. Changes nothing.
    ///
    /// # Errors
    /// The home cannot be opened.
    pub(crate) fn open(
        whose: &Whose,
        quarantine: &Path,
        launcher: &Launcher,
    ) -> anyhow::Result<Self> {
        let account = &whose.account;
        let bases = Bases::default();
        let files = LinuxFiles::open(&account.home, account, bases, &[quarantine.to_owned()])
            .with_context(|| format!("opening the home of user {}", account.uid))?;
        let processes = LinuxProcesses::of_account(account, whose.keep.clone());
        let keyring_files = KeyringFiles::open(account)
            .with_context(|| format!("opening the home of user {} for keyrings", account.uid))?;
        let keychains = keychains(whose, keyring_files);
        let runtime = whose.session.as_ref().and_then(|session| session.runtime_dir.clone());
        let agents = LinuxAgents::open(account, runtime, AGENT_WITHIN)
            .with_context(|| format!("opening the home of user {} for its agents", account.uid))?;
        let disks = LinuxDisks::of(account)
            .with_context(|| format!("opening the home of user {} for its disks", account.uid))?;
        let locker: Box<dyn Locker + Send> = match whose.session.clone() {
            Some(session) => {
                let wishes = Wishes { keep: whose.keep.clone(), ..whose.locker.clone() };
                Box::new(SessionLocker::new(session, wishes, Box::new(launcher.clone())))
            }
            None => Box::new(NoLocker),
        };
        let isolated = rustix::process::geteuid().as_raw() != account.uid;
        let environments = LinuxEnvironments::of_account(account);
        Ok(Self {
            files,
            processes,
            keychains,
            agents,
            disks,
            environments,
            include: whose.include.clone(),
            locker,
            hand_over: LinuxHandOver::of(account.uid),
            clock: SystemClock,
            isolated,
        })
    }

    /// The machine as the engine sees it.
    pub(crate) fn host<'a>(
        &'a self,
        journal: &'a dyn Journal,
        observe: &'a (dyn Fn(&Moment) + Sync),
    ) -> Host<'a, LinuxFiles> {
        Host {
            files: &self.files,
            processes: &self.processes,
            keychains: self.keychains.iter().map(|keyring| &**keyring as &dyn Keychains).collect(),
            agents: Some(&self.agents as &dyn Agents),
            disks: Some(&self.disks as &dyn Disks),
            include: &self.include,
            locker: &*self.locker,
            hand_over: self.hand_over.as_ref().map(|port| port as &dyn HandOver),
            isolated: self.isolated,
            clock: &self.clock,
            journal,
            observe,
        }
    }

    /// Places that look as if they held a secret and that no containment edits.
    pub(crate) fn reported(&self) -> Vec<Reported> {
        let found = exeunt_engine::reported::look(&self.files, &self.environments);
        let row = |found: exeunt_engine::reported::Reported| Reported {
            kind: found.kind.as_str().to_owned(),
            place: found.place,
            count: found.count,
        };
        found.into_iter().map(row).collect()
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    /// The lock of the session.
    pub(crate) fn locker(&self) -> &dyn Locker {
        &*self.locker
    }

    /// Erases what an interrupted containment left in quarantine; returns how many files went.
    pub(crate) fn sweep(&self) -> u64 {
        let mut swept = Swept::default();
        swept.add(&self.files);
        swept.files
    }
}

/// The keyrings of the account, each asked by itself.
fn keychains(whose: &Whose, files: KeyringFiles) -> Vec<Box<dyn Keychains + Send>> {
    let account = &whose.account;
    let service = SecretService::new(whose.bus.clone(), account.clone(), KEYCHAIN_WITHIN);
    let wallets = KWallet::new(whose.bus.clone(), account.clone(), KEYCHAIN_WITHIN, files.clone());
    let mut keychains: Vec<Box<dyn Keychains + Send>> =
        vec![Box::new(service.with_files(files)), Box::new(wallets)];
    if let Some(kernel) = KernelKeyrings::of(account) {
        keychains.push(Box::new(kernel));
    }
    keychains
}

/// Lockers are started by the launcher thread, outside the network filter.
impl Runner for Launcher {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        // Whoever asked learns from the job itself that it was dropped.
        let _gone = Launcher::run(self, job);
    }
}

/// The whole catalogue, with the site's own entries.
///
/// # Errors
/// A site entry with a mistake: it is named with its line, and nothing is started.
pub(crate) fn catalogue() -> anyhow::Result<Catalogue> {
    with_site(Path::new("/etc/exeunt/catalogue.d"))
}

fn with_site(site: &Path) -> anyhow::Result<Catalogue> {
    let built_in = Catalogue::builtin().context("the built-in catalogue")?;
    let mut files = Vec::new();
    match std::fs::read_dir(site) {
        Ok(entries) => {
            refuse_others(site, &std::fs::symlink_metadata(site)?, "directory")?;
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|ext| ext == "toml") {
                    files.push((path.display().to_string(), root_owned_text(&path)?));
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("reading {}", site.display())),
    }
    files.sort();
    if files.is_empty() {
        return Ok(built_in);
    }
    built_in.with_site(&files).with_context(|| format!("in {}", site.display()))
}

fn root_owned_text(path: &Path) -> anyhow::Result<String> {
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.is_file() {
        bail!("{} must be a file, and no link to one", path.display());
    }
    refuse_others(path, &meta, "file")?;
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Whoever can write an entry, or put one there, decides what is removed.
fn refuse_others(path: &Path, meta: &std::fs::Metadata, what: &str) -> anyhow::Result<()> {
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        bail!("{} must be a {what} of root that no other can write", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn takes_entries_of_a_site_from_root_alone() {
        const ENTRY: &str = "[[app]]\nid = \"acme\"\nname = \"Acme\"\nkind = \"cli\"\n\
            layout = \"flat\"\nevidence = [\"https://acme.example\"]\n[[app.store]]\n\
            id = \"token\"\ntier = \"sign-out\"\nabout = \"token\"\n\
            at = { all = [\"home:.acme-token\"] }\n";
        if !rustix::process::getuid().is_root() {
            eprintln!("skipped: making files of root needs root");
            return;
        }
        let site = tempfile::tempdir().unwrap();
        let file = site.path().join("acme.toml");
        std::fs::write(&file, ENTRY).unwrap();
        let modes = |dir: u32, of_file: u32| {
            std::fs::set_permissions(site.path(), PermissionsExt::from_mode(dir)).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(of_file)).unwrap();
            with_site(site.path())
        };
        assert!(modes(0o755, 0o644).unwrap().apps().iter().any(|app| app.id.as_str() == "acme"));
        assert!(modes(0o777, 0o644).is_err(), "anybody could have put it there");
        assert!(modes(0o755, 0o664).is_err(), "a group could have written it");
        modes(0o755, 0o644).unwrap();
        std::os::unix::fs::chown(&file, Some(1), None).unwrap();
        assert!(with_site(site.path()).is_err(), "another account's entry");
        std::fs::write(&file, ENTRY.replace("acme\"", "aws\"")).unwrap();
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        assert!(with_site(site.path()).is_err(), "it shadows a built-in entry");
        assert!(with_site(&site.path().join("none")).is_ok());
    }

    #[test]
    fn refuses_the_callers_own_home_and_any_directory_that_holds_it() {
        let own = Account::of_uid(rustix::process::getuid().as_raw()).unwrap().home;
        assert!(Whose::of_home(&own).is_err());
        assert!(Whose::of_home(Path::new("/")).is_err());
        let other = tempfile::tempdir().unwrap();
        assert!(Whose::of_home(other.path()).is_ok());
    }
}
