//! The engine's [`Watcher`] on Linux: inotify, through the held handles of the directories.
//!
//! It refuses paths: a directory is watched by its open handle, so that no link that is put in its
//! place can lead the watch out of the home. What other accounts do elsewhere is never seen.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exeunt_engine::ports::{Bell, Coverage, Name, Spot, Watcher};
use notify::event::{EventKind, ModifyKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::files::Dir;

/// Most directories that one watch takes from what the kernel allows root or the account
/// (`fs.inotify.max_user_watches`, inotify(7)).
pub const MOST: usize = 512;

/// Watches the directories of one home.
pub struct LinuxWatcher {
    bell: Bell,
    most: usize,
    inotify: Option<RecommendedWatcher>,
    told: Option<Told>,
}

/// Which directories, and what of each.
type Told = Vec<(Option<(u64, u64)>, Spot<()>)>;

impl std::fmt::Debug for LinuxWatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinuxWatcher").field("most", &self.most).finish_non_exhaustive()
    }
}

impl LinuxWatcher {
    /// A watch that rings `bell`. It watches at most `most` directories; nothing yet.
    #[must_use]
    pub fn new(bell: Bell, most: usize) -> Self {
        Self { bell, most, inotify: None, told: None }
    }
}

impl Watcher for LinuxWatcher {
    type Dir = Dir;

    fn watch(&mut self, spots: &[Spot<Dir>]) -> Coverage {
        // A fresh instance each time: the kernel drops the old one's watches with it.
        self.inotify = None;
        self.told = Some(told(spots));
        let mut coverage = Coverage::default();
        let paths: Vec<PathBuf> = spots.iter().map(handle_path).collect();
        let minded: BTreeMap<PathBuf, Spot<()>> =
            paths.iter().cloned().zip(spots.iter().map(question)).collect();
        let (bell, minded) = (self.bell.clone(), Arc::new(minded));
        let ring = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| matters(&minded, &event)) {
                bell.change();
            }
        };
        let mut inotify = match notify::recommended_watcher(ring) {
            Ok(inotify) => inotify,
            Err(error) => {
                coverage.left_out = spots.len();
                coverage.why = Some(plain(&error));
                return coverage;
            }
        };
        for path in &paths {
            if coverage.watched >= self.most {
                coverage.left_out += 1;
                coverage.why.get_or_insert_with(|| format!("the limit is {}", self.most));
                continue;
            }
            match inotify.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => coverage.watched += 1,
                Err(error) => {
                    coverage.left_out += 1;
                    coverage.why.get_or_insert_with(|| plain(&error));
                }
            }
        }
        self.inotify = Some(inotify);
        coverage
    }

    fn covers(&self, spots: &[Spot<Dir>]) -> bool {
        self.told.as_ref().is_some_and(|told_last| *told_last == told(spots))
    }
}

/// The kernel's own name for what a handle holds: it resolves to that very directory, wherever it
/// is by now (proc_pid_fd(5)).
fn handle_path(spot: &Spot<Dir>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", spot.dir.as_fd().as_raw_fd()))
}

fn told(spots: &[Spot<Dir>]) -> Told {
    spots.iter().map(|spot| (identity(&spot.dir), question(spot))).collect()
}

fn identity(dir: &Dir) -> Option<(u64, u64)> {
    let stat = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::INO).ok()?;
    Some((rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}

fn question(spot: &Spot<Dir>) -> Spot<()> {
    Spot {
        dir: (),
        listed: spot.listed,
        names: spot.names.clone(),
        contents: spot.contents.clone(),
    }
}

/// Whether a survey could answer otherwise after this event. What was lost counts.
fn matters(minded: &BTreeMap<PathBuf, Spot<()>>, event: &notify::Event) -> bool {
    let minds: fn(&Spot<()>, &[u8]) -> bool = match event.kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => return false,
        EventKind::Modify(ModifyKind::Data(_)) => Spot::minds_content,
        EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Any | ModifyKind::Other) => {
            Spot::minds_entry
        }
        EventKind::Any | EventKind::Other => return true,
    };
    event.need_rescan() || event.paths.iter().any(|path| of(minded, path, minds))
}

fn of(
    minded: &BTreeMap<PathBuf, Spot<()>>,
    path: &Path,
    minds: fn(&Spot<()>, &[u8]) -> bool,
) -> bool {
    if minded.contains_key(path) {
        return true; // the watched directory itself went or moved
    }
    let spot = path.parent().and_then(|dir| minded.get(dir));
    let name = path.file_name().and_then(|name| Name::new(name.as_bytes()));
    spot.zip(name).is_some_and(|(spot, name)| minds(spot, name.as_bytes()))
}

/// A reason without a path.
fn plain(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the kernel's limit of watches is reached (fs.inotify.max_user_watches)".into()
        }
        ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            "the kernel's limit of instances is reached (fs.inotify.max_user_instances)".into()
        }
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::PathNotFound => "a directory is gone".into(),
        ErrorKind::Generic(why) => why.clone(),
        ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => "inotify refused".into(),
    }
}
