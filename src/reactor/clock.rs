//! The one clock: everything that asks for the time asks here.
//!
//! The API speaks [`Instant`]; inside, time is a [`Moment`], a `u64` of nanoseconds of the same clock, for an `Instant` is
//! twice as large and costs a division's worth of instructions at every comparison. The wheel counts ticks of a power of two of
//! nanoseconds since its runtime's start. A deadline is rounded up to a tick and the present is rounded down, so no
//! timer fires early, whatever the tick. What overflows is *never*.

use crate::sys::clock::monotonic_nanos;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time now: the only call of `Instant::now` in the crate.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The instant `duration` after `instant`. One that no clock can name is *never*: so far away that no wheel files it.
#[inline]
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    instant
        .checked_add(duration)
        .unwrap_or_else(|| never(instant))
}

/// An instant that is no [`Moment`]: it becomes `Moment::NEVER`.
#[cold]
fn never(mut instant: Instant) -> Instant {
    // The clock's last instant has no name: steps of a thousand years come near enough.
    const STEP: Duration = Duration::from_secs(1000 * 366 * 24 * 60 * 60);
    for _ in 0..2 {
        instant = instant.checked_add(STEP).unwrap_or(instant);
    }
    instant
}

/// A point in time, as nanoseconds of the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(u64);

/// One moment and what `Instant` calls it: the two clocks are the same, and only their names differ.
struct Anchor {
    instant: Instant,
    moment: u64,
}

fn anchor() -> &'static Anchor {
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    ANCHOR.get_or_init(take_anchor)
}

/// Reads both clocks between two readings of one: the true moment of the instant lies between those, so taking the second
/// makes a deadline that is given as an instant late by their distance at most, and never early. The best of
/// several tries is some ten nanoseconds wide, also when the thread is preempted in one of them.
fn take_anchor() -> Anchor {
    let mut best: Option<(u64, Anchor)> = None;
    for _ in 0..16 {
        let (before, instant, moment) = (monotonic_nanos(), now(), monotonic_nanos());
        let width = moment - before;
        if best
            .as_ref()
            .is_none_or(|(narrowest, _)| width < *narrowest)
        {
            best = Some((width, Anchor { instant, moment }));
        }
    }
    best.map(|(_, anchor)| anchor)
        .expect("the loop ran at least once")
}

impl Moment {
    /// After everything.
    pub(crate) const NEVER: Moment = Moment(u64::MAX);

    /// The present.
    #[inline]
    pub(crate) fn now() -> Moment {
        Moment(monotonic_nanos())
    }

    /// `duration` from now, or never.
    #[inline]
    pub(crate) fn after(duration: Duration) -> Moment {
        Moment::now().plus(duration)
    }

    /// `duration` later, or never.
    #[inline]
    pub(crate) fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(duration)))
    }

    /// How long it is from `earlier` to this, zero if it is the other way round.
    #[inline]
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment of an instant.
    #[inline]
    pub(crate) fn of(instant: Instant) -> Moment {
        let anchor = anchor();
        match instant.checked_duration_since(anchor.instant) {
            Some(since) => Moment(anchor.moment.saturating_add(nanos(since))),
            None => Moment(
                anchor
                    .moment
                    .saturating_sub(nanos(anchor.instant - instant)),
            ),
        }
    }

    /// What `Instant` calls it; the way there and back is exact.
    pub(crate) fn instant(self) -> Instant {
        let anchor = anchor();
        if self == Moment::NEVER {
            return never(anchor.instant);
        }
        match self.0.checked_sub(anchor.moment) {
            Some(since) => later(anchor.instant, Duration::from_nanos(since)),
            None => {
                let before = Duration::from_nanos(anchor.moment - self.0);
                anchor.instant.checked_sub(before).unwrap_or(anchor.instant)
            }
        }
    }
}

/// A duration's nanoseconds, at most `u64::MAX`.
#[inline]
fn nanos(duration: Duration) -> u64 {
    // One multiplication and no division; 584 years fit.
    match duration.as_secs().checked_mul(1_000_000_000) {
        Some(whole) => whole.saturating_add(u64::from(duration.subsec_nanos())),
        None => u64::MAX,
    }
}

