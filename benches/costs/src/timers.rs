//! One timer, alone and among many; resets; a timeout that is not needed; a sleep that is awaited.

use crate::count::{Counts, Meter};
use crate::tasks::in_task;
use reveille::time::{self, Sleep};
use std::future::{Future, poll_fn, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Calls `f` in a poll of the task.
pub async fn in_poll<T>(f: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut f = Some(f);
    poll_fn(|cx| Poll::Ready(f.take().expect("polled once")(cx))).await
}

/// `k` others that end between five seconds and an hour from now: some before, most after the ten
/// seconds of the one that is measured. They are not awaited.
fn others(k: u64) -> Vec<Pin<Box<Sleep>>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    (0..k)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let us = 5_000_000 + random % 3_600_000_000;
            let mut sleep = Box::pin(time::sleep(Duration::from_micros(us)));
            assert!(sleep.as_mut().poll(&mut cx).is_pending());
            sleep
        })
        .collect()
}

/// Create, poll once, drop, among `k` others.
pub fn timer(n: u64, k: u64) -> Counts {
    in_task(async move {
        let others = others(k);
        time::sleep(Duration::from_millis(1)).await;
        let counts = in_poll(|cx| {
            let meter = Meter::start();
            for _ in 0..n {
                let mut sleep = pin!(time::sleep(Duration::from_secs(10)));
                assert!(sleep.as_mut().poll(cx).is_pending());
            }
            meter.stop()
        })
        .await;
        drop(others);
        counts
    })
}

/// `timeout` around a future that is ready at once.
pub fn timeout_ready(n: u64) -> Counts {
    in_task(async move {
        let meter = Meter::start();
        for _ in 0..n {
            let mut timeout = pin!(time::timeout(black_box(Duration::from_secs(10)), ready(())));
            // Through an opaque pointer, so that the future exists.
            let done = poll_fn(|cx| black_box(timeout.as_mut()).poll(cx)).await;
            assert!(done.is_ok());
        }
        meter.stop()
    })
}

/// An armed timer to other deadlines; the clock is not read.
fn resets(n: u64, next: fn(Instant) -> Instant) -> Counts {
    in_task(async move {
        let mut deadline = time::now() + Duration::from_secs(3_600);
        let mut sleep = time::sleep_until(deadline);
        in_poll(|cx| {
            assert!(pin!(&mut sleep).poll(cx).is_pending());
            let meter = Meter::start();
            for _ in 0..n {
                deadline = next(deadline);
                black_box(&mut sleep).reset(deadline);
            }
            meter.stop()
        })
        .await
    })
}

pub fn reset_later(n: u64) -> Counts {
    resets(n, |deadline| deadline + Duration::from_micros(100))
}

pub fn reset_earlier(n: u64) -> Counts {
    resets(n, |deadline| deadline - Duration::from_micros(100))
}

/// Sleeps for one millisecond, again and again, with nothing else to do.
pub fn sleep(n: u64) -> Counts {
    reveille::block_on(async move {
        let meter = Meter::start();
        for _ in 0..n {
            time::sleep(Duration::from_millis(1)).await;
        }
        meter.stop()
    })
}
