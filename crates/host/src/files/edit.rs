//! Cutting credentials out of files that also hold what must stay.
//!
//! It refuses to leave a file half written: the new file takes the old one's place in one rename.

mod ini;
mod json;
mod lines;
mod sqlite;
mod toml;
mod xml;
mod yaml;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use exeunt_catalogue::Edit;
use exeunt_engine::ports::{Entry, FileKind, FilesError, Name};
use rustix::fs::{Mode, OFlags, RenameFlags, fchmod, fsync};
use rustix::io::write;

use super::linux::read_file;
use super::quarantine::{check_unchanged, make_private_dir, move_entry, sync};
use super::{beneath, erase};

/// Largest text file that is edited, in bytes.
const TEXT_LIMIT: usize = 64 << 20;
/// Largest database, or write-ahead log of one, that is edited, in bytes.
const DATABASE_LIMIT: usize = 512 << 20;
/// What a file that is not yet in place, or no longer, is called.
const PREFIX: &str = ".exeunt-edit-";
/// What the name of scratch space begins with, before the number of the process that made it.
const SCRATCH: &str = "exeunt-scratch-";
/// The files that belong to a SQLite database, by what follows its name.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Why nothing could be cut out of a file.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The file is not of the format that the rule expects.
    #[error("not {format}: {detail}")]
    Format {
        /// The format.
        format: &'static str,
        /// What the parser said; never the file's content.
        detail: String,
    },
    /// The rule itself cannot be applied.
    #[error("the rule {0:?} cannot be applied")]
    Rule(String),
    /// A database needs files beside it, which a text does not have.
    #[error("a database is not edited as text")]
    NotText,
    /// A text has no rows.
    #[error("a text is not edited as a database")]
    NotDatabase,
    /// Scratch space failed.
    #[error("scratch space: {0}")]
    Scratch(#[from] io::Error),
}

impl CutError {
    fn format(format: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Format { format, detail: detail.to_string() }
    }
}

impl From<CutError> for FilesError {
    fn from(error: CutError) -> Self {
        Self::Os { op: "edit", source: io::Error::new(io::ErrorKind::InvalidData, error) }
    }
}

/// What is left of a file, and how much was cut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file without what the rule names.
    pub rest: Vec<u8>,
    /// How many rows, keys, lines or elements went.
    pub matches: u64,
}

/// Cuts what `edit` names out of a text.
///
/// # Errors
/// [`CutError`]; also for a database, which is no text.
pub fn cut_text(text: &[u8], edit: &Edit) -> Result<Cut, CutError> {
    match edit {
        Edit::Json { keys } => json::cut(text, keys),
        Edit::Toml { keys } => toml::cut(text, keys),
        Edit::Ini { section, keys } => ini::cut(text, section.as_deref(), keys),
        Edit::Lines { starts, contains } => Ok(lines::cut(text, starts, contains)),
        Edit::Xml { elements } => xml::cut(text, elements),
        Edit::Yaml { keys } => yaml::cut(text, keys),
        Edit::Sqlite { .. } => Err(CutError::NotText),
    }
}

/// Cuts the rows that `edit` names out of a copy of a database, with its write-ahead log or
/// rollback journal applied first.
///
/// # Errors
/// [`CutError`]; also for a rule that means a text.
pub fn cut_database(
    main: &[u8],
    log: Option<&[u8]>,
    journal: Option<&[u8]>,
    edit: &Edit,
) -> Result<Cut, CutError> {
    sqlite::cut(sqlite::Group { main, log, journal }, &rows(edit)?)
}

fn rows(edit: &Edit) -> Result<sqlite::Rows<'_>, CutError> {
    match edit {
        Edit::Sqlite { table, key_column, key_like } => {
            Ok(sqlite::Rows { table, key_column: key_column.as_deref(), key_like })
        }
        Edit::Json { .. }
        | Edit::Toml { .. }
        | Edit::Ini { .. }
        | Edit::Lines { .. }
        | Edit::Xml { .. }
        | Edit::Yaml { .. } => Err(CutError::NotDatabase),
    }
}

/// How much `edit` would cut out of the file, and out of what an interrupted edit left beside it:
/// the old file, with everything that it held.
pub(super) fn count(dir: impl AsFd, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
    let left = u64::try_from(leftovers(&dir)?.len()).unwrap_or(u64::MAX);
    let matches = match edit {
        Edit::Sqlite { .. } => sqlite::count(Database::read(&dir, entry)?.group(), &rows(edit)?)?,
        Edit::Json { .. }
        | Edit::Toml { .. }
        | Edit::Ini { .. }
        | Edit::Lines { .. }
        | Edit::Xml { .. }
        | Edit::Yaml { .. } => cut(&dir, entry, edit)?.matches,
    };
    Ok(matches.saturating_add(left))
}

