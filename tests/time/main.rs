//! `reveille::time`: no timer is early or lost, on any thread.
//!
//! The tests assert no upper bound on real time. A watchdog ends a test that hangs.

#[cfg(all(feature = "test-util", any(target_os = "linux", target_os = "android")))]
mod full_peers;
mod interval;
#[cfg(feature = "test-util")]
mod paused;
mod sleep;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod timeout;

use futures_core::{FusedStream, Stream};
use reveille::time::{
    Elapsed, Interval, MissedTickBehavior, Sleep, Timeout, interval, interval_at, now, sleep,
    sleep_until, timeout, timeout_at,
};
use reveille::{Runtime, block_on, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{Watchdog, wait as elsewhere};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a future on a new runtime. Ends the process if that hangs, as a lost wake does.
fn run<F: Future>(future: F) -> F::Output {
    let _watched = Watchdog::of_this_test();
    block_on(future)
}

/// As `run`, on a runtime whose clock is paused if the feature `test-util` is on: then the waits
/// take no time.
fn run_quickly<F: Future>(future: F) -> F::Output {
    let _watched = Watchdog::of_this_test();
    #[cfg(feature = "test-util")]
    let builder = reveille::Builder::new().start_paused(true);
    #[cfg(not(feature = "test-util"))]
    let builder = reveille::Builder::new();
    builder.build().unwrap().block_on(future)
}

/// Counts the wakes of a waker.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Polls once with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls once with the waker of the task.
async fn poll_here<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

fn panic_text(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it should have panicked");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn sleep_and_interval_are_plain_data() {
    fn plain<T: Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    plain::<Sleep>();
    plain::<Interval>();
    plain::<Timeout<Sleep>>();
    plain::<Elapsed>();
    plain::<MissedTickBehavior>();
    assert!(size_of::<Sleep>() <= 32);
}
