//! Facts of one process, read through a handle on its `/proc` directory.
//!
//! It refuses a pid reused meanwhile: the handle stays with the process that it was opened for.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use exeunt_engine::ports::{Process, ProcessId};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, readlinkat, statx};
use rustix::io::{Errno, read};

/// The environment variables that the engine asks for.
const WANTED_ENV: [&str; 26] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "AWS_LOGIN_CACHE_DIRECTORY",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AZURE_CONFIG_DIR",
    "CARGO_HOME",
    "CLAUDE_CONFIG_DIR",
    "CLOUDSDK_CONFIG",
    "CODEX_HOME",
    "COPILOT_HOME",
    "DOCKER_CONFIG",
    "GH_CONFIG_DIR",
    "GLAB_CONFIG_DIR",
    "HELM_CONFIG_HOME",
    "HELM_REGISTRY_CONFIG",
    "HELM_REPOSITORY_CONFIG",
    "HF_HOME",
    "HF_TOKEN_PATH",
    "KUBECONFIG",
    "MCP_REMOTE_CONFIG_DIR",
    "NETRC",
    "NPM_CONFIG_USERCONFIG",
    "RCLONE_CONFIG",
    "REGISTRY_AUTH_FILE",
];
/// Most bytes read from one file of `/proc`.
const LIMIT: usize = 8 << 20;

/// A process, pinned by its `/proc` directory: after its end every read fails.
pub(crate) struct Pinned {
    dir: OwnedFd,
    pid: u32,
}

/// Fields of `/proc/PID/stat`, see proc_pid_stat(5).
pub(super) struct Stat {
    /// Command name, at most 15 bytes.
    pub(super) comm: Vec<u8>,
    /// State letter.
    pub(super) state: u8,
    /// Parent's pid.
    pub(super) parent: u32,
    /// How many threads.
    pub(super) threads: u32,
    /// Start time in clock ticks after boot.
    pub(super) start: u64,
}

impl Stat {
    /// Dead, and no thread of it runs on. A leader that ended before its threads is no zombie.
    pub(super) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }
}

