//! How much memory the idle warden keeps: no more than what it knows.
//!
//! It refuses to be clever: the allocator is told two limits, and asked to return what is free.

/// Free memory at the end of the heap is returned from this size on, and a block of this size is
/// mapped by itself and returned whole. In bytes. Said explicitly, since the allocator would raise
/// both to the size of the largest block that was ever freed (mallopt(3)).
const RETURNED_FROM: i32 = 128 << 10;
/// One heap for all threads: they wait for the disk and for other programs, not for each other.
const HEAPS: i32 = 1;

/// Sets the limits. Call it before the first thread is started.
pub(crate) fn limit() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_ARENA_MAX, HEAPS),
        (libc::M_MMAP_THRESHOLD, RETURNED_FROM),
        (libc::M_TRIM_THRESHOLD, RETURNED_FROM),
    ] {
        #[expect(unsafe_code, reason = "no safe interface has this call")]
        // SAFETY: two plain numbers; the call may come at any time, and a refusal changes nothing.
        let _taken = unsafe { libc::mallopt(what, value) };
    }
}

/// Returns what was freed since, wherever in the heap it lies.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "no safe interface has this call")]
        // SAFETY: it touches only memory that nobody has, under the allocator's own lock.
        let _returned = unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn returns_what_was_freed_between_what_is_kept() {
        let mut blocks: Vec<_> = (0..20_000).map(|n| Some(vec![n as u8; 1024])).collect();
        let held = resident();
        // Every other one stays, and so does the end of the heap.
        blocks.iter_mut().rev().skip(1).filter(|block| block.is_some()).for_each(|block| {
            if block.as_ref().is_some_and(|block| block[0] % 32 != 0) {
                *block = None;
            }
        });
        give_back();
        let pages_of_a_third = 20_000 * 1024 / 4096 / 3;
        assert!(resident() + pages_of_a_third < held, "{} of {held}", resident());
    }
}
