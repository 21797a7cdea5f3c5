//! [`pause`], [`resume`] and [`advance`]: the clock of a runtime under the control of a test.

use crate::reactor::driver::CURRENT;
use crate::reactor::registration::NO_RUNTIME;
use crate::task::yield_now;
use std::time::Duration;

/// Pauses the clock of this runtime (feature `test-util`).
///
/// The clock then stands still, and moves in two ways only:
///
/// - [`advance`] moves it forward.
/// - When nothing else is left to do, it jumps to the next deadline. So a test that waits for a day
///   takes milliseconds. [`Builder::auto_advance`](crate::Builder::auto_advance) turns this off.
///
/// [`resume`] makes it run on from where it stands.
/// [`Builder::start_paused`](crate::Builder::start_paused) pauses it from the beginning. Each
/// runtime has its own clock.
///
/// | obeys the paused clock | stays in real time |
/// |---|---|
/// | [`now`](super::now) | [`Instant::now`](std::time::Instant::now) and `Instant::elapsed`: use `now()` and `now() - start` |
/// | [`sleep`](fn@super::sleep), [`timeout`](fn@super::timeout), [`interval`](fn@super::interval) | callback loops ([`event_loop`](crate::event_loop)) |
/// | a [`Sleep`](super::Sleep) or [`Interval`](super::Interval) of the runtime on any thread | [`Builder::blocking_keep_alive`](crate::Builder::blocking_keep_alive) and [`spin_before_park`](crate::Builder::spin_before_park) |
/// | the pauses of `accept` without free descriptors, the delays between two attempts of `connect`, the pauses of a `UnixDatagram` whose peer is full | the limit of [`Runtime::turn`](crate::Runtime::turn), and the result of [`next_deadline`](crate::Runtime::next_deadline) |
///
/// Timers fire exactly at their deadlines: [`timer_tick`](crate::Builder::timer_tick) has no effect
/// while the clock is paused. Only a timer that was set before this call may be up to one tick
/// late.
///
/// A `Sleep` counts from the clock of the runtime in which it is *created*. Outside of a runtime
/// that is the real time, as in `runtime.block_on(sleep(hour))`: write
/// `runtime.block_on(async { sleep(hour).await })`.
///
/// # When the clock jumps
///
/// The clock jumps to the next deadline when all of this is true:
///
/// - No task is runnable, and no other thread has sent anything.
/// - No closure of [`spawn_blocking`](crate::spawn_blocking) and no look-up of a host name is
///   unfinished.
/// - Two polls of the kernel, with a yield of the thread between them, have found no event. So data
///   that is on its way between two sockets of this runtime arrives first.
///
/// The runtime cannot see whether another thread or process is about to answer. Such a peer takes a
/// moment, and every timer is faster: a `timeout` around a request to it ends at once. In a test
/// with such a peer turn `auto_advance` off, or pause the clock after the answer has come.
///
/// # Panics
///
/// If no runtime runs on this thread, or if its clock is paused already.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, interval, now, pause, sleep, timeout};
///
/// reveille::block_on(async {
///     pause();
///     let (start, hour) = (now(), Duration::from_secs(3600));
///     let mut ticks = interval(hour);
///     for _ in 0..24 {
///         ticks.tick().await;
///     }
///     assert_eq!(now() - start, 23 * hour); // the first tick is at once
///     assert!(timeout(hour, sleep(2 * hour)).await.is_err());
///     assert_eq!(now() - start, 24 * hour);
/// });
/// ```
#[track_caller]
pub fn pause() {
    match CURRENT.with(|driver| driver.map(|driver| driver.pause())) {
        Some(true) => {}
        Some(false) => panic!(
            "`time::pause` was called although the runtime's clock is paused already, by an earlier call or by \
             `Builder::start_paused`"
        ),
        None => panic!("{NO_RUNTIME}"),
    }
}

/// Makes the paused clock of this runtime run on (feature `test-util`).
///
/// It continues from the instant at which it stands, at the speed of real time. Timers that are set
/// keep their deadlines.
///
/// # Panics
///
/// If no runtime runs on this thread, or if its clock is not paused.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, now, pause, resume, sleep};
/// use std::time::Instant;
///
/// reveille::block_on(async {
///     pause();
///     let hour = sleep(Duration::from_secs(3600));
///     sleep(Duration::from_millis(3_599_999)).await; // takes no time
///     let start = Instant::now();
///     resume();
///     hour.await; // waits for the last millisecond
///     assert!(start.elapsed() >= Duration::from_millis(1));
/// });
/// ```
#[track_caller]
pub fn resume() {
    match CURRENT.with(|driver| driver.map(|driver| driver.resume_clock())) {
        Some(true) => {}
        Some(false) => {
            panic!("`time::resume` was called although the runtime's clock is not paused")
        }
        None => panic!("{NO_RUNTIME}"),
    }
}

/// Moves the paused clock of this runtime forward (feature `test-util`).
///
/// Everything that is due by then is woken, in the order of the deadlines. Before this function
/// returns, each task that was woken has been polled once. A task that is woken reads the new time:
/// the clock does not stop in between. To go through the deadlines one by one, use
/// [`sleep`](fn@super::sleep).
///
/// # Panics
///
/// If no runtime runs on this thread, if its clock is not paused, or if the clock cannot represent
/// the new time.
///
/// # Cancel safety
///
/// The clock is moved by the first poll. If the future is dropped after it, the tasks that were
/// woken run later.
///
/// # Examples
///
/// ```
/// use reveille::Builder;
/// use reveille::time::{Duration, advance, sleep};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = Builder::new().start_paused(true).auto_advance(false).build()?;
/// runtime.block_on(async {
///     let task = reveille::spawn(sleep(Duration::from_secs(10)));
///     reveille::yield_now().await; // the task sets its timer
///     advance(Duration::from_secs(9)).await;
///     assert!(!task.is_finished());
///     advance(Duration::from_secs(1)).await;
///     assert!(task.is_finished());
/// });
/// # Ok(())
/// # }
/// ```
pub async fn advance(duration: Duration) {
    match CURRENT.with(|driver| driver.map(|driver| driver.advance(duration))) {
        Some(true) => {}
        Some(false) => panic!(
            "`time::advance` was called although the runtime's clock is not paused: call `time::pause` first, or build \
             the runtime with `Builder::start_paused`"
        ),
        None => panic!("{NO_RUNTIME}"),
    }
    // The tasks that were woken are in the queue before this one.
    yield_now().await;
}
