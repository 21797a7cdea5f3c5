//! A global allocator that counts: only the binary `peers-alloc` uses it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

pub struct Counting;

// SAFETY: every call is passed on to `System` unchanged; the counters are only numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
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

/// What was allocated since the start: calls, bytes in all, bytes that are live now.
///
/// All zero when the binary does not use [`Counting`].
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub calls: u64,
    pub bytes: u64,
    pub live: u64,
}

pub fn now() -> Counts {
    let bytes = BYTES.load(Relaxed);
    Counts {
        calls: COUNT.load(Relaxed),
        bytes,
        live: bytes - FREED.load(Relaxed),
    }
}

/// Whether the allocator counts in this binary (some allocation always precedes `main`'s body).
pub fn on() -> bool {
    COUNT.load(Relaxed) != 0
}