impl Pinned {
    /// Opens a process; `None` when there is none of that pid.
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{pid}");
        match openat(CWD, path, flags, Mode::empty()) {
            Ok(dir) => Ok(Some(Self { dir, pid })),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a process if it is still the one of that start time.
    pub(super) fn open_same(id: &ProcessId) -> io::Result<Option<Self>> {
        let Some(pinned) = Self::open(id.pid)? else { return Ok(None) };
        let start = pinned.stat()?.map(|stat| stat.start);
        Ok((start == Some(id.start)).then_some(pinned))
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its pid and start time.
    pub(crate) fn id(&self) -> io::Result<Option<ProcessId>> {
        Ok(self.stat()?.map(|stat| ProcessId { pid: self.pid, start: stat.start }))
    }

    pub(super) fn stat(&self) -> io::Result<Option<Stat>> {
        Ok(self.read("stat")?.and_then(|text| parse_stat(&text)))
    }

    /// Its real user id.
    pub(crate) fn uid(&self) -> io::Result<Option<u32>> {
        let status = self.read("status")?;
        Ok(status.and_then(|status| {
            let line = status.split(|&b| b == b'\n').find_map(|l| l.strip_prefix(b"Uid:"))?;
            std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
        }))
    }

    /// Its executable as the kernel resolves it; empty when hidden.
    pub(crate) fn exe(&self) -> Vec<u8> {
        readlinkat(&self.dir, c"exe", Vec::new()).map(|path| path.into_bytes()).unwrap_or_default()
    }

    /// Whether only root can change its executable.
    pub(crate) fn exe_is_roots(&self) -> bool {
        statx(&self.dir, c"exe", AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).is_ok_and(|s| {
            let group_may_write = s.stx_mode & 0o020 != 0 && s.stx_gid != 0;
            s.stx_uid == 0 && s.stx_mode & 0o002 == 0 && !group_may_write
        })
    }

    /// A variable's values in its environment at start; empty when hidden.
    pub(crate) fn env(&self, wanted: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let text = self.read("environ").ok().flatten().unwrap_or_default();
        let pairs = text.split(|&b| b == 0).filter_map(|pair| {
            let at = pair.iter().position(|&b| b == b'=')?;
            let key = std::str::from_utf8(pair.get(..at)?).ok()?;
            wanted.contains(&key).then(|| (key.to_owned(), pair.get(at + 1..).unwrap_or_default()))
        });
        pairs.map(|(key, value)| (key, value.to_vec())).collect()
    }

    /// Whether what it holds open is hidden from this process.
    pub(super) fn hides_files(&self) -> io::Result<bool> {
        match names_in(&self.dir, "fd") {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The letters of the states of all its threads.
    pub(super) fn thread_states(&self) -> io::Result<Vec<u8>> {
        let mut states = Vec::new();
        for thread in names_in(&self.dir, "task")? {
            if let Some(stat) =
                self.read(&format!("task/{thread}/stat"))?.and_then(|text| parse_stat(&text))
            {
                states.push(stat.state);
            }
        }
        Ok(states)
    }

    /// Reads a file of the directory; `None` once the process is gone.
    pub(super) fn read(&self, file: &str) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match openat(&self.dir, file, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            match read(&file, &mut chunk) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(got) => bytes.extend(chunk.iter().take(got)),
                Err(Errno::INTR) => {}
                Err(Errno::SRCH) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            if bytes.len() > LIMIT {
                return Ok(Some(bytes));
            }
        }
    }

    /// Everything that the engine asks for; `None` once it is gone.
    pub(super) fn describe(&self) -> io::Result<Option<Process>> {
        let Some(stat) = self.stat()? else { return Ok(None) };
        let Some(uid) = self.uid()? else { return Ok(None) };
        let args = self.read("cmdline").ok().flatten().unwrap_or_default();
        let args = args.strip_suffix(b"\0").unwrap_or(&args);
        let args = args.split(|&b| b == 0).map(<[u8]>::to_vec);
        let zombie = stat.is_zombie();
        Ok(Some(Process {
            id: ProcessId { pid: self.pid, start: stat.start },
            parent: stat.parent,
            uid,
            exe: self.exe(),
            exe_root_owned: self.exe_is_roots(),
            comm: String::from_utf8_lossy(&stat.comm).into_owned(),
            args: args.filter(|_| !zombie).collect(),
            env: self.env(&WANTED_ENV),
            zombie,
        }))
    }
}

/// Whether an executable's path ends in one of `names`, an update meanwhile aside.
pub(crate) fn is_trusted_program(exe: &[u8], names: &[&str]) -> bool {
    let exe = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
    let name = exe.rsplit(|&b| b == b'/').next().unwrap_or_default();
    names.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == wanted.as_bytes(),
    })
}

/// The names in a directory of `/proc`; empty once the process is gone.
pub(super) fn names_in(dir: impl AsFd, path: &str) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = match openat(dir, path, flags, Mode::empty()) {
        Ok(listing) => listing,
        Err(Errno::NOENT | Errno::SRCH) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&listing)? {
        match entry {
            Ok(entry) => names.extend(
                entry.file_name().to_str().ok().filter(|n| !n.starts_with('.')).map(str::to_owned),
            ),
            Err(Errno::NOENT | Errno::SRCH) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(names)
}

/// Reads `/proc/PID/stat`. The command stands in brackets and may itself hold brackets and blanks.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&b| b == b'(')?;
    let close = text.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        comm: text.get(open + 1..close)?.to_vec(),
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whose_command_holds_brackets() {
        let line = b"42 (a) R (b) T 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 98765 0 0\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat.comm, b"a) R (b");
        assert_eq!((stat.state, stat.parent, stat.threads, stat.start), (b'T', 7, 3, 98765));
        assert!(parse_stat(b"42 (a").is_none());
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_is_no_zombie() {
        let line = |threads| format!("1 (a) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0");
        assert!(parse_stat(line(1).as_bytes()).unwrap().is_zombie());
        assert!(!parse_stat(line(2).as_bytes()).unwrap().is_zombie());
    }

    #[test]
    fn names_a_program_by_its_last_component_only() {
        assert!(is_trusted_program(b"/usr/lib/xorg/Xorg", &["Xorg"]));
        assert!(is_trusted_program(b"/usr/bin/exeunt-tray (deleted)", &["exeunt-*"]));
        assert!(!is_trusted_program(b"/tmp/Xorg/sh", &["Xorg"]));
        assert!(!is_trusted_program(b"", &["Xorg"]));
    }

    #[test]
    fn every_variable_that_moves_an_app_is_read() {
        let catalogue = exeunt_catalogue::Catalogue::builtin().unwrap();
        for app in catalogue.apps() {
            let directories = app.env_dirs.iter().map(|rule| &rule.variable);
            for variable in directories.chain(app.env_files.iter().map(|rule| &rule.variable)) {
                assert!(WANTED_ENV.contains(&variable.as_str()), "{variable}");
            }
        }
    }
}
