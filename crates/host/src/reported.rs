//! Which of the account's processes carry a secret in their environment, and whether what its service
//! manager starts next would.
//!
//! It refuses to let a value out: it is looked at only to see that it is not empty.

use std::collections::BTreeMap;
use std::io::Read as _;

use exeunt_engine::ports::Processes as _;
use exeunt_engine::reported::Environments;

use crate::keychain::SessionBus;
use crate::locker::bus::Bus;
use crate::process::{KeepList, LinuxProcesses, services};
use crate::users::Account;

/// Most bytes read of one environment.
const LIMIT: u64 = 4 << 20;

/// The environments of one account's processes.
#[derive(Clone, Debug)]
pub struct LinuxEnvironments {
    processes: LinuxProcesses,
    bus: Option<Bus>,
}

impl LinuxEnvironments {
    /// Those of the processes that are the account's, as [`LinuxProcesses::of_account`] tells.
    #[must_use]
    pub fn of_account(account: &Account) -> Self {
        let processes = LinuxProcesses::of_account(account, KeepList::default());
        let bus = SessionBus::parse(&format!("unix:path=/run/user/{}/bus", account.uid)).ok();
        Self { processes, bus: bus.map(|bus| Bus::Session(bus, account.clone())) }
    }

    /// The same, of an account whose bus is elsewhere.
    #[must_use]
    pub fn on_bus(self, bus: SessionBus, account: &Account) -> Self {
        Self { bus: Some(Bus::Session(bus, account.clone())), ..self }
    }
}

impl Environments for LinuxEnvironments {
    fn count(&self, wanted: &dyn Fn(&[u8]) -> bool) -> BTreeMap<Vec<u8>, u64> {
        let listed = self.processes.list().unwrap_or_default();
        let mut counts = BTreeMap::new();
        for process in listed.iter().filter(|process| !process.zombie) {
            let text = environment(process.id.pid);
            // Another process may have that pid by now: then it is not the account's to tell of.
            let same = LinuxProcesses::identify(process.id.pid).ok().flatten();
            if same.as_ref() != Some(&process.id) {
                continue;
            }
            for pair in text.split(|&b| b == 0) {
                let Some(at) = pair.iter().position(|&b| b == b'=') else { continue };
                let (name, value) = pair.split_at(at);
                if value.len() > 1 && wanted(name) {
                    *counts.entry(name.to_vec()).or_default() += 1;
                }
            }
        }
        counts
    }

    fn of_manager(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<String> {
        let Some(bus) = &self.bus else { return Vec::new() };
        let pairs = services::environment(bus).unwrap_or_else(|error| {
            tracing::debug!(%error, "the service manager's environment is not known");
            Vec::new()
        });
        let set = pairs.iter().filter_map(|pair| pair.split_once('='));
        let telling = set.filter(|(name, value)| !value.is_empty() && wanted(name.as_bytes()));
        telling.map(|(name, _)| name.to_owned()).collect()
    }
}

fn environment(pid: u32) -> Vec<u8> {
    let mut text = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/environ"));
    // What is withheld, or gone, is empty.
    let _read_so_far = file.and_then(|file| file.take(LIMIT).read_to_end(&mut text));
    text
}
