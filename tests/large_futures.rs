//! Futures that fill nearly half of a stack of 2 MiB, the default size for a thread.

use reveille::{Runtime, block_on, spawn};
use std::future::poll_fn;
use std::hint::black_box;
use std::task::Poll;
use std::thread;

const STACK: usize = 2 << 20;
/// Sanitizers separate copies and add space around them, so their number of copies is not limited.
const SANITIZED_STACK: usize = 16 << 20;
const SIZE: usize = 896 << 10;

/// A future that holds an array across a poll.
async fn holds<const BYTES: usize>() -> u8 {
    let mut array = [7; BYTES];
    black_box(&mut array);
    let mut polled = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    black_box(&array);
    array[BYTES / 2]
}

/// Runs `work` on a thread with such a stack. If the stack overflows, the process aborts.
fn on_a_thread(work: fn()) {
    let is_sanitized = std::env::var_os("ASAN_OPTIONS").is_some();
    let size = if is_sanitized { SANITIZED_STACK } else { STACK };
    let thread = thread::Builder::new().stack_size(size).spawn(work);
    thread.unwrap().join().unwrap();
}

#[test]
fn block_on_takes_a_large_future() {
    on_a_thread(|| assert_eq!(block_on(holds::<SIZE>()), 7));
}

#[test]
fn runtime_block_on_takes_a_large_future() {
    on_a_thread(|| {
        let runtime = Runtime::new().unwrap();
        assert_eq!(runtime.block_on(holds::<SIZE>()), 7);
    });
}

#[test]
fn spawn_takes_a_large_future() {
    on_a_thread(|| block_on(async { assert_eq!(spawn(holds::<SIZE>()).await.unwrap(), 7) }));
}

#[test]
fn runtime_spawn_takes_a_large_future() {
    on_a_thread(|| {
        let runtime = Runtime::new().unwrap();
        let task = runtime.spawn(holds::<SIZE>());
        assert_eq!(runtime.block_on(task).unwrap(), 7);
    });
}

#[test]
fn handle_spawn_takes_a_large_future() {
    on_a_thread(|| {
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        // Outside of the runtime, by a message.
        let task = handle.spawn(holds::<SIZE>());
        assert_eq!(runtime.block_on(task).unwrap(), 7);
    });
    on_a_thread(|| {
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let inside = async { handle.spawn(holds::<SIZE>()).await.unwrap() };
        assert_eq!(runtime.block_on(inside), 7);
    });
}
