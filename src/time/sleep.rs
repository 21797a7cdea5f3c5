//! [`Sleep`]: a future that is ready when an instant has come.

use crate::budget;
use crate::reactor::armed::Timer;
use crate::reactor::clock::Moment;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Waits until `duration` has passed since this call.
///
/// The clock is read here, not when the future is first polled. A duration that the clock cannot hold is *never*; one
/// of zero is ready at once.
///
/// # Cancel safety
///
/// Dropping the future takes the timer off and has no other effect.
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
pub fn sleep(duration: Duration) -> Sleep {
    Sleep {
        deadline: Moment::after(duration),
        timer: Timer::known(duration.is_zero()),
    }
}

/// Waits until `deadline` has come; one that has passed already is no error.
///
/// # Cancel safety
///
/// Dropping the future takes the timer off and has no other effect.
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
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline: Moment::of(deadline),
        timer: Timer::new(),
    }
}

/// A future that is ready when its deadline has come; made by [`sleep`] and [`sleep_until`].
///
/// It is plain data: [`Unpin`], [`Send`], [`Sync`] and 24 bytes. So it may be polled by reference in a loop, and what
/// is written for tokio's pinned one compiles too: `sleep.as_mut().reset(deadline)`.
///
/// The timer is armed by the first poll, with the runtime that runs there. Polled again after it was ready, it is
/// ready again.
///
/// # Panics
///
/// Its first poll panics where no runtime runs, unless the duration was zero. A later poll panics when the deadline
/// has not come and the runtime that the timer was armed on is gone.
///
/// # Examples
///
/// One timer that is moved each time something happens:
///
/// ```
/// use reveille::time::{Duration, now, sleep};
///
/// reveille::block_on(async {
///     let mut idle = sleep(Duration::from_secs(3600));
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

// Thousands of them are kept in tasks and intervals.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Sleep>() <= 24);

impl Sleep {
    /// A sleep until an instant that has come, as the caller knows.
    #[inline]
    pub(super) fn passed(deadline: Instant) -> Sleep {
        Sleep {
            deadline: Moment::of(deadline),
            timer: Timer::known(true),
        }
    }

    /// Returns the instant at which the future gets ready.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline.instant()
    }

    /// Returns whether the deadline has come, polled or not. Reads the clock.
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
        Moment::now() >= self.deadline
    }

    /// Moves the deadline, earlier or later, before or after the future was ready.
    ///
    /// An armed timer stays armed: the task that polled it last is woken at the new deadline without another poll. To
    /// a later deadline this is one store.
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
        self.timer.reset(self.deadline, false);
    }

    /// As [`reset`](Sleep::reset) by a caller that has read the clock.
    #[inline]
    pub(super) fn reset_at(&mut self, deadline: Instant, now: Instant) {
        self.deadline = Moment::of(deadline);
        self.timer.reset(self.deadline, deadline <= now);
    }

    /// Polls without a look at the task's budget.
    #[inline]
    pub(super) fn poll_timer(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.timer.poll(self.deadline, cx)
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(budget::check(cx));
        ready!(self.poll_timer(cx));
        budget::spend();
        Poll::Ready(())
    }
}
