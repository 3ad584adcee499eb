//! Reaching a socket of the account, and finding who holds it.
//!
//! It refuses a symbolic link of anybody but the account and root, and a socket of anyone else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use exeunt_engine::ports::{Identity, Process};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

/// At most so many symbolic links on the way.
const LINKS: usize = 16;
/// The flags column of a listening socket in `/proc/net/unix` (`__SO_ACCEPTCON`).
const LISTENING: &str = "00010000";

/// Opens the last component of `path` as a handle, each symbolic link on the way looked at: only
/// root's and the account's own are followed. Call it as the account.
pub(super) fn open(path: &Path, uid: u32) -> io::Result<OwnedFd> {
    let mut todo = components(path)?;
    let mut at = handle(Path::new("/"))?;
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(next) = todo.pop() {
        if next.as_os_str() == ".." {
            at = above.pop().map_or_else(|| handle(Path::new("/")), Ok)?;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(&at, next.as_path(), flags, Mode::empty())?;
        let stat = fstat(&found)?;
        if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
            above.push(std::mem::replace(&mut at, found));
            continue;
        }
        links += 1;
        if links > LINKS || (stat.st_uid != 0 && stat.st_uid != uid) {
            return Err(Errno::LOOP.into());
        }
        let target = readlinkat(&found, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            at = handle(Path::new("/"))?;
            above.clear();
        }
        todo.extend(components(&Path::new("/").join(target))?);
    }
    Ok(at)
}

/// Which socket of the account stands at `path`; None when there is none. Call it as the account.
pub(super) fn socket_at(path: &Path, uid: u32) -> Option<Identity> {
    let handle = open(path, uid).ok()?;
    let stat = fstat(&handle).ok()?;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    (is_socket && stat.st_uid == uid).then_some(Identity { dev: stat.st_dev, ino: stat.st_ino })
}

