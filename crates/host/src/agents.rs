//! The account's agents: programs that keep credentials in memory or behind a socket, and Kerberos
//! ticket caches in files.
//!
//! It refuses to act with any rights but the account's own, to start an agent that is not running,
//! and to wait past its deadline.

mod kcm;
mod reach;
mod talk;
mod tickets;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exeunt_catalogue::{AgentKind, AgentRule, Base, Glob, Place};
use exeunt_engine::ports::{
    AgentError, Agents, Files as _, FilesError, Listener, LiveAgent, Name, Process, Processes as _,
};

use self::reach::Holding;
use self::talk::os;
use crate::bounded;
use crate::files::{Bases, Dir, LinuxFiles};
use crate::process::{KeepList, LinuxProcesses, Pinned};
use crate::users::{Account, as_account};

/// At most so many agents of one account are looked at; each costs a thread.
const MOST: usize = 64;

/// The agents of one account.
#[derive(Debug)]
pub struct LinuxAgents {
    files: LinuxFiles,
    account: Account,
    processes: LinuxProcesses,
    /// Whether what lies outside the home is the account's too: false for a throwaway home of an
    /// account that has another one.
    whole: bool,
    runtime: PathBuf,
    /// Where a daemon keeps ticket caches for every account.
    kcm: PathBuf,
    limit: Duration,
}

/// A place where an agent may be.
struct Candidate {
    rule: usize,
    kind: AgentKind,
    path: PathBuf,
}

impl LinuxAgents {
    /// The agents of `account`, each question answered within `limit`.
    ///
    /// `runtime` is the account's runtime directory, when another than `/run/user/UID`. Where the
    /// account's own home is another than the one given, only agents in that home and those named
    /// by processes that call it theirs are the account's.
    ///
    /// # Errors
    /// As [`LinuxFiles::open`].
    pub fn open(
        account: &Account,
        runtime: Option<PathBuf>,
        limit: Duration,
    ) -> Result<Self, FilesError> {
        let whole = owns_home(account);
        let runtime = runtime.filter(|runtime| whole || runtime.starts_with(&account.home));
        let usual = || match whole {
            true => PathBuf::from(format!("/run/user/{}", account.uid)),
            false => account.home.join("run"),
        };
        let runtime = runtime.unwrap_or_else(usual);
        let bases = Bases { runtime: Some(runtime.clone()), ..Bases::default() };
        Ok(Self {
            files: LinuxFiles::open(&account.home, account, bases, &[])?,
            account: account.clone(),
            processes: LinuxProcesses::of_account(account, KeepList::default()),
            whole,
            runtime,
            kcm: kcm::SOCKET.into(),
            limit,
        })
    }

    /// The same, with the ticket caches' daemon at another place than the usual one.
    #[must_use]
    pub fn with_kcm(self, socket: PathBuf) -> Self {
        Self { kcm: socket, ..self }
    }

