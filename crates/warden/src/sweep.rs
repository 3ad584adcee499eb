//! `exeunt-warden sweep`: empties what interrupted containments left, before an upgrade or a removal.
//!
//! It refuses to touch anything but its own quarantines and scratch space.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use anyhow::Context as _;
use clap::Args;
use exeunt_domain::receipt::Mode;
use exeunt_engine::ports::Files as _;
use exeunt_host::files::{Bases, LinuxFiles};
use exeunt_host::users::Account;

use crate::warden::Warden;

/// Empty every quarantine that an interrupted containment left.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Only this home's. Default: those of every account, or, without root, of your own.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Where the warden keeps its state. Default: /var/lib/exeunt, without root the user's state
    /// directory.
    #[arg(long, value_name = "DIR", env = "EXEUNT_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

/// What a sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Quarantines that were found.
    pub(crate) quarantines: u64,
    /// Files that were erased.
    pub(crate) files: u64,
    /// Quarantines that could not be emptied.
    pub(crate) left: u64,
}

/// Runs it; exit code 3 when something could not be emptied.
///
/// # Errors
/// The accounts cannot be listed, or the home that was named not be opened.
pub(crate) fn run(sweep: &Sweep) -> anyhow::Result<u8> {
    crate::confine::drop_network()?;
    let mut swept = Swept::default();
    match &sweep.home {
        Some(home) => {
            let account = crate::machine::owner_of(home)?;
            let files = open(&account, &sweep.state(&account))
                .with_context(|| format!("opening {}", home.display()))?;
            swept.add(&files);
        }
        None => {
            for account in accounts()? {
                swept.account(&account, &sweep.state(&account));
            }
        }
    }
    println!("{swept}");
    Ok(if swept.left == 0 { 0 } else { 3 })
}

impl Sweep {
    fn state(&self, account: &Account) -> PathBuf {
        let own = || account.home.join(".local/state/exeunt");
        let usual = || if is_root() { crate::INSTALLED_STATE.into() } else { own() };
        self.state_dir.clone().unwrap_or_else(usual)
    }
}

/// Empties, beside everything else that a warden does, what containments left that were interrupted
/// and are not taken up again.
pub(crate) fn beside(warden: &Arc<Warden>) {
    let warden = Arc::clone(warden);
    let swept = std::thread::Builder::new().name("sweep".into()).spawn(move || {
        let accounts = match warden.places.mode {
            Mode::Installed => accounts(),
            Mode::User => warden.account(rustix::process::geteuid().as_raw()).map(|own| vec![own]),
        };
        let mut swept = Swept::default();
        for account in accounts.unwrap_or_default() {
            let turn = warden.turn_of(account.uid);
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            swept.account(&account, &warden.places.state);
        }
        if swept.quarantines > 0 {
            tracing::warn!("left by interrupted containments: {swept}");
        }
    });
    if let Err(error) = swept {
        tracing::warn!(%error, "no thread to sweep with");
    }
}

/// Every account with a home here that this process may act as.
///
/// # Errors
/// The accounts cannot be listed.
pub(crate) fn accounts() -> anyhow::Result<Vec<Account>> {
    if !is_root() {
        return Ok(vec![Account::of_uid(rustix::process::geteuid().as_raw())?]);
    }
    Ok(Account::with_homes()?)
}

fn open(account: &Account, state: &Path) -> anyhow::Result<LinuxFiles> {
    Ok(LinuxFiles::open(
        &account.home,
        account,
        Bases::default(),
        &[state.to_owned(), state.join("quarantine")],
    )?)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Swept {
    /// Sweeps for one account; one whose home is not its own, such as a service's, has nothing.
    pub(crate) fn account(&mut self, account: &Account, state: &Path) {
        match open(account, state) {
            Ok(files) => self.add(&files),
            Err(error) => tracing::debug!(uid = account.uid, %error, "no home to sweep"),
        }
    }

    /// Sweeps what an open home can have.
    pub(crate) fn add(&mut self, files: &LinuxFiles) {
        let found = files.leftover_quarantines().unwrap_or_else(|error| {
            tracing::warn!(%error, "quarantines could not be listed");
            Vec::new()
        });
        for quarantine in found {
            self.quarantines += 1;
            match files.empty_quarantine(&quarantine) {
                Ok(files) => self.files += files,
                Err(error) => {
                    tracing::warn!(%error, "a quarantine could not be emptied");
                    self.left += 1;
                }
            }
        }
        match files.sweep_scratch() {
            Ok(files) => self.files += files,
            Err(error) => tracing::warn!(%error, "scratch space could not be emptied"),
        }
    }
}

impl std::fmt::Display for Swept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} quarantines, {} files erased", self.quarantines, self.files)?;
        match self.left {
            0 => Ok(()),
            left => write!(f, "; {left} could not be emptied"),
        }
    }
}