/// Cuts what `edit` names out of the file. Runs with the owner's rights.
pub(super) fn apply(
    dir: impl AsFd,
    entry: &Entry,
    edit: &Edit,
    means: erase::Means<'_>,
) -> Result<u64, FilesError> {
    let swept = sweep(&dir, means)?;
    check_unchanged(&dir, entry)?;
    let cut = cut(&dir, entry, edit)?;
    if cut.matches == 0 {
        return Ok(swept);
    }
    let fresh = Name::new(format!("{PREFIX}{}", token()?).as_bytes());
    let fresh = fresh.ok_or(FilesError::OutOfBounds)?;
    write_like(&dir, entry, &fresh, &cut.rest)?;
    let aside = match edit {
        Edit::Sqlite { .. } => SIDECARS.as_slice(),
        Edit::Json { .. }
        | Edit::Toml { .. }
        | Edit::Ini { .. }
        | Edit::Lines { .. }
        | Edit::Xml { .. }
        | Edit::Yaml { .. } => &[],
    };
    replace(&dir, entry, &fresh, aside)?;
    sync(&dir);
    sweep(&dir, means)?;
    Ok(cut.matches.saturating_add(swept))
}

fn cut(dir: impl AsFd, entry: &Entry, edit: &Edit) -> Result<Cut, FilesError> {
    match edit {
        Edit::Sqlite { .. } => {
            let found = Database::read(&dir, entry)?;
            Ok(sqlite::cut(found.group(), &rows(edit)?)?)
        }
        Edit::Json { .. }
        | Edit::Toml { .. }
        | Edit::Ini { .. }
        | Edit::Lines { .. }
        | Edit::Xml { .. }
        | Edit::Yaml { .. } => Ok(cut_text(&read_whole(&dir, &entry.name, TEXT_LIMIT)?, edit)?),
    }
}

/// A database with its sidecars, in memory.
struct Database {
    main: Vec<u8>,
    log: Option<Vec<u8>>,
    journal: Option<Vec<u8>>,
}

impl Database {
    fn read(dir: impl AsFd, entry: &Entry) -> Result<Self, FilesError> {
        let main = read_whole(&dir, &entry.name, DATABASE_LIMIT)?;
        let beside = |suffix| match read_whole(&dir, &sidecar(&entry.name, suffix)?, DATABASE_LIMIT)
        {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FilesError::NotFound) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self { main, log: beside("-wal")?, journal: beside("-journal")? })
    }

    fn group(&self) -> sqlite::Group<'_> {
        let (log, journal) = (self.log.as_deref(), self.journal.as_deref());
        sqlite::Group { main: &self.main, log, journal }
    }
}

