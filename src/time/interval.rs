//! [`Interval`]: ticks at a fixed period, and [`MissedTickBehavior`]: what follows a late tick.

use super::sleep::{Sleep, sleep_until};
use crate::budget;
use crate::place::Place;
use crate::reactor::clock;
use futures_core::{FusedStream, Stream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Returns an [`Interval`] that ticks every `period`. The first tick is due at once.
///
/// # Panics
///
/// Panics if `period` is zero.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, interval};
///
/// reveille::block_on(async {
///     let mut interval = interval(Duration::from_millis(1));
///     let first = interval.tick().await;
///     let second = interval.tick().await;
///     assert_eq!(second - first, Duration::from_millis(1));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    Interval::new(Sleep::passed(clock::now(), Place::here()), period)
}

/// Returns an [`Interval`] that ticks every `period`. The first tick is due at `start`.
///
/// # Panics
///
/// Panics if `period` is zero.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, interval_at, now};
///
/// reveille::block_on(async {
///     let start = now() + Duration::from_millis(1);
///     let mut interval = interval_at(start, Duration::from_millis(1));
///     assert_eq!(interval.tick().await, start);
///     assert_eq!(interval.tick().await, start + Duration::from_millis(1));
/// });
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval::new(sleep_until(start), period)
}

/// Ticks at a fixed period. Returned by [`interval`] and [`interval_at`].
///
/// A tick is due one period after the previous tick was *due*, not after it was taken, so ticks do
/// not drift. What follows a tick that is taken late is set by [`MissedTickBehavior`].
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, MissedTickBehavior, interval, now};
///
/// reveille::block_on(async {
///     let mut interval = interval(Duration::from_secs(3600));
///     interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
///     assert_eq!(interval.missed_tick_behavior(), MissedTickBehavior::Skip);
///     assert_eq!(interval.period(), Duration::from_secs(3600));
///     interval.tick().await;
///
///     // The next tick is due in one millisecond instead of one hour.
///     interval.reset_after(Duration::from_millis(1));
///     interval.tick().await;
///     interval.reset_at(now() + Duration::from_millis(1));
///     interval.tick().await;
///     // The next tick is due one period from now.
///     interval.reset();
/// });
/// ```
///
/// An interval is also a [`Stream`], without a wrapper. Its items are the instants at which the
/// ticks were due, and it never ends. With the crate `futures`, `interval.next().await` waits for a
/// tick, and `select!` takes `interval.select_next_some()`. Without that crate:
///
/// ```
/// use futures_core::Stream;
/// use reveille::time::{Duration, interval};
/// use std::future::poll_fn;
/// use std::pin::Pin;
///
/// reveille::block_on(async {
///     let mut interval = interval(Duration::from_millis(1));
///     for _ in 0..3 {
///         let due = poll_fn(|cx| Pin::new(&mut interval).poll_next(cx)).await;
///         assert!(due.is_some());
///     }
/// });
/// ```
#[derive(Debug)]
pub struct Interval {
    /// Ends when the next tick is due.
    delay: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    #[track_caller]
    fn new(delay: Sleep, period: Duration) -> Interval {
        assert!(
            !period.is_zero(),
            "the period of an interval is zero: use a longer one"
        );
        Interval {
            delay,
            period,
            missed: MissedTickBehavior::default(),
        }
    }

    /// Waits for the next tick and returns when it was due.
    ///
    /// # Panics
    ///
    /// Panics in the same cases as a poll of [`Sleep`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. If the future is dropped, the next call returns the same tick.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, interval};
    ///
    /// reveille::block_on(async {
    ///     let mut interval = interval(Duration::from_millis(1));
    ///     for _ in 0..3 {
    ///         interval.tick().await;
    ///     }
    /// });
    /// ```
    pub async fn tick(&mut self) -> Instant {
        std::future::poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Polls for the next tick, and returns when it was due.
    ///
    /// # Panics
    ///
    /// Panics in the same cases as a poll of [`Sleep`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, interval, now};
    /// use std::future::poll_fn;
    ///
    /// reveille::block_on(async {
    ///     let mut interval = interval(Duration::from_millis(1));
    ///     let due = poll_fn(|cx| interval.poll_tick(cx)).await;
    ///     assert!(due <= now());
    /// });
    /// ```
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(self.delay.check_budget(cx));
        ready!(self.delay.poll_timer(cx));
        budget::spend();
        let (due, now) = (self.delay.deadline(), self.delay.now());
        let next = self.missed.next(due, now, self.period);
        self.delay.reset_at(next, now);
        Poll::Ready(due)
    }

    /// Makes the next tick due one period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// Makes the next tick due now.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, interval};
    ///
    /// reveille::block_on(async {
    ///     let mut interval = interval(Duration::from_secs(3600));
    ///     interval.tick().await;
    ///     interval.reset_immediately();
    ///     interval.tick().await;
    /// });
    /// ```
    pub fn reset_immediately(&mut self) {
        let now = self.delay.now();
        self.delay.reset_at(now, now);
    }