    /// Everywhere that the rules lead to, each place once, for the first rule that leads there.
    fn candidates(&self, rules: &[&AgentRule], listed: &[Process]) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let mut paths: Vec<PathBuf> =
                rule.places.iter().flat_map(|place| self.at(place)).collect();
            if let Some(variable) = &rule.variable {
                paths.extend(self.named_by(variable, listed));
            }
            if rule.kind == AgentKind::KerberosCache {
                paths.extend(self.shared_tickets());
                // The daemon tells accounts apart, and knows nothing of homes.
                paths.extend(self.whole.then(|| self.kcm.clone()));
            }
            let candidate = |path| Candidate { rule: index, kind: rule.kind, path };
            found.extend(paths.into_iter().map(candidate));
        }
        let mut known = BTreeSet::new();
        found.retain(|candidate| known.insert(candidate.path.clone()));
        found
    }

    /// The entries that a place of the catalogue matches, by their paths.
    fn at(&self, place: &Place) -> Vec<PathBuf> {
        let Ok(Some(base)) = self.files.base(place.base) else { return Vec::new() };
        let Some((last, parents)) = place.path.components().split_last() else {
            return Vec::new();
        };
        let mut dirs = vec![base];
        for glob in parents {
            let deeper = dirs
                .iter()
                .flat_map(|dir| self.matching(dir, glob).into_iter().map(move |name| (dir, name)));
            dirs = deeper.filter_map(|(dir, name)| self.files.enter(dir, &name).ok()).collect();
        }
        let entries = dirs.iter().flat_map(|dir| {
            let names = self.matching(dir, last);
            names.into_iter().map(move |name| self.path_of(dir, &name))
        });
        entries.collect()
    }

    fn matching(&self, dir: &Dir, glob: &Glob) -> Vec<Name> {
        if glob.is_literal() {
            let name = Name::new(glob.as_str().as_bytes());
            let there = |name: &Name| matches!(self.files.look(dir, name), Ok(Some(_)));
            return name.filter(there).into_iter().collect();
        }
        let entries = self.files.list(dir).unwrap_or_default().into_iter();
        let matching = entries.filter(|entry| glob.matches(entry.name.as_bytes()));
        matching.map(|entry| entry.name).collect()
    }

    fn path_of(&self, dir: &Dir, name: &Name) -> PathBuf {
        let mut steps = self.files.place(dir);
        let runtime = self.files.base(Base::Runtime).ok().flatten();
        let below = runtime.map(|runtime| self.files.place(&runtime));
        let top = match below.filter(|below| !below.is_empty() && steps.starts_with(below)) {
            Some(below) => {
                steps.drain(..below.len());
                self.runtime.clone()
            }
            None => self.account.home.clone(),
        };
        let step = |name: &Name| OsStr::from_bytes(name.as_bytes()).to_owned();
        steps.iter().chain([name]).fold(top, |path, name| path.join(step(name)))
    }

    /// The paths that a variable of the account's processes names.
    fn named_by(&self, variable: &str, listed: &[Process]) -> BTreeSet<PathBuf> {
        let values = listed.iter().filter(|process| !process.zombie).filter_map(|process| {
            let pinned = Pinned::open(process.id.pid).ok().flatten()?;
            pinned.env(&[variable]).remove(variable)
        });
        let values: BTreeSet<Vec<u8>> = values.collect();
        let path = |value: &Vec<u8>| {
            let value = value.as_slice();
            let value =
                value.strip_prefix(b"FILE:").or(value.strip_prefix(b"DIR:")).unwrap_or(value);
            value.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(value)))
        };
        values.iter().filter_map(path).collect()
    }

    /// Ticket caches in the directory that all accounts share.
    fn shared_tickets(&self) -> Vec<PathBuf> {
        let listing = self.whole.then(|| std::fs::read_dir(tickets::SHARED).ok()).flatten();
        let names = listing.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let own = names.filter(|name| tickets::is_shared_name(name, self.account.uid));
        own.map(|name| Path::new(tickets::SHARED).join(name)).collect()
    }

    /// The agent at a candidate's place; None when nobody is there to ask.
    fn live(&self, candidate: Candidate, holding: &Holding) -> Option<LiveAgent> {
        let Candidate { rule, kind, path } = candidate;
        if kind == AgentKind::KerberosCache {
            let kept = path == self.kcm;
            return if kept { self.kept_tickets(rule) } else { self.ticket_cache(rule, &path) };
        }
        let address = path.as_os_str().as_bytes().to_vec();
        let mut holders: BTreeMap<u32, &Process> =
            holding.holders(&address).map(|process| (process.id.pid, process)).collect();
        let only_waits = |process: &&Process| reach::program(process) == b"systemd";
        let waits = !holders.is_empty() && holders.values().all(only_waits);
        let hidden = holding.hidden().filter(|process| is_program_of(kind, process));
        holders.extend(hidden.map(|process| (process.id.pid, process)));
        if waits && holders.values().all(only_waits) {
            // Asking would start it.
            return None;
        }
        let stream = self.as_account(|| reach::dial(&path, self.account.uid)).ok()?.ok()??;
        let by_kernel = reach::listened_by(&stream).and_then(|pid| holding.of_pid(pid));
        holders.extend(by_kernel.map(|process| (process.id.pid, process)));
        let runs = |name: &[u8]| holders.values().any(|process| reach::program(process) == name);
        let (kind, address) = match kind {
            // Its keys are on the disk; what it keeps in memory is asked for at its other socket.
            AgentKind::SshAgent if runs(b"gpg-agent") => {
                let other = path.with_file_name("S.gpg-agent");
                let there = self.as_account(|| reach::socket_at(&other, self.account.uid)).ok()?;
                match there {
                    Some(_) => (AgentKind::GpgAgent, other.as_os_str().as_bytes().to_vec()),
                    None => (kind, address),
                }
            }
            // Its places are patterns that other sockets match too.
            AgentKind::ControlMaster if !runs(b"ssh") => return None,
            AgentKind::SshAgent
            | AgentKind::GpgAgent
            | AgentKind::ControlMaster
            | AgentKind::GitCredentialCache
            | AgentKind::KerberosCache => (kind, address),
        };
        let listener = |process: &&Process| Listener {
            process: process.id.clone(),
            is_agent: is_program_of(kind, process),
        };
        let place = self.shown(Path::new(OsStr::from_bytes(&address)));
        let listeners = holders.values().filter(|p| !only_waits(p)).map(listener).collect();
        Some(LiveAgent { rule, kind, address, place, listeners, refused: None })
    }

    /// The account's ticket caches at the daemon; None when it has none there, or nobody listens.
    fn kept_tickets(&self, rule: usize) -> Option<LiveAgent> {
        let agent = LiveAgent {
            rule,
            kind: AgentKind::KerberosCache,
            address: self.kcm.as_os_str().as_bytes().to_vec(),
            place: format!("KCM:{}", self.account.uid),
            listeners: Vec::new(),
            refused: None,
        };
        (!matches!(self.count(&agent), Ok(0))).then_some(agent)
    }

    fn ticket_cache(&self, rule: usize, path: &Path) -> Option<LiveAgent> {
        let here = path.starts_with(&self.account.home)
            || path.starts_with(&self.runtime)
            || (path.parent() == Some(Path::new(tickets::SHARED))
                && path.file_name().is_some_and(|n| tickets::is_shared_name(n, self.account.uid)));
        let count = self.as_account(|| tickets::count(path, self.account.uid)).ok()?;
        let refused = match count {
            _ if !here => path.exists().then(|| "lies outside the home".to_owned()),
            Ok(0) => tickets::left_alone(path),
            Ok(_) | Err(_) => None,
        };
        if matches!(count, Ok(0)) && refused.is_none() || !here && refused.is_none() {
            return None;
        }
        Some(LiveAgent {
            rule,
            kind: AgentKind::KerberosCache,
            address: path.as_os_str().as_bytes().to_vec(),
            place: self.shown(path),
            listeners: Vec::new(),
            refused,
        })
    }

    /// A path as the catalogue writes it, or as it is where it lies elsewhere.
    fn shown(&self, path: &Path) -> String {
        let below = [("runtime", self.runtime.as_path()), ("home", self.account.home.as_path())];
        let short = below.into_iter().find_map(|(name, base)| {
            let rest = path.strip_prefix(base).ok()?;
            Some(format!("{name}:{}", rest.display()))
        });
        short.unwrap_or_else(|| path.display().to_string())
    }

    fn as_account<T>(&self, work: impl FnOnce() -> T) -> Result<T, AgentError> {
        as_account(self.account.uid, self.account.gid, work).map_err(os("setresuid"))
    }

    /// Whether an agent is the daemon that keeps ticket caches.
    fn is_kept(&self, agent: &LiveAgent) -> bool {
        agent.address == self.kcm.as_os_str().as_bytes()
    }

    /// Asks an agent over a connection of its own, within the deadline; None when it is gone.
    fn ask<T: Send + 'static>(
        &self,
        agent: &LiveAgent,
        question: impl FnOnce(&mut UnixStream) -> Result<T, AgentError> + Send + 'static,
    ) -> Result<Option<T>, AgentError> {
        let (account, address) = (self.account.clone(), agent.address.clone());
        let kept = self.is_kept(agent);
        let answer = bounded::run(self.limit, move |hangup| {
            let path = Path::new(OsStr::from_bytes(&address));
            let dial = || if kept { kcm::dial(path) } else { reach::dial(path, account.uid) };
            let dialled = as_account(account.uid, account.gid, dial);
            let stream = dialled.map_err(os("setresuid"))?.map_err(os("connect"))?;
            let Some(mut stream) = stream else { return Ok(None) };
            hangup.watch(&stream).map_err(os("dup"))?;
            question(&mut stream).map(Some)
        });
        answer.unwrap_or(Err(AgentError::Timeout(self.limit)))
    }

    /// Ends an agent that ends when asked, and waits until nobody listens any more.
    fn end(
        &self,
        agent: &LiveAgent,
        question: impl FnOnce(&mut UnixStream) -> Result<(), AgentError> + Send + 'static,
    ) -> Result<(), AgentError> {
        let account = self.account.clone();
        let address = agent.address.clone();
        let until = Instant::now() + self.limit;
        let asked = self.ask(agent, move |stream| {
            question(stream)?;
            // Its end closes the connection.
            let _last_words =
                std::io::copy(&mut std::io::Read::take(stream, 1024), &mut std::io::sink());
            let path = Path::new(OsStr::from_bytes(&address));
            let dial = || as_account(account.uid, account.gid, || reach::dial(path, account.uid));
            while Instant::now() < until && matches!(dial(), Ok(Ok(Some(_)))) {
                std::thread::yield_now();
            }
            Ok(())
        })?;
        asked.map_or(Ok(()), Ok)
    }
}

