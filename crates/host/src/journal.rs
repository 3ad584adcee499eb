//! A write-ahead journal, as a file of framed records in space that is taken early.
//!
//! It refuses to call a record durable before the disk says so, and to append to a corrupt file.
//!
//! A frame is the payload's length, the CRC-32 of the payload (both 32-bit little-endian), and the
//! payload: the records that became durable together, as a JSON array. Zeros follow the last frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use exeunt_engine::ports::JournalError;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use serde::Serialize;
use serde::de::DeserializeOwned;

const HEADER: usize = 8;
/// Largest journal that is read back, in bytes.
const LIMIT: u64 = 256 << 20;

/// A journal of records of one type, in one file.
#[derive(Debug)]
pub struct FileJournal<T> {
    state: Mutex<State>,
    records: PhantomData<fn(T)>,
}

#[derive(Debug)]
struct State {
    file: File,
    end: u64,
    corrupt: bool,
}

/// What a journal held when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay<T> {
    /// Its records, oldest first.
    pub records: Vec<T>,
    /// How it ended.
    pub end: ReplayEnd,
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayEnd {
    /// After a whole record.
    Clean,
    /// In the middle of the last record, which never became durable; it is written over.
    Torn,
    /// A record was changed, and others stand behind it. Nothing is appended until
    /// [`FileJournal::rewrite`].
    Corrupt {
        /// Where the record begins, in bytes.
        at: u64,
    },
}

impl<T: Serialize + DeserializeOwned> FileJournal<T> {
    /// Opens or makes a journal with room for `capacity` bytes, readable by its owner only, and
    /// reads back what it holds.
    ///
    /// # Errors
    /// [`JournalError`] when the file cannot be made, read, or given that much room.
    pub fn open(path: &Path, capacity: u64) -> Result<(Self, Replay<T>), JournalError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        // Room that was reserved is read as well: taken at once, it is not held twice over.
        let room = file.metadata()?.len().min(LIMIT) + 1;
        let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
        file.seek(SeekFrom::Start(0))?;
        (&file).take(LIMIT).read_to_end(&mut bytes)?;
        let (replay, end) = replay(&bytes);
        reserve(&file, capacity)?;
        if replay.end == ReplayEnd::Torn {
            zero(&file, end, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        }
        file.sync_all()?;
        let corrupt = matches!(replay.end, ReplayEnd::Corrupt { .. });
        Ok((Self::over(file, end, corrupt), replay))
    }

    /// Replaces the journal at `path` by one that holds only `records`, atomically.
    ///
    /// # Errors
    /// [`JournalError`]; the old journal is as it was.
    pub fn rewrite(path: &Path, capacity: u64, records: &[T]) -> Result<Self, JournalError> {
        let fresh = path.with_extension("new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&fresh)?;
        reserve(&file, capacity)?;
        let journal = Self::over(file, 0, false);
        journal.record_all(records)?;
        #[expect(clippy::disallowed_methods, reason = "our own journal, never a user's file")]
        std::fs::rename(&fresh, path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(journal)
    }

    fn over(file: File, end: u64, corrupt: bool) -> Self {
        Self { state: Mutex::new(State { file, end, corrupt }), records: PhantomData }
    }

    /// Makes `records` durable together, with one fsync, before it returns.
    ///
    /// # Errors
    /// [`JournalError`]; none of them is in the journal.
    pub fn record_all(&self, records: &[T]) -> Result<(), JournalError> {
        let frame = frame(records)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.corrupt {
            return Err(JournalError(io::Error::from(io::ErrorKind::InvalidData)));
        }
        let end = state.end + u64::try_from(frame.len()).map_err(io::Error::other)?;
        let written =
            state.file.write_all_at(&frame, state.end).and_then(|()| state.file.sync_data());
        if let Err(error) = written {
            // What half arrived is no record: put the zeros back, where the disk still lets us.
            let _still_torn = zero(&state.file, state.end, end);
            return Err(error.into());
        }
        state.end = end;
        Ok(())
    }
}

fn frame<T: Serialize>(records: &[T]) -> io::Result<Vec<u8>> {
    let payload = serde_json::to_vec(records)?;
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let sum = crc32fast::hash(&payload);
    Ok([&length.to_le_bytes(), &sum.to_le_bytes(), payload.as_slice()].concat())
}

/// Reads frames until the zeros, and says where the next one goes.
fn replay<T: DeserializeOwned>(bytes: &[u8]) -> (Replay<T>, u64) {
    let mut records = Vec::new();
    let mut at = 0;
    let end = loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.iter().all(|&b| b == 0) {
            break ReplayEnd::Clean;
        }
        let Some((together, length)) = whole_frame::<T>(rest) else {
            break broken(rest, at);
        };
        records.extend(together);
        at += length;
    };
    (Replay { records, end }, u64::try_from(at).unwrap_or(u64::MAX))
}

fn whole_frame<T: DeserializeOwned>(bytes: &[u8]) -> Option<(Vec<T>, usize)> {
    let (length, sum) = header(bytes)?;
    let payload = bytes.get(HEADER..HEADER.checked_add(length)?)?;
    let records = serde_json::from_slice(payload).ok()?;
    (crc32fast::hash(payload) == sum).then_some((records, HEADER + length))
}

fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((usize::try_from(word(0)?).ok()?, word(4)?))
}

/// A record is begun only when the one before it is durable, so a broken one with more behind it
/// did not just tear.
fn broken(bytes: &[u8], at: usize) -> ReplayEnd {
    let after = header(bytes).and_then(|(length, _)| bytes.get(HEADER.checked_add(length)?..));
    if after.is_some_and(|after| after.iter().any(|&b| b != 0)) {
        return ReplayEnd::Corrupt { at: u64::try_from(at).unwrap_or(u64::MAX) };
    }
    ReplayEnd::Torn
}

/// Takes room on the disk for `capacity` bytes; where the file system cannot, by writing zeros.
fn reserve(file: &File, capacity: u64) -> io::Result<()> {
    let size = file.metadata()?.len();
    if size >= capacity {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, capacity) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => zero(file, size, capacity),
        Err(errno) => Err(errno.into()),
    }
}

fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        let part = zeros.get(..want).unwrap_or_default();
        file.write_all_at(part, at)?;
        at += u64::try_from(part.len()).map_err(io::Error::other)?;
    }
    Ok(())
}
