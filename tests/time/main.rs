//! `reveille::time`: nothing is early, nothing is lost, whoever polls, resets or drops it and wherever.
//!
//! No upper bound on real time is asserted but through the watchdog, which ends a test that hangs.

#[path = "../support/foreign.rs"]
mod foreign;
mod interval;
mod sleep;
mod threads;
mod timeout;

use foreign::wait as elsewhere;
use reveille::time::{
    Elapsed, Interval, MissedTickBehavior, Sleep, Timeout, interval, interval_at, now, sleep,
    sleep_until, timeout, timeout_at,
};
use reveille::{Runtime, block_on, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a future on a runtime of its own; ends the process if that takes a minute, for a lost wake hangs.
fn run<F: Future>(future: F) -> F::Output {
    let (done, watched) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("?").to_owned();
    thread::spawn(move || {
        if watched.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not by `eprintln!`: what that says is kept back until a test has ended.
            let _ = writeln!(io::stderr(), "{name} hangs");
            std::process::abort();
        }
    });
    let output = block_on(future);
    drop(done);
    output
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

/// Polls once with the task's own waker.
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
fn the_types_are_plain_data() {
    fn plain<T: Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    plain::<Sleep>();
    plain::<Interval>();
    plain::<Timeout<Sleep>>();
    plain::<Elapsed>();
    plain::<MissedTickBehavior>();
    assert!(size_of::<Sleep>() <= 32);
}
