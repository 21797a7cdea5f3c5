//! Waiting for time to pass: [`sleep`](fn@sleep), [`timeout`](fn@timeout),
//! [`interval`](fn@interval).
//!
//! | to | use |
//! |---|---|
//! | wait once | [`sleep`](fn@sleep), [`sleep_until`] |
//! | give up on a future | [`timeout`](fn@timeout), [`timeout_at`] |
//! | do something again and again | [`interval`](fn@interval), [`interval_at`] |
//! | read the clock | [`now`] |
#![cfg_attr(
    feature = "test-util",
    doc = "| control the clock in a test | [`pause`], [`resume`], [`advance`] |"
)]
//!
//! Names and meanings are tokio's, with [`std::time::Instant`] for instants. The differences:
//!
//! - The unit of the timers is 16.384 microseconds by default, not a millisecond; see
//!   [`Builder::timer_tick`](crate::Builder::timer_tick). The kernel's timer slack comes on top.
//! - A [`Sleep`] is plain data of 24 bytes and [`Unpin`]. It can be polled by reference and
//!   [reset](Sleep::reset) without a box or a pin.
//! - The time of a [`timeout`](fn@timeout) starts when its future first has to wait. A future that
//!   is ready at once reads no clock and sets no timer.
//!
//! A timer fires at its deadline or later, never earlier. A timer whose duration the clock cannot
//! represent never fires, and does not panic.
//!
//! # Threads
//!
//! Creating a timer needs no runtime. It belongs to the runtime in which it is **first polled**,
//! even after it has fired and was reset. From then on it may be moved, polled, reset and dropped
//! on any thread, inside or outside a runtime. A poll on another thread sends a message to the
//! timer's runtime. If that runtime is gone, polling a timer that is not due panics, because
//! nothing would ever wake the task.
#![forbid(unsafe_code)]

mod interval;
#[cfg(feature = "test-util")]
mod pausing;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
#[cfg(feature = "test-util")]
pub use pausing::{advance, pause, resume};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

#[doc(no_inline)]
pub use std::time::{Duration, Instant};

/// Returns the current instant of the clock that all timers use.
///
/// That is [`Instant::now`], unless the runtime's clock has been paused (feature `test-util`). The
/// runtime is the one that this thread is inside of. Outside of a runtime it is `Instant::now`.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, now, sleep_until};
///
/// reveille::block_on(async {
///     let deadline = now() + Duration::from_millis(1);
///     sleep_until(deadline).await;
///     assert!(now() >= deadline);
/// });
/// ```
#[inline]
#[must_use]
pub fn now() -> Instant {
    crate::reactor::clock::now()
}
