//! Waiting for time to pass: [`sleep`], [`timeout`], [`interval`].
//!
//! | to | use |
//! |---|---|
//! | wait once | [`sleep`], [`sleep_until`] |
//! | give up on a future | [`timeout`], [`timeout_at`] |
//! | do something again and again | [`interval`], [`interval_at`] |
//! | ask what time it is | [`now`] |
//!
//! Names and meanings are tokio's, with [`std::time::Instant`] for instants. What differs:
//!
//! - timers are not counted in milliseconds: the runtime's tick is 16.384 microseconds unless
//!   [`Builder::timer_tick`](crate::Builder::timer_tick) says otherwise, and what is added to that is the kernel's own
//!   slack;
//! - a [`Sleep`] is plain data of 24 bytes and [`Unpin`]; it needs no box and no pin to be polled by reference or
//!   [reset](Sleep::reset);
//! - the time of a [`timeout`] starts when its future first has to wait, so a future that is ready at once costs
//!   neither a look at the clock nor a timer.
//!
//! Nothing is ever early: a timer fires at its deadline or later. A duration that no clock can hold is *never*, not a
//! panic.
//!
//! # Threads
//!
//! A timer belongs to the runtime that runs where it is **first polled**; making one needs no runtime. From then on
//! it may be moved, polled, reset and dropped on any thread. Polled elsewhere it costs a message to its runtime, and
//! when that is gone a timer that has not come due panics, for nothing would ever wake it.

#![forbid(unsafe_code)]

mod interval;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

#[doc(no_inline)]
pub use std::time::{Duration, Instant};

/// Returns the time now, by the clock that every timer goes by.
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