/// The tick that never comes.
pub(crate) const NEVER_TICK: u64 = u64::MAX;

/// A runtime's clock: between moments and ticks of its wheel.
#[derive(Debug)]
pub(crate) struct Clock {
    start: u64,
    /// A tick is `1 << shift` nanoseconds.
    shift: u32,
    /// And `low + 1` as well.
    low: u64,
    /// What is later is never: rounded up, it would overflow.
    last: Moment,
}

impl Clock {
    /// A clock that starts now, with ticks of the power of two of nanoseconds nearest below `tick` (1 ns to 1.07 s).
    pub(crate) fn new(tick: Duration) -> Clock {
        Clock::starting_at(monotonic_nanos(), nanos(tick).max(1).ilog2().min(30))
    }

    fn starting_at(start: u64, shift: u32) -> Clock {
        Clock {
            start,
            shift,
            low: (1 << shift) - 1,
            last: Moment(u64::MAX - (1 << shift)),
        }
    }

    /// When it started.
    pub(crate) fn start(&self) -> Moment {
        Moment(self.start)
    }

    /// The first tick that does not begin before `moment`: for deadlines.
    #[inline]
    pub(crate) fn tick_after(&self, moment: Moment) -> u64 {
        if moment > self.last {
            return NEVER_TICK;
        }
        (moment.0.saturating_sub(self.start) + self.low) >> self.shift
    }

    /// The same for a moment that is known not to be before the start.
    #[inline]
    pub(crate) fn tick_after_start(&self, moment: Moment) -> u64 {
        debug_assert!(moment.0 >= self.start);
        if moment > self.last {
            return NEVER_TICK;
        }
        (moment.0.wrapping_sub(self.start) + self.low) >> self.shift
    }

    /// The last tick that does not begin after `moment`: for the present.
    #[inline]
    pub(crate) fn tick_before(&self, moment: Moment) -> u64 {
        moment.0.saturating_sub(self.start) >> self.shift
    }

    /// When a tick begins.
    #[inline]
    pub(crate) fn moment_at(&self, tick: u64) -> Moment {
        if tick > u64::MAX >> self.shift {
            return Moment::NEVER;
        }
        Moment((tick << self.shift).saturating_add(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up_and_the_present_rounds_down() {
        let clock = Clock::starting_at(1000, 10);
        let at = |nanos| Moment(1000 + nanos);
        assert_eq!(
            (clock.tick_after(at(1024)), clock.tick_before(at(1024))),
            (1, 1)
        );
        assert_eq!(
            (clock.tick_after(at(1025)), clock.tick_before(at(2047))),
            (2, 1)
        );
        for nanos in [0, 1, 1023, 1024, 1025, 1 << 40, u64::MAX - 1001] {
            assert!(clock.moment_at(clock.tick_after(at(nanos))) >= at(nanos));
            assert!(clock.moment_at(clock.tick_before(at(nanos))) <= at(nanos));
        }
        assert_eq!(
            clock.tick_after(Moment(1)),
            0,
            "before the start is overdue"
        );
    }

    #[test]
    fn what_overflows_is_never() {
        let clock = Clock::new(Duration::from_micros(16));
        assert_eq!(clock.tick_after(Moment::NEVER), NEVER_TICK);
        assert_eq!(clock.moment_at(NEVER_TICK), Moment::NEVER);
        assert_eq!(Moment::after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::of(later(now(), Duration::MAX)), Moment::NEVER);
        assert_eq!(Moment::of(Moment::NEVER.instant()), Moment::NEVER);
    }

    #[test]
    fn instants_and_moments_name_the_same_time() {
        let before = Moment::now();
        let instant = now();
        assert!(Moment::of(instant) >= before);
        for offset in [0, 1, 1_000_000_007, 86_400_000_000_000] {
            let later = instant + Duration::from_nanos(offset);
            assert_eq!(Moment::of(later).instant(), later);
        }
        let earlier = instant
            .checked_sub(Duration::from_millis(1))
            .unwrap_or(instant);
        assert_eq!(Moment::of(earlier).instant(), earlier);
        // Waiting for the moment of an instant is never too short.
        let deadline = now() + Duration::from_micros(200);
        while Moment::now() < Moment::of(deadline) {}
        assert!(now() >= deadline);
    }
}
