//! The disk as SQLite sees it: its own Unix file system, with a note of every call that changes one.
//!
//! It refuses memory-mapped files, which nobody could take notes of.

#![expect(unsafe_code, reason = "SQLite's file systems are tables of C functions")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, Once, PoisonError};

use rusqlite::ffi::{
    self, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE, SQLITE_OK,
    sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
};

use super::{Disk, Fault, Op};

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());
static REGISTERED: Once = Once::new();

/// Has files in the disk's directory noted by it, in this process and from now on.
pub(super) fn watch(disk: &Arc<Disk>) {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(disk));
    REGISTERED.call_once(|| {
        // SAFETY: SQLite initialises itself at the first call; the default file system lives as
        // long as the process, and so does ours, which is leaked.
        unsafe {
            assert_eq!(ffi::sqlite3_initialize(), SQLITE_OK);
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null());
            let mut ours = *real;
            ours.zName = c"noted".as_ptr();
            ours.pNext = std::ptr::null_mut();
            ours.szOsFile += c_int::try_from(size_of::<Noted>()).unwrap();
            ours.pAppData = real.cast();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1), SQLITE_OK);
        }
    });
}

fn disk_of(path: &Path) -> Option<(Arc<Disk>, String)> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.iter().find_map(|disk| Some((Arc::clone(disk), disk.name_of(path)?)))
}

/// An open file that is noted; the real one lies behind it in the same piece of memory, which
/// SQLite aligns to eight bytes.
#[repr(C)]
struct Noted {
    base: sqlite3_file,
    of: *mut (Arc<Disk>, String),
}

/// # Safety
/// `file` was opened by [`open`] as a noted one.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `szOsFile` asked for room for both, one behind the other.
    unsafe { file.cast::<Noted>().add(1).cast() }
}

/// # Safety
/// `file` was opened by [`open`] as a noted one, and is not closed.
unsafe fn noted<'a>(file: *mut sqlite3_file) -> &'a (Arc<Disk>, String) {
    // SAFETY: `of` was made by `open` and lives until `close`.
    unsafe { &*(*file.cast::<Noted>()).of }
}

/// # Safety
/// As SQLite calls it: `vfs` is ours, `name` a string or null, `file` of `szOsFile` bytes.
unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: by this function's own contract; `pAppData` is the real file system.
    unsafe {
        let below: *mut sqlite3_vfs = (*vfs).pAppData.cast();
        let Some(open) = (*below).xOpen else { return SQLITE_IOERR };
        let of = if name.is_null() { None } else { disk_of(path(name)) };
        let Some(of) = of else { return open(below, name, file, flags, out) };
        (*file).pMethods = std::ptr::null();
        let behind = file.cast::<Noted>().add(1).cast::<sqlite3_file>();
        let code = open(below, name, behind, flags, out);
        if code == SQLITE_OK {
            (*file.cast::<Noted>()).of = Box::into_raw(Box::new(of));
            (*file).pMethods = &raw const METHODS;
        }
        code
    }
}

/// # Safety
/// As SQLite calls it.
unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: `pAppData` is the real file system, and `name` a string.
    unsafe {
        let below: *mut sqlite3_vfs = (*vfs).pAppData.cast();
        let Some(delete) = (*below).xDelete else { return SQLITE_IOERR };
        let code = delete(below, name, sync);
        if code == SQLITE_OK
            && let Some((disk, name)) = disk_of(path(name))
        {
            disk.note(&name, Op::Delete);
        }
        code
    }
}

/// # Safety
/// `name` is a string that outlives the answer.
unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: by this function's own contract.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

/// Functions that only hand their call on.
macro_rules! hand_on {
    ($($name:ident: $method:ident($($arg:ident: $kind:ty),*);)*) => {$(
        /// # Safety
        /// As SQLite calls it, with a noted file.
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($arg: $kind),*) -> c_int {
            // SAFETY: the file behind is open, and its table is complete to version 2.
            unsafe {
                let behind = real(file);
                match (*(*behind).pMethods).$method {
                    Some(call) => call(behind, $($arg),*),
                    None => SQLITE_IOERR,
                }
            }
        }
    )*};
}

hand_on! {
    read: xRead(into: *mut c_void, amount: c_int, at: sqlite3_int64);
    write_on: xWrite(from: *const c_void, amount: c_int, at: sqlite3_int64);
    truncate_on: xTruncate(size: sqlite3_int64);
    sync_on: xSync(flags: c_int);
    close_on: xClose();
    size: xFileSize(size: *mut sqlite3_int64);
    lock: xLock(level: c_int);
    unlock: xUnlock(level: c_int);
    reserved: xCheckReservedLock(out: *mut c_int);
    control: xFileControl(op: c_int, arg: *mut c_void);
    sector_size: xSectorSize();
    characteristics: xDeviceCharacteristics();
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap: xShmUnmap(delete: c_int);
}

/// # Safety
/// As SQLite calls it, with a noted file.
unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: the file behind is open.
    unsafe {
        let behind = real(file);
        if let Some(call) = (*(*behind).pMethods).xShmBarrier {
            call(behind);
        }
    }
}

/// # Safety
/// As SQLite calls it, with a noted file, which is gone afterwards.
unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: `of` was made by `open`, and nobody uses it after this.
    unsafe {
        let code = close_on(file);
        drop(Box::from_raw((*file.cast::<Noted>()).of));
        code
    }
}

/// # Safety
/// As SQLite calls it, with a noted file.
unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: `from` holds `amount` bytes.
    unsafe {
        let (disk, name) = noted(file);
        match disk.fault_of_write() {
            Some(Fault::Space) => return SQLITE_FULL,
            Some(Fault::Write | Fault::Sync) => return SQLITE_IOERR_WRITE,
            None => {}
        }
        let code = write_on(file, from, amount, at);
        if code == SQLITE_OK {
            let length = usize::try_from(amount).unwrap_or_default();
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), length).to_vec();
            disk.note(name, Op::Write { at: u64::try_from(at).unwrap_or_default(), bytes });
        }
        code
    }
}

/// # Safety
/// As SQLite calls it, with a noted file.
unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: handed on as it came.
    unsafe {
        let code = truncate_on(file, size);
        if code == SQLITE_OK {
            let (disk, name) = noted(file);
            disk.note(name, Op::Truncate(u64::try_from(size).unwrap_or_default()));
        }
        code
    }
}

/// # Safety
/// As SQLite calls it, with a noted file.
unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: handed on as it came.
    unsafe {
        let (disk, name) = noted(file);
        if disk.fault_of_sync(name) { SQLITE_IOERR_FSYNC } else { sync_on(file, flags) }
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