fn read_whole(dir: impl AsFd, name: &Name, limit: usize) -> Result<Vec<u8>, FilesError> {
    let too_large = || beneath::os("read", rustix::io::Errno::FBIG);
    // Not a byte is read of what is too large.
    let size = beneath::look(&dir, name)?.ok_or(FilesError::NotFound)?.size;
    if usize::try_from(size).map_or(true, |size| size > limit) {
        return Err(too_large());
    }
    let bytes = read_file(dir, name, limit + 1)?;
    if bytes.len() > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Writes a new file with the mode of the old one.
fn write_like(dir: impl AsFd, old: &Entry, fresh: &Name, bytes: &[u8]) -> Result<(), FilesError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = beneath::open_file(&dir, fresh, flags, Mode::RUSR | Mode::WUSR)?;
    let mut left = bytes;
    while !left.is_empty() {
        match write(&file, left) {
            Ok(wrote) => left = left.get(wrote..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(beneath::os("write", errno)),
        }
    }
    let stat = beneath::stat(&dir, old.name.as_bytes(), beneath::Cached::No)?;
    let mode = stat.ok_or(FilesError::NotFound)?.stx_mode & 0o777;
    fchmod(&file, Mode::from_raw_mode(u32::from(mode)))
        .and_then(|()| fsync(&file))
        .map_err(|errno| beneath::os("fsync", errno))
}

/// Puts the file called `fresh` in the entry's place, and takes it back when another file stood
/// there. A log of the old file must never meet the new one, so `aside` goes first.
fn replace(dir: impl AsFd, entry: &Entry, fresh: &Name, aside: &[&str]) -> Result<(), FilesError> {
    let mut moved = Vec::new();
    for suffix in aside {
        let (from, to) = (sidecar(&entry.name, suffix)?, sidecar(fresh, suffix)?);
        match move_entry(&dir, &from, &dir, &to, RenameFlags::NOREPLACE) {
            Ok(()) => moved.push((from, to)),
            Err(FilesError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let result = exchange(&dir, entry, fresh);
    if result.is_err() {
        for (from, to) in moved {
            move_entry(&dir, &to, &dir, &from, RenameFlags::NOREPLACE)?;
        }
    }
    result
}

fn exchange(dir: impl AsFd, entry: &Entry, fresh: &Name) -> Result<(), FilesError> {
    move_entry(&dir, fresh, &dir, &entry.name, RenameFlags::EXCHANGE)?;
    let out = beneath::look(&dir, fresh)?;
    if out.is_some_and(|out| out.identity == entry.identity) {
        return Ok(());
    }
    move_entry(&dir, fresh, &dir, &entry.name, RenameFlags::EXCHANGE)?;
    Err(FilesError::IdentityChanged)
}

/// Unlinks the files that an edit leaves beside the one it edited, also those of one that crashed.
/// Returns how many there were.
fn sweep(dir: impl AsFd, means: erase::Means<'_>) -> Result<u64, FilesError> {
    let mut swept = 0;
    for left in leftovers(&dir)? {
        swept += erase::entry(&dir, &left, means)?;
    }
    Ok(swept)
}

fn leftovers(dir: impl AsFd) -> Result<Vec<Entry>, FilesError> {
    let mut left = Vec::new();
    for (name, is_dir) in beneath::names(&dir)? {
        if !is_dir && name.as_bytes().starts_with(PREFIX.as_bytes()) {
            let found = beneath::look(&dir, &name)?;
            left.extend(found.filter(|entry| entry.kind == FileKind::File));
        }
    }
    Ok(left)
}

fn sidecar(name: &Name, suffix: &str) -> Result<Name, FilesError> {
    Name::new(&[name.as_bytes(), suffix.as_bytes()].concat()).ok_or(FilesError::OutOfBounds)
}

/// Sixteen hexadecimal digits that nobody can guess.
fn token() -> Result<String, FilesError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| beneath::os("getrandom", errno))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Unlinks what a process that is no more left in scratch space of the account's.
pub(super) fn sweep_scratch(means: erase::Means<'_>) -> Result<u64, FilesError> {
    let mut swept = Ok(0);
    for place in [Path::new("/dev/shm"), &std::env::temp_dir()] {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(parent) = rustix::fs::open(place, flags, Mode::empty()) else { continue };
        for (name, is_dir) in beneath::names(&parent)? {
            if !is_dir || !is_abandoned(&name) {
                continue;
            }
            let Some(left) = beneath::look(&parent, &name)? else { continue };
            if left.owner == means.owner.uid {
                let gone = erase::entry(&parent, &left, means);
                swept = swept.and_then(|all: u64| gone.map(|gone| all + gone));
            }
        }
    }
    swept
}

/// Whether it is scratch space, and the process that made it is gone.
fn is_abandoned(name: &Name) -> bool {
    let made_by = |name: &[u8]| -> Option<u32> {
        let rest = name.strip_prefix(SCRATCH.as_bytes())?;
        std::str::from_utf8(rest.split(|byte| *byte == b'-').next()?).ok()?.parse().ok()
    };
    made_by(name.as_bytes()).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// A private directory for a database's copy.
struct Scratch {
    path: PathBuf,
    parent: OwnedFd,
    name: Name,
    dir: OwnedFd,
}

impl Scratch {
    /// Makes one in memory where there is room for that, else on disk.
    fn make() -> Result<Self, FilesError> {
        Self::make_in(Path::new("/dev/shm")).or_else(|_| Self::make_in(&std::env::temp_dir()))
    }

    fn make_in(place: &Path) -> Result<Self, FilesError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(place, flags, Mode::empty())
            .map_err(|errno| beneath::os("open", errno))?;
        let (name, dir) =
            make_private_dir(&parent, &format!("{SCRATCH}{}-{}", std::process::id(), token()?))?;
        Ok(Self { path: place.join(name.to_shown()), parent, name, dir })
    }
}