/// Connects to the socket at `path`, without ever waiting for room in its queue; None when nobody
/// listens there. Call it as the account.
pub(super) fn dial(path: &Path, uid: u32) -> io::Result<Option<UnixStream>> {
    let pinned = match open(path, uid) {
        Ok(pinned) => pinned,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = fstat(&pinned)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || stat.st_uid != uid {
        return Ok(None);
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The handle's own name in /proc leads to this very socket, whatever its path leads to by now.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", pinned.as_raw_fd()))?;
    match connect(&stream, &address) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(Some(stream))
}

/// The pid that called `listen` on the far side (`SO_PEERCRED`); it may be gone by now.
pub(super) fn listened_by(stream: &UnixStream) -> Option<u32> {
    let peer = sockopt::socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

/// Who holds which listening socket, as `/proc` tells.
pub(super) struct Holding {
    /// Inode numbers of listening sockets, by the path that they are bound to.
    bound: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// Inode numbers of the sockets that each process has open; None: withheld.
    open: Vec<(Process, Option<BTreeSet<u64>>)>,
}

impl Holding {
    /// Looks at every process of `listed`.
    pub(super) fn look(listed: Vec<Process>) -> Self {
        let text = std::fs::read("/proc/net/unix").unwrap_or_default();
        let bound = bound(&text);
        let alive = listed.into_iter().filter(|process| !process.zombie);
        let open = alive.map(|process| {
            let sockets = sockets_of(process.id.pid);
            (process, sockets)
        });
        Self { bound, open: open.collect() }
    }

    /// The processes that hold the socket bound to `path`.
    pub(super) fn holders(&self, path: &[u8]) -> impl Iterator<Item = &Process> {
        let inodes = self.bound.get(path);
        self.open.iter().filter_map(move |(process, sockets)| {
            let (inodes, sockets) = (inodes?, sockets.as_ref()?);
            (!inodes.is_disjoint(sockets)).then_some(process)
        })
    }

    /// The processes that do not show what they have open.
    pub(super) fn hidden(&self) -> impl Iterator<Item = &Process> {
        self.open.iter().filter(|(_, sockets)| sockets.is_none()).map(|(process, _)| process)
    }

    /// The process of that pid.
    pub(super) fn of_pid(&self, pid: u32) -> Option<&Process> {
        self.open.iter().map(|(process, _)| process).find(|process| process.id.pid == pid)
    }
}

/// What a process runs: its executable's name, or its command name where that is withheld.
pub(super) fn program(process: &Process) -> &[u8] {
    let exe = process.exe.strip_suffix(b" (deleted)").unwrap_or(&process.exe);
    let name = exe.rsplit(|&b| b == b'/').next().unwrap_or_default();
    if name.is_empty() { process.comm.as_bytes() } else { name }
}

fn handle(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// The components of an absolute path, last one first.
fn components(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => parts.push(PathBuf::from("..")),
            Component::Normal(name) => parts.push(PathBuf::from(name)),
            Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    if !path.is_absolute() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    parts.reverse();
    Ok(parts)
}

/// Listening sockets in the text of `/proc/net/unix`, see proc_net(5).
fn bound(text: &[u8]) -> BTreeMap<Vec<u8>, BTreeSet<u64>> {
    let mut bound: BTreeMap<Vec<u8>, BTreeSet<u64>> = BTreeMap::new();
    for line in text.split(|&b| b == b'\n').skip(1) {
        let mut rest = line;
        // Address, references, protocol, flags, type, state, inode number; then the path.
        let fields: Vec<&[u8]> = (0..7).map(|_| take_field(&mut rest)).collect();
        let text = |index: usize| fields.get(index).and_then(|f| std::str::from_utf8(f).ok());
        let inode = text(6).and_then(|inode| inode.parse().ok());
        let path = rest.strip_prefix(b" ").unwrap_or_default();
        if let (Some(LISTENING), Some(inode), false) = (text(3), inode, path.is_empty()) {
            bound.entry(path.to_vec()).or_default().insert(inode);
        }
    }
    bound
}

/// Takes the next field off `line`, with the blanks before it.
fn take_field<'l>(line: &mut &'l [u8]) -> &'l [u8] {
    let start = line.trim_ascii_start();
    let end = start.iter().position(|&b| b == b' ').unwrap_or(start.len());
    let (field, rest) = start.split_at(end);
    *line = rest;
    field
}

fn sockets_of(pid: u32) -> Option<BTreeSet<u64>> {
    let listing = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = listing.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inode = |link: PathBuf| {
        let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        text.parse().ok()
    };
    Some(links.filter_map(inode).collect())
}

/// What stands at `name` in `dir`, without following it.
pub(super) fn look(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_listening_sockets_and_paths_with_blanks() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000: 00000003 00000000 00000000 0001 03    17 /not/listening\n\
            0000: 00000002 00000000 00010000 0001 01    18 /tmp/a b/agent.1\n\
            0000: 00000002 00000000 00010000 0001 01 708408 @abstract\n\
            0000: 00000002 00000000 00010000 0001 01 9\nbroken\n";
        let bound = bound(text);
        assert_eq!(bound.get(b"/tmp/a b/agent.1".as_slice()), Some(&BTreeSet::from([18])));
        assert_eq!(bound.len(), 2);
    }

    #[test]
    fn follows_the_accounts_own_links_and_no_strangers() {
        use std::os::unix::fs::{lchown, symlink};
        let uid = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        symlink("./agent", &link).unwrap();
        assert_eq!(socket_at(&link, uid), socket_at(&socket, uid));
        assert!(dial(&link, uid).unwrap().is_some());
        assert!(socket_at(&link, uid).is_some());
        // A socket of one account is none of another's.
        assert_eq!(socket_at(&socket, uid + 1), None);
        assert!(dial(&socket, uid + 1).unwrap().is_none());
        if uid == 0 {
            lchown(&link, Some(54_321), None).unwrap();
            assert!(dial(&link, uid).is_err());
        }
        // A loop ends.
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(dial(&dir.path().join("loop"), uid).is_err());
        assert!(dial(&dir.path().join("none"), uid).unwrap().is_none());
    }
}
