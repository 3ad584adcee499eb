//! How the allocator keeps what each batch frees and the next one needs again.
//!
//! It refuses to hoard: beyond a bound, free memory goes back to the system.

/// Free memory at the end of a heap is returned from this size on, in bytes. By default it is so
/// small that nearly every commit returned some, to fault it in again for the next.
const RETURNED_FROM: i32 = 4 << 20;
/// A block of this size is mapped by itself and returned whole, in bytes.
const MAPPED_FROM: i32 = 1 << 20;

/// Sets both. Call it before the first thread is started.
pub(crate) fn keep() {
    #[cfg(target_env = "gnu")]
    for (what, value) in
        [(libc::M_TRIM_THRESHOLD, RETURNED_FROM), (libc::M_MMAP_THRESHOLD, MAPPED_FROM)]
    {
        #[expect(unsafe_code, reason = "no safe interface has this call")]
        // SAFETY: two plain numbers; the call may come at any time, and a refusal changes nothing.
        let _taken = unsafe { libc::mallopt(what, value) };
    }
}