impl Agents for LinuxAgents {
    fn find(&self, rules: &[&AgentRule]) -> Result<Vec<LiveAgent>, AgentError> {
        let listed = self.processes.list().map_err(|e| os("proc")(std::io::Error::other(e)))?;
        let mut candidates = self.candidates(rules, &listed);
        let mut sockets = BTreeSet::new();
        // A place that is no socket, and one that leads to the same socket as another, says nothing.
        candidates.retain(|candidate| {
            let there = || reach::socket_at(&candidate.path, self.account.uid);
            candidate.kind == AgentKind::KerberosCache
                || matches!(self.as_account(there), Ok(Some(socket)) if sockets.insert(socket))
        });
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let holding = Holding::look(listed);
        let mut found: Vec<LiveAgent> = Vec::new();
        for candidate in candidates {
            let Some(live) = self.live(candidate, &holding) else { continue };
            if found.iter().any(|known| known.address == live.address) {
                continue;
            }
            if found.len() == MOST {
                return Err(AgentError::TooMany(MOST));
            }
            found.push(live);
        }
        Ok(found)
    }

    fn flush(&self, agent: &LiveAgent) -> Result<(), AgentError> {
        let path = Path::new(OsStr::from_bytes(&agent.address));
        match agent.kind {
            AgentKind::SshAgent => self.ask(agent, talk::ssh::flush).map(|_| ()),
            AgentKind::GpgAgent => self.ask(agent, talk::gpg::flush).map(|_| ()),
            AgentKind::ControlMaster => self.end(agent, talk::mux::terminate),
            AgentKind::GitCredentialCache => self.end(agent, talk::git::exit),
            AgentKind::KerberosCache if self.is_kept(agent) => {
                self.ask(agent, kcm::flush).map(|_| ())
            }
            AgentKind::KerberosCache => {
                self.as_account(|| tickets::destroy(path, self.account.uid))?
            }
        }
    }

