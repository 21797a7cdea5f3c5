//! A global allocator that counts: only the binary `costs-alloc` uses it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// `realloc` is the default one, so a block that grows counts as a new one.
pub struct Counting;

// SAFETY: every call is passed on to `System` unchanged; the counters are only numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Allocations: the number of calls, the bytes in all, and the bytes less those freed.
///
/// All zero in a binary that does not use [`Counting`].
#[derive(Clone, Copy)]
pub struct Counts {
    pub allocs: u64,
    pub bytes: u64,
    pub live: i64,
}

fn now() -> Counts {
    let bytes = BYTES.load(Relaxed);
    Counts {
        allocs: CALLS.load(Relaxed),
        bytes,
        live: bytes as i64 - FREED.load(Relaxed) as i64,
    }
}

/// Counts from its creation to [`Meter::stop`].
pub struct Meter(Counts);

impl Meter {
    pub fn start() -> Meter {
        Meter(now())
    }

    pub fn stop(self) -> Counts {
        let (begin, end) = (self.0, now());
        Counts {
            allocs: end.allocs - begin.allocs,
            bytes: end.bytes - begin.bytes,
            live: end.live - begin.live,
        }
    }
}
