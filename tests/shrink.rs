//! `Runtime::shrink` gives back what a burst took. One test in a binary of its own, because it
//! counts the bytes of the whole process.

mod support;

use reveille::backend::{BackendKind, available};
use reveille::net::UnixStream;
use reveille::time::sleep;
use reveille::{Builder, Runtime, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{guarded, poll_once};

/// Counts the live bytes of all threads.
struct Counted;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments of the caller.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Connections of a burst. Each has a task and a timer.
const BURST: usize = 200;

/// What a mechanism may keep for each descriptor number. (io_uring: 98 bytes.)
const PER_NUMBER: usize = 128;

async fn burst() {
    let hour = Duration::from_secs(3600);
    let pairs: Vec<_> = (0..BURST)
        .map(|_| Rc::new(UnixStream::pair().unwrap()))
        .collect();
    let tasks = pairs.iter().cloned().map(|pair| {
        reveille::spawn(async move {
            let mut limit = Box::pin(sleep(hour));
            assert!(poll_once(&mut limit).await.is_pending());
            let mut byte = [0];
            pair.0.read(&mut byte).await.unwrap()
        })
    });
    let tasks: Vec<_> = tasks.collect();
    yield_now().await;
    for pair in pairs {
        pair.1.write_all(b"x").await.unwrap();
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
    // Their registrations are released at the end of a turn.
    sleep(Duration::from_millis(1)).await;
}

fn after_shrinking(runtime: &Runtime) -> usize {
    runtime.shrink();
    LIVE.load(Ordering::Relaxed)
}

#[test]
fn shrink_gives_back_the_memory_of_a_burst() {
    for kind in BackendKind::ALL {
        let is_here = available()
            .iter()
            .any(|one| one.kind() == kind && one.is_available());
        if !is_here {
            continue;
        }
        guarded(kind.name(), move || {
            let runtime = Builder::new().backend(kind).build().unwrap();
            runtime.block_on(sleep(Duration::from_millis(1)));
            let before = after_shrinking(&runtime);
            for _ in 0..2 {
                runtime.block_on(burst());
                let kept = LIVE.load(Ordering::Relaxed) - before;
                let left = after_shrinking(&runtime).saturating_sub(before);
                let most = 2 * BURST * PER_NUMBER;
                assert!(kept > left + 100 * BURST, "kept {kept}, left {left}");
                assert!(left <= most, "left {left} of {kept}, at most {most}");
            }
        });
    }
}