    fn count(&self, agent: &LiveAgent) -> Result<u64, AgentError> {
        let path = Path::new(OsStr::from_bytes(&agent.address));
        let count = match agent.kind {
            AgentKind::SshAgent => self.ask(agent, talk::ssh::count)?,
            AgentKind::GpgAgent => self.ask(agent, talk::gpg::count)?,
            AgentKind::ControlMaster => {
                self.ask(agent, |stream| talk::mux::pid(stream).map(|_| 1))?
            }
            AgentKind::GitCredentialCache => self.ask(agent, |_| Ok(1))?,
            AgentKind::KerberosCache if self.is_kept(agent) => self.ask(agent, kcm::count)?,
            AgentKind::KerberosCache => {
                Some(self.as_account(|| tickets::count(path, self.account.uid))??)
            }
        };
        Ok(count.unwrap_or(0))
    }
}

/// Whether a process runs the program that an agent of that kind is.
fn is_program_of(kind: AgentKind, process: &Process) -> bool {
    let names: &[&[u8]] = match kind {
        AgentKind::SshAgent => &[b"ssh-agent"],
        AgentKind::GpgAgent => &[b"gpg-agent"],
        AgentKind::ControlMaster => &[b"ssh"],
        AgentKind::GitCredentialCache => &[b"git", b"git-credential-cache--daemon"],
        AgentKind::KerberosCache => &[],
    };
    names.contains(&reach::program(process))
}

/// Whether the account's home is the one that the account database names. One that no database
/// knows has no other.
pub(crate) fn owns_home(account: &Account) -> bool {
    let known = Account::of_uid(account.uid).ok();
    known.is_none_or(|known| {
        let same = |a: &Path, b: &Path| a == b || a.canonicalize().ok() == b.canonicalize().ok();
        same(&known.home, &account.home)
    })
}
