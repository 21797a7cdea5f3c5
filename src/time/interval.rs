//! [`Interval`]: ticks at a fixed period, and what becomes of those that were missed.

use super::sleep::{Sleep, sleep_until};
use crate::budget;
use crate::reactor::clock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Returns an [`Interval`] that ticks every `period`, the first time at once.
///
/// # Panics
///
/// When `period` is zero.
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
    Interval::new(Sleep::passed(clock::now()), period)
}

/// Returns an [`Interval`] that ticks every `period`, the first time at `start`.
///
/// # Panics
///
/// When `period` is zero.
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

/// Ticks at a fixed period; made by [`interval`] and [`interval_at`].
///
/// A tick is due a period after the one before was *due*, not after it was taken, so ticks do not drift. One that is
/// taken late changes what follows as [`MissedTickBehavior`] says.
#[derive(Debug)]
pub struct Interval {
    /// Until the next tick.
    delay: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    #[track_caller]
    fn new(delay: Sleep, period: Duration) -> Interval {
        assert!(
            !period.is_zero(),
            "the period of an interval must not be zero"
        );
        Interval {
            delay,
            period,
            missed: MissedTickBehavior::default(),
        }
    }

    /// Waits for the next tick and returns when it was due.
    ///
    /// # Cancel safety
    ///
    /// A tick is taken only by the call that returns it: if this is dropped before, the next call gets it.
    ///
    /// # Panics
    ///
    /// As [`Sleep`] does.
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

    /// Polls for the next tick; returns when it was due.
    ///
    /// # Panics
    ///
    /// As [`Sleep`] does.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(budget::check(cx));
        ready!(self.delay.poll_timer(cx));
        budget::spend();
        let (due, now) = (self.delay.deadline(), clock::now());
        let next = self.missed.next(due, now, self.period);
        self.delay.reset_at(next, now);
        Poll::Ready(due)
    }

    /// Makes the next tick due a period from now.
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
        let now = clock::now();
        self.delay.reset_at(now, now);
    }

    /// Makes the next tick due `duration` from now, and those after it a period apart.
    pub fn reset_after(&mut self, duration: Duration) {
        let now = clock::now();
        self.delay.reset_at(clock::later(now, duration), now);
    }

    /// Makes the next tick due at `deadline`, and those after it a period apart.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.delay.reset(deadline);
    }

    /// Returns the period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns what becomes of missed ticks.
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets what becomes of missed ticks.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

/// When an [`Interval`] ticks again after a tick was taken too late.
///
/// With a period of 10, and work that keeps the task from 22 to 45:
///
/// ```text
/// due    10    20    30    40    50    60    70
/// Burst  |10   |20 xxxxxxxxxx 30,40 |50   |60   |70     catches up
/// Delay  |10   |20 xxxxxxxxxx 30    |55   |65   |75     goes on from there
/// Skip   |10   |20 xxxxxxxxxx 30 |50   |60   |70        leaves out what has passed
/// ```
///
/// Too late is by more than 5 ms, or by the period if that is shorter; a little lateness never moves what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MissedTickBehavior {
    /// Ticks without pause until it has caught up: as many ticks as there would have been. The default.
    #[default]
    Burst,
    /// Ticks a period after the late tick was taken, and goes on from there.
    Delay,
    /// Ticks at the next of the instants at which it would have ticked anyway.
    Skip,
}

/// What counts as late.
const GRACE: Duration = Duration::from_millis(5);

impl MissedTickBehavior {
    /// When the next tick is due, if the one due at `due` is taken at `now`.
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

/// `late` modulo `period`.
fn remainder(late: Duration, period: Duration) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    let rest = late.as_nanos() % period.as_nanos();
    Duration::new((rest / NANOS) as u64, (rest % NANOS) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    /// When the tick after the one due at 20 ms is due, in microseconds, if that one is taken at `taken`.
    fn next(behavior: MissedTickBehavior, taken: u64, period: Duration) -> u128 {
        let start = clock::now();
        let due = start + Duration::from_millis(20);
        let next = behavior.next(due, start + Duration::from_micros(taken), period);
        (next - start).as_micros()
    }

    #[test]
    fn a_tick_in_time_is_followed_a_period_after_it_was_due() {
        for behavior in [
            MissedTickBehavior::Burst,
            MissedTickBehavior::Delay,
            MissedTickBehavior::Skip,
        ] {
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
    fn a_late_tick_is_followed_as_the_behavior_says() {
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
    fn a_period_shorter_than_the_grace_is_not_caught_up_in_its_name() {
        let period = Duration::from_millis(1);
        assert_eq!(next(MissedTickBehavior::Skip, 23_500, period), 24_000);
        assert_eq!(next(MissedTickBehavior::Delay, 23_500, period), 24_500);
        assert_eq!(next(MissedTickBehavior::Delay, 20_900, period), 21_000);
    }

    #[test]
    fn a_huge_period_is_never() {
        let now = clock::now();
        for behavior in [
            MissedTickBehavior::Burst,
            MissedTickBehavior::Delay,
            MissedTickBehavior::Skip,
        ] {
            let next = behavior.next(now, now + Duration::from_secs(60), Duration::MAX);
            assert!(next > now + Duration::from_secs(3_000_000_000));
        }
    }
}