    /// Makes the next tick due `duration` from now. Later ticks follow at the period.
    pub fn reset_after(&mut self, duration: Duration) {
        let now = self.delay.now();
        self.delay.reset_at(clock::later(now, duration), now);
    }

    /// Makes the next tick due at `deadline`. Later ticks follow at the period.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.delay.reset(deadline);
    }

    /// Returns the period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns how late ticks are handled.
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets how late ticks are handled. The default is [`Burst`](MissedTickBehavior::Burst).
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

/// The ticks, without an end.
impl Stream for Interval {
    type Item = Instant;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.get_mut().poll_tick(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl FusedStream for Interval {
    fn is_terminated(&self) -> bool {
        false
    }
}

/// How an [`Interval`] continues after a tick that was taken late.
///
/// With a period of 10, and a task that is busy from 22 to 45:
///
/// ```text
/// due    10    20    30    40    50    60    70
/// Burst  |10   |20 xxxxxxxxxx 30,40 |50   |60   |70     catches up
/// Delay  |10   |20 xxxxxxxxxx 30    |55   |65   |75     continues from there
/// Skip   |10   |20 xxxxxxxxxx 30 |50   |60   |70        leaves out what has passed
/// ```
///
/// A tick counts as late if it is taken more than 5 ms after it was due, or more than one period if
/// that is shorter. A tick that is taken earlier never moves the next one.
///
/// # Examples
///
/// See [`Interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MissedTickBehavior {
    /// Ticks without a pause until it has caught up, so that no tick is left out. This is the
    /// default.
    #[default]
    Burst,
    /// Ticks one period after the late tick was taken, and continues from there.
    Delay,
    /// Leaves out the ticks that have passed, and keeps the instants of the later ones.
    Skip,
}

/// A tick that is taken at most this late is on time. tokio uses the same number.
const GRACE: Duration = Duration::from_millis(5);

impl MissedTickBehavior {
    /// Returns when the next tick is due, if the tick that was due at `due` is taken at `now`.
    fn next(self, due: Instant, now: Instant, period: Duration) -> Instant {
        let late = now.saturating_duration_since(due);
        let regular = clock::later(due, period);
        if late <= period.min(GRACE) {
            return regular;
        }
        match self {
            MissedTickBehavior::Burst => regular,
            MissedTickBehavior::Delay => clock::later(now, period),
            MissedTickBehavior::Skip => clock::later(now, period - remainder(late, period)),
        }
    }
}

/// Returns `late` modulo `period`.
fn remainder(late: Duration, period: Duration) -> Duration {
    const NANOS_PER_SECOND: u128 = 1_000_000_000;
    let rest = late.as_nanos() % period.as_nanos();
    let (seconds, nanos) = (rest / NANOS_PER_SECOND, rest % NANOS_PER_SECOND);
    Duration::new(seconds as u64, nanos as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    const BEHAVIORS: [MissedTickBehavior; 3] = [
        MissedTickBehavior::Burst,
        MissedTickBehavior::Delay,
        MissedTickBehavior::Skip,
    ];

    /// Takes the tick that is due at 20 ms at `taken` microseconds. Returns when the next one is
    /// due, in microseconds.
    fn next(behavior: MissedTickBehavior, taken: u64, period: Duration) -> u128 {
        let start = clock::now();
        let due = start + Duration::from_millis(20);
        let next = behavior.next(due, start + Duration::from_micros(taken), period);
        (next - start).as_micros()
    }

    #[test]
    fn next_after_a_tick_in_time_is_one_period_later() {
        for behavior in BEHAVIORS {
            for taken in [19_000, 20_000, 20_001, 25_000] {
                assert_eq!(
                    next(behavior, taken, PERIOD),
                    30_000,
                    "{behavior:?} {taken}"
                );
            }
        }
    }

    #[test]
    fn next_after_a_late_tick_depends_on_the_behavior() {
        for (taken, delay, skip) in [
            (25_001, 35_001, 30_000),
            (29_999, 39_999, 30_000),
            (30_000, 40_000, 40_000),
            (45_000, 55_000, 50_000),
            (1_020_000, 1_030_000, 1_030_000),
        ] {
            assert_eq!(next(MissedTickBehavior::Burst, taken, PERIOD), 30_000);
            assert_eq!(next(MissedTickBehavior::Delay, taken, PERIOD), delay);
            assert_eq!(next(MissedTickBehavior::Skip, taken, PERIOD), skip);
        }
    }

    #[test]
    fn next_after_a_late_tick_of_a_short_period() {
        let period = Duration::from_millis(1);
        assert_eq!(next(MissedTickBehavior::Skip, 23_500, period), 24_000);
        assert_eq!(next(MissedTickBehavior::Delay, 23_500, period), 24_500);
        assert_eq!(next(MissedTickBehavior::Delay, 20_900, period), 21_000);
    }

    #[test]
    fn next_with_a_huge_period_is_never() {
        let now = clock::now();
        for behavior in BEHAVIORS {
            let next = behavior.next(now, now + Duration::from_secs(60), Duration::MAX);
            assert!(next > now + Duration::from_secs(3_000_000_000));
        }
    }
}
