//! The engine's [`Files`] on Linux: a pinned home, read as its owner, changed on held handles.
//!
//! It refuses a home that is a symbolic link or that belongs to another account than it was told.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use exeunt_catalogue::{Base, Edit};
use exeunt_engine::ports::{Entry, FileKind, Files, FilesError, Identity, Name};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};
use rustix::process::geteuid;

use super::quarantine::{self, Quarantine};
use super::{beneath, edit, erase, flags, walk};
use crate::mounts::Mount;
use crate::users::{Account, as_account};

/// Where the XDG base directories of one home are, if not at their usual places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// `$XDG_CONFIG_HOME`, relative to the home; absent: `.config`.
    pub config: Option<PathBuf>,
    /// `$XDG_CACHE_HOME`, relative to the home; absent: `.cache`.
    pub cache: Option<PathBuf>,
    /// `$XDG_DATA_HOME`, relative to the home; absent: `.local/share`.
    pub data: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, relative to the home; absent: `.local/state`.
    pub state: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, absolute; absent: `/run/user/UID`. Used only if the account owns it.
    pub runtime: Option<PathBuf>,
}

impl Bases {
    /// Takes the bases from environment variables. One that lies outside `home` is left at its
    /// usual place, since nothing outside the home is touched.
    #[must_use]
    pub fn from_env(home: &Path, env: &BTreeMap<String, Vec<u8>>) -> Self {
        let path = |key: &str| env.get(key).map(|value| Path::new(OsStr::from_bytes(value)));
        let within = |key: &str| {
            let inside = path(key)?.strip_prefix(home).ok()?;
            (!inside.as_os_str().is_empty()).then(|| inside.to_owned())
        };
        Self {
            config: within("XDG_CONFIG_HOME"),
            cache: within("XDG_CACHE_HOME"),
            data: within("XDG_DATA_HOME"),
            state: within("XDG_STATE_HOME"),
            runtime: path("XDG_RUNTIME_DIR").map(Path::to_owned),
        }
    }
}

/// A held directory handle, and where it was found beneath the home.
#[derive(Clone, Debug)]
pub struct Dir(Arc<Held>);

#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    place: Vec<Name>,
}

impl Dir {
    fn new(fd: OwnedFd, place: Vec<Name>) -> Self {
        Self(Arc::new(Held { fd, place }))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

/// One home, pinned by a handle for as long as this value lives.
#[derive(Debug)]
pub struct LinuxFiles {
    home: Dir,
    home_path: PathBuf,
    real_path: PathBuf,
    runtime: Option<Dir>,
    owner: Account,
    bases: Bases,
    quarantines: Vec<PathBuf>,
    freed: flags::Freed,
}

impl LinuxFiles {
    /// Pins `home`, which must be a directory, no symbolic link, and belong to `owner`.
    ///
    /// `quarantines` are directories in which a quarantine may be made, in order of preference;
    /// the first on the right mount is taken, as long as only this process's user can write to it.
    /// Beyond them, the outermost directory of the home on that mount is used.
    ///
    /// # Errors
    /// [`FilesError::NotFound`]; [`FilesError::OutOfBounds`] for a symbolic link;
    /// [`FilesError::Os`] when another account owns the home.
    pub fn open(
        home: &Path,
        owner: &Account,
        bases: Bases,
        quarantines: &[PathBuf],
    ) -> Result<Self, FilesError> {
        let handle = pin(home, owner.uid)?;
        let runtime_path = bases
            .runtime
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", owner.uid)));
        let runtime = pin(&runtime_path, owner.uid).ok();
        let runtime_name = Name::new(b"$XDG_RUNTIME_DIR").into_iter().collect();
        Ok(Self {
            home: Dir::new(handle, Vec::new()),
            home_path: home.to_owned(),
            real_path: std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned()),
            runtime: runtime.map(|fd| Dir::new(fd, runtime_name)),
            owner: owner.clone(),
            bases,
            quarantines: quarantines.to_vec(),
            freed: flags::Freed::default(),
        })
    }

    /// Quarantines that an earlier run left behind, for example in a power cut, in the places where
    /// [`Files::open_quarantine`] makes them.
    ///
    /// # Errors
    /// [`FilesError::Os`] when the home cannot be listed.
    pub fn leftover_quarantines(&self) -> Result<Vec<Quarantine>, FilesError> {
        let mut left = quarantine::leftovers(&self.home)?;
        for path in self.quarantine_places() {
            if let Ok(dir) = quarantine::open_candidate(path) {
                left.append(&mut quarantine::leftovers(&dir)?);
            }
        }
        let runtime = self.runtime.iter().cloned();
        for dir in self.mounts_below().into_iter().chain(runtime) {
            left.append(&mut quarantine::leftovers(&dir)?);
        }
        Ok(left)
    }

    /// Unlinks the copies of databases that an edit of a process which is no more left in scratch
    /// space. Returns how many files went.
    ///
    /// # Errors
    /// The first [`FilesError`]; the rest was tried all the same.
    pub fn sweep_scratch(&self) -> Result<u64, FilesError> {
        edit::sweep_scratch(self.means())
    }

    /// The outermost directory of every mount beneath the home.
    fn mounts_below(&self) -> Vec<Dir> {
        let table = Mount::table().unwrap_or_default();
        let below = table.iter().filter_map(|mount| mount.point.strip_prefix(&self.real_path).ok());
        let paths = below.filter_map(components).filter(|path| !path.is_empty());
        paths.filter_map(|path| self.open_beneath(&self.home, &path).ok()).collect()
    }

    fn means(&self) -> erase::Means<'_> {
        erase::Means { owner: &self.owner, freed: &self.freed }
    }

