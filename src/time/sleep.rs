//! [`Sleep`]: a future that waits until an instant.

use crate::budget;
use crate::place::{Place, is_tracked};
use crate::reactor::clock::{self, Moment};
use crate::reactor::timer::{Deadline, Timer};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Waits until `duration` has passed since this call.
///
/// The clock is read by this call, not by the first poll. A duration of zero is ready at once. A
/// duration that the clock cannot represent never ends.
///
/// # Cancel safety
///
/// Cancel safe. Dropping the future removes the timer and has no other effect.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, now, sleep};
///
/// reveille::block_on(async {
///     let start = now();
///     sleep(Duration::from_millis(1)).await;
///     assert!(start.elapsed() >= Duration::from_millis(1));
/// });
/// ```
#[inline]
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    if is_tracked() {
        return sleep_of(duration, Location::caller());
    }
    Sleep::after(duration, Place::UNKNOWN)
}

/// As [`sleep`], while places are tracked. A function of its own, because a place that is known
/// or not would cost a sleep 8 of 225 instructions.
#[cold]
#[inline(never)]
fn sleep_of(duration: Duration, location: &'static Location<'static>) -> Sleep {
    Sleep::after(duration, Place::of(location))
}

/// Waits until `deadline`. A deadline in the past is ready at once.
///
/// # Cancel safety
///
/// Cancel safe. Dropping the future removes the timer and has no other effect.
///
/// # Examples
///
/// ```
/// use reveille::time::{now, sleep_until};
///
/// reveille::block_on(async {
///     sleep_until(now()).await;
/// });
/// ```
#[inline]
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline: Moment::of(deadline),
        timer: Timer::new(Deadline::Given, Place::here()),
    }
}

/// A future that waits until its deadline. Returned by [`sleep`] and [`sleep_until`].
///
/// It is plain data of 24 bytes: [`Unpin`], [`Send`] and [`Sync`]. It can be polled by reference in
/// a loop. Code for tokio's pinned `Sleep` compiles too: `sleep.as_mut().reset(deadline)`.
///
/// The first poll sets the timer, in the runtime that runs on this thread. A `Sleep` that has been
/// ready stays ready until it is reset.
///
/// # Panics
///
/// | poll | panics if |
/// |---|---|
/// | the first | no runtime runs on this thread, unless the duration was zero |
/// | a later one | the deadline is in the future and the timer's runtime is gone |
///
/// # Examples
///
/// A timer that is moved each time something happens:
///
/// ```
/// use reveille::time::{Duration, Sleep, now, sleep};
///
/// reveille::block_on(async {
///     let mut idle: Sleep = sleep(Duration::from_secs(3600));
///     for _ in 0..3 {
///         // ... something happened ...
///         idle.reset(now() + Duration::from_millis(1));
///     }
///     (&mut idle).await;
///     assert!(idle.is_elapsed());
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: Moment,
    timer: Timer,
}

// Programs keep thousands of them, in tasks and intervals.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Sleep>() <= 24);

impl Sleep {
    /// As [`sleep`], with the place where it was created.
    #[inline]
    pub(super) fn after(duration: Duration, place: Place) -> Sleep {
        let known = if duration.is_zero() {
            Deadline::Passed
        } else {
            Deadline::Ahead
        };
        Sleep {
            deadline: Moment::after(duration),
            timer: Timer::new(known, place),
        }
    }

    /// Returns a sleep until an instant that the caller knows to be past.
    #[inline]
    pub(super) fn passed(deadline: Instant, place: Place) -> Sleep {
        Sleep {
            deadline: Moment::of(deadline),
            timer: Timer::new(Deadline::Passed, place),
        }
    }

    /// Returns the deadline.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline.instant()
    }

    /// Returns true if the deadline has passed, whether or not the future was polled. Reads the
    /// clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, sleep};
    ///
    /// assert!(!sleep(Duration::MAX).is_elapsed());
    /// assert!(sleep(Duration::ZERO).is_elapsed());
    /// ```
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        self.timer.now() >= self.deadline
    }

    /// Moves the deadline to an earlier or later instant, before or after the future is ready.
    ///
    /// A timer that is set stays set: the task that polled it last is woken at the new deadline,
    /// without another poll. Moving it to a later deadline is one store. After a reset to an
    /// instant in the past, the next poll is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, now, sleep};
    /// use std::pin::pin;
    ///
    /// reveille::block_on(async {
    ///     let mut sleep = pin!(sleep(Duration::from_secs(3600)));
    ///     sleep.as_mut().reset(now() + Duration::from_millis(1));
    ///     sleep.await;
    /// });
    /// ```
    #[inline]
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = Moment::of(deadline);
        self.timer.reset(self.deadline, Deadline::Given);
    }

    /// Same as [`reset`](Sleep::reset), for a caller that has read the clock.
    #[inline]
    pub(super) fn reset_at(&mut self, deadline: Instant, now: Instant) {
        self.deadline = Moment::of(deadline);
        let known = if deadline <= now {
            Deadline::Passed
        } else {
            Deadline::Ahead
        };
        self.timer.reset(self.deadline, known);
    }

    /// Returns the present of the clock that the sleep uses.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        if clock::is_monotonic() {
            return clock::monotonic();
        }
        self.timer.now().instant()
    }

    /// Returns ready if the task has budget left. Otherwise this still counts as the first poll:
    /// the timer belongs to the runtime of this thread from now on.
    #[inline]
    pub(super) fn check_budget(&mut self, cx: &Context<'_>) -> Poll<()> {
        let checked = budget::check(cx);
        if checked.is_pending() {
            self.timer.claim();
        }
        checked
    }

    /// Polls the timer without checking the task's budget.
    #[inline]
    pub(super) fn poll_timer(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.timer.poll(self.deadline, cx)
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.check_budget(cx));
        ready!(self.poll_timer(cx));
        budget::spend();
        Poll::Ready(())
    }
}