    /// Does `change` to an entry as it is now. A flag of its own is taken from it first; one of the
    /// directory that it is in, only for as long as that takes.
    fn changing<T>(
        &self,
        dir: &Dir,
        entry: &Entry,
        change: impl Fn(&Entry) -> Result<T, FilesError>,
    ) -> Result<T, FilesError> {
        let now = quarantine::check_unchanged(dir, entry)?;
        if now.immutable && (now.links == 1 || now.owner == self.owner.uid) {
            // What is refused here is refused below as well, and said there.
            let _stuck = flags::clear(dir, &now, &self.freed);
        }
        let _loosened = flags::Loosened::of(dir, &self.freed).ok().flatten();
        change(&now)
    }

    /// Where a quarantine may be made outside the home: what the caller offered, and for root the
    /// directory that the home lies in, which the account cannot rename anything in.
    fn quarantine_places(&self) -> impl Iterator<Item = &Path> {
        let beside = self.real_path.parent().filter(|_| geteuid().is_root());
        self.quarantines.iter().map(PathBuf::as_path).chain(beside)
    }

    /// Reads as the owner. What the owner's own permissions withhold is read with ours: on held
    /// handles and without following anything, so that it reveals nothing from elsewhere.
    fn reading<T>(&self, work: impl Fn() -> Result<T, FilesError>) -> Result<T, FilesError> {
        let first = as_account(self.owner.uid, self.owner.gid, &work)
            .map_err(|source| FilesError::Os { op: "setresuid", source })?;
        match first {
            Err(FilesError::Os { ref source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied && geteuid().is_root() =>
            {
                work()
            }
            done => done,
        }
    }

    fn open_beneath(&self, from: &Dir, path: &[Name]) -> Result<Dir, FilesError> {
        let bytes = path.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/');
        let fd = self.reading(|| beneath::handle(from, &bytes))?;
        Ok(Dir::new(fd, [from.0.place.as_slice(), path].concat()))
    }

    fn relative_base(&self, base: Base) -> &Path {
        let (given, usual) = match base {
            Base::Home | Base::Runtime => (&None, ""),
            Base::Config => (&self.bases.config, ".config"),
            Base::Cache => (&self.bases.cache, ".cache"),
            Base::Data => (&self.bases.data, ".local/share"),
            Base::State => (&self.bases.state, ".local/state"),
        };
        given.as_deref().unwrap_or(Path::new(usual))
    }

    /// The outermost directory on the way to `near` that lies on the same mount.
    fn outermost_on_mount(&self, near: &Dir) -> Result<Dir, FilesError> {
        let mount = beneath::stat_handle(near)?.stx_mnt_id;
        let in_runtime = self.runtime.as_ref().filter(|r| near.0.place.starts_with(&r.0.place));
        let (top, skip) = in_runtime.map_or((&self.home, 0), |runtime| (runtime, 1));
        let place = near.0.place.get(skip..).unwrap_or_default();
        for depth in 0..=place.len() {
            let path = place.get(..depth).unwrap_or_default();
            let dir = if depth == 0 { top.clone() } else { self.open_beneath(top, path)? };
            if beneath::stat_handle(&dir)?.stx_mnt_id == mount {
                return Ok(dir);
            }
        }
        Ok(near.clone())
    }
}

impl Files for LinuxFiles {
    type Dir = Dir;
    type Quarantine = Quarantine;

    fn base(&self, base: Base) -> Result<Option<Dir>, FilesError> {
        match base {
            Base::Home => return Ok(Some(self.home.clone())),
            Base::Runtime => return Ok(self.runtime.clone()),
            Base::Config | Base::Cache | Base::Data | Base::State => {}
        }
        let path = components(self.relative_base(base)).ok_or(FilesError::OutOfBounds)?;
        found(self.open_beneath(&self.home, &path))
    }

    fn beneath_home(&self, absolute: &[u8]) -> Result<Option<Dir>, FilesError> {
        let path = Path::new(OsStr::from_bytes(absolute));
        let inside =
            path.strip_prefix(&self.home_path).or_else(|_| path.strip_prefix(&self.real_path));
        let Some(path) = inside.ok().and_then(components) else { return Ok(None) };
        if path.is_empty() {
            return Ok(Some(self.home.clone()));
        }
        found(self.open_beneath(&self.home, &path))
    }

    fn place(&self, dir: &Dir) -> Vec<Name> {
        dir.0.place.clone()
    }

    fn enter(&self, dir: &Dir, name: &Name) -> Result<Dir, FilesError> {
        self.open_beneath(dir, std::slice::from_ref(name))
    }

    fn list(&self, dir: &Dir) -> Result<Vec<Entry>, FilesError> {
        self.reading(|| beneath::list(dir))
    }

    fn look(&self, dir: &Dir, name: &Name) -> Result<Option<Entry>, FilesError> {
        self.reading(|| beneath::look(dir, name))
    }

    fn read(&self, dir: &Dir, name: &Name, limit: usize) -> Result<Vec<u8>, FilesError> {
        self.reading(|| {
            let is_file = beneath::look(dir, name)?.is_some_and(|e| e.kind == FileKind::File);
            if !is_file {
                return Err(FilesError::NotFound);
            }
            read_file(dir, name, limit)
        })
    }

    fn identities(
        &self,
        dir: &Dir,
        entry: &Entry,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError> {
        self.reading(|| walk::identities(dir, entry, limit))
    }

    fn open_quarantine(&self, near: &Dir, order: &str) -> Result<Quarantine, FilesError> {
        let mount = beneath::stat_handle(near)?.stx_mnt_id;
        for path in self.quarantine_places() {
            let made = quarantine::open_candidate(path).and_then(|dir| {
                if beneath::stat_handle(&dir)?.stx_mnt_id != mount {
                    return Err(FilesError::OtherMount);
                }
                quarantine::make(dir, order, mount)
            });
            match made {
                Ok(made) => return Ok(made),
                Err(error) => tracing::debug!(%error, "a quarantine place was passed over"),
            }
        }
        let dir = self.outermost_on_mount(near)?;
        let dir = dir.0.fd.try_clone().map_err(|source| FilesError::Os { op: "dup", source })?;
        quarantine::make(dir, order, mount)
    }

    fn quarantine(
        &self,
        dir: &Dir,
        entry: &Entry,
        into: &Quarantine,
        as_name: &Name,
    ) -> Result<(), FilesError> {
        self.changing(dir, entry, |now| into.take(dir, now, as_name))
    }

    fn in_quarantine(&self, quarantine: &Quarantine, name: &Name) -> Result<bool, FilesError> {
        Ok(beneath::look(quarantine, name)?.is_some())
    }

    fn quarantined(
        &self,
        quarantine: &Quarantine,
        name: &Name,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError> {
        let entry = beneath::look(quarantine, name)?.ok_or(FilesError::NotFound)?;
        walk::identities(quarantine, &entry, limit)
    }

    fn empty_quarantine(&self, quarantine: &Quarantine) -> Result<u64, FilesError> {
        quarantine.empty(self.means())
    }

    fn erase(&self, dir: &Dir, entry: &Entry) -> Result<u64, FilesError> {
        self.changing(dir, entry, |now| erase::entry(dir, now, self.means()))
    }

    fn edit(&self, dir: &Dir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
        self.changing(dir, entry, |now| {
            let (uid, gid) = (self.owner.uid, self.owner.gid);
            as_account(uid, gid, || edit::apply(dir, now, edit, self.means()))
                .map_err(|source| FilesError::Os { op: "setresuid", source })?
        })
    }

    fn count_matches(&self, dir: &Dir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
        as_account(self.owner.uid, self.owner.gid, || edit::count(dir, entry, edit))
            .map_err(|source| FilesError::Os { op: "setresuid", source })?
    }

    fn freed(&self) -> u64 {
        self.freed.count()
    }
}

/// Reads at most `limit` bytes of the regular file `name`.
pub(super) fn read_file(dir: impl AsFd, name: &Name, limit: usize) -> Result<Vec<u8>, FilesError> {
    let file = beneath::open_file(&dir, name, OFlags::RDONLY, Mode::empty())?;
    let stat = beneath::stat_handle(&file)?;
    if beneath::entry(name.clone(), &stat, stat.stx_mnt_id).kind != FileKind::File {
        return Err(FilesError::NotFound);
    }
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while bytes.len() < limit {
        let want = chunk.len().min(limit - bytes.len());
        let room = chunk.get_mut(..want).unwrap_or_default();
        match read(&file, room) {
            Ok(0) => break,
            Ok(got) => bytes.extend(chunk.iter().take(got)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(beneath::os("read", errno)),
        }
    }
    Ok(bytes)
}

/// Opens a directory that must not be a symbolic link and must belong to `uid`.
fn pin(path: &Path, uid: u32) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty()).map_err(beneath::open_error)?;
    let stat = beneath::stat_handle(&fd)?;
    let mount = stat.stx_mnt_id;
    let kind = Name::new(b"home").map(|name| beneath::entry(name, &stat, mount).kind);
    match kind {
        Some(FileKind::Dir) if stat.stx_uid == uid => Ok(fd),
        Some(FileKind::Dir) => Err(beneath::os("statx", Errno::PERM)),
        Some(FileKind::Symlink) => Err(FilesError::OutOfBounds),
        Some(FileKind::File | FileKind::Special) | None => Err(FilesError::NotFound),
    }
}

/// A relative path as names; `None` when it has a `..` or is absolute.
fn components(path: &Path) -> Option<Vec<Name>> {
    path.components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Name::new(name.as_bytes()),
            Component::Prefix(_)
            | Component::RootDir
            | Component::ParentDir
            | Component::CurDir => None,
        })
        .collect()
}

fn found(opened: Result<Dir, FilesError>) -> Result<Option<Dir>, FilesError> {
    match opened {
        Ok(dir) => Ok(Some(dir)),
        Err(FilesError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
