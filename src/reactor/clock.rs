//! [`Moment`] and [`Clock`]: the time as a number, and as ticks of a runtime's wheel. All code of
//! the crate reads the clock here.
//!
//! | call | reads | for |
//! |---|---|---|
//! | [`Moment::now`], [`now`] | the clock of the runtime that this thread is inside of | `time`, back-offs |
//! | [`Clock::now`] | the clock of one loop | its timers |
//! | [`Moment::monotonic`], [`monotonic`] | the monotonic clock | everything that measures or waits for real time: batches, spins, rechecks, hosts |
//!
//! All three are the monotonic clock, unless the feature `test-util` has paused a clock:
//! `clock/source.rs`.
//!
//! The API uses [`Instant`]. Inside, time is a [`Moment`], a `u64` of nanoseconds of the same
//! clock, because an `Instant` is twice as large, and comparing two of them takes several
//! instructions. A moment may lie before the clock's zero, which on most systems is the start of
//! the machine: instants of up to 292 years before and after it are exact. The wheel counts ticks
//! of a power of two of nanoseconds since its runtime's start. A deadline is rounded up to a tick
//! and the present is rounded down, so no timer fires early, whatever the tick. What overflows is
//! *never*.

mod source;

pub(crate) use source::{Source, enter, is_monotonic};

use crate::sys::clock::monotonic_nanos;
use crate::sys::once_box::OnceBox;
use std::time::{Duration, Instant};

/// Returns the present of the runtime that this thread is inside of.
#[inline]
pub(crate) fn now() -> Instant {
    if is_monotonic() {
        return monotonic();
    }
    Moment::now().instant()
}

/// Returns the present of the monotonic clock: the only call of `Instant::now` in the crate.
#[inline]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Returns the instant `duration` after `instant`. If that overflows, returns *never*: an instant
/// so far away that it becomes `Moment::NEVER`.
#[inline]
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    instant
        .checked_add(duration)
        .unwrap_or_else(|| never(instant))
}

/// Returns an instant that is no [`Moment`]: it becomes `Moment::NEVER`.
#[cold]
fn never(mut instant: Instant) -> Instant {
    // The clock's last instant has no name; steps of a thousand years come near enough.
    const STEP: Duration = Duration::from_secs(1000 * 366 * 24 * 60 * 60);
    for _ in 0..2 {
        instant = instant.checked_add(STEP).unwrap_or(instant);
    }
    instant
}

/// A point in time, as nanoseconds of the monotonic clock, whose zero is [`ZERO`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(u64);

/// The clock's zero, in the middle of the range, so that there is as much time before it as after
/// it. Unsigned numbers saturate and compare in fewer instructions than signed ones.
const ZERO: u64 = 1 << 63;

/// One moment and the same point in time as an `Instant`: the two clocks are the same.
struct Anchor {
    instant: Instant,
    moment: Moment,
}

fn anchor() -> &'static Anchor {
    static ANCHOR: OnceBox<Anchor> = OnceBox::new();
    ANCHOR.get_or_make(take_anchor)
}

/// Reads both clocks, the moment's twice. The true moment of the instant lies between these two
/// readings. Taking the second makes a deadline that is given as an instant late by their distance
/// at most, and never early. The best of several tries is some ten nanoseconds wide, even if the
/// thread is preempted in one of them.
fn take_anchor() -> Anchor {
    let mut best: Option<(Duration, Anchor)> = None;
    for _ in 0..16 {
        let (before, instant, moment) = (Moment::monotonic(), monotonic(), Moment::monotonic());
        let width = moment.since(before);
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
    /// A moment after all others.
    pub(crate) const NEVER: Moment = Moment(u64::MAX);

    /// The last moment that a clock shows.
    #[cfg(feature = "test-util")]
    const LAST: Moment = Moment(u64::MAX - 1);

    /// The clock's zero.
    #[cfg(test)]
    pub(crate) const ZERO: Moment = Moment(ZERO);

    /// Returns the present of the runtime that this thread is inside of.
    #[inline]
    pub(crate) fn now() -> Moment {
        source::current_now()
    }

    /// Returns the present of the monotonic clock.
    #[inline]
    pub(crate) fn monotonic() -> Moment {
        Moment(monotonic_nanos() + ZERO)
    }

    /// Returns the moment `duration` from now, or `NEVER`.
    #[inline]
    pub(crate) fn after(duration: Duration) -> Moment {
        Moment::now().plus(duration)
    }

    /// Returns the moment `duration` later, or `NEVER`.
    #[inline]
    pub(crate) fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the moment `duration` earlier, or the earliest moment there is.
    #[inline]
    fn minus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(duration)))
    }

    /// Returns the time since `earlier`; zero if that is later.
    #[inline]
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment of an instant.
    #[inline]
    pub(crate) fn of(instant: Instant) -> Moment {
        let anchor = anchor();
        match instant.checked_duration_since(anchor.instant) {
            Some(since) => anchor.moment.plus(since),
            None => anchor.moment.minus(anchor.instant - instant),
        }
    }

    /// Returns the moment as an `Instant`. Converting there and back is exact.
    pub(crate) fn instant(self) -> Instant {
        let anchor = anchor();
        if self == Moment::NEVER {
            return never(anchor.instant);
        }
        if self >= anchor.moment {
            return later(anchor.instant, self.since(anchor.moment));
        }
        let before = anchor.moment.since(self);
        anchor.instant.checked_sub(before).unwrap_or(anchor.instant)
    }
}

/// Returns a duration's nanoseconds, at most `u64::MAX`.
#[inline]
fn nanos(duration: Duration) -> u64 {
    // One multiplication and no division; 584 years fit.
    match duration.as_secs().checked_mul(1_000_000_000) {
        Some(whole) => whole.saturating_add(u64::from(duration.subsec_nanos())),
        None => u64::MAX,
    }
}

/// A number that never changes.
#[cfg(not(feature = "test-util"))]
#[derive(Debug)]
struct Setting<T>(T);

#[cfg(not(feature = "test-util"))]
impl<T: Copy> Setting<T> {
    const fn new(value: T) -> Setting<T> {
        Setting(value)
    }

    #[inline]
    fn get(&self) -> T {
        self.0
    }
}

/// A number that [`Clock::refine`] changes.
#[cfg(feature = "test-util")]
use std::cell::Cell as Setting;

/// The clock of a runtime or a callback loop, which converts between moments and ticks of its
/// wheel.
#[derive(Debug)]
pub(crate) struct Clock {
    source: Source,
    start: u64,
    /// A tick is `1 << shift` nanoseconds.
    shift: Setting<u32>,
    /// The largest rest of a division by a tick: `(1 << shift) - 1`.
    low: Setting<u64>,
    /// The first tick that never comes.
    never: Setting<u64>,
}

impl Clock {
    /// Makes a clock that starts now, with ticks of the largest power of two of nanoseconds up to
    /// `tick` (1 ns to 1.07 s).
    pub(crate) fn new(source: Source, tick: Duration) -> Clock {
        let start = source.now();
        Clock::starting_at(source, start, nanos(tick).max(1).ilog2().min(30))
    }

    fn starting_at(source: Source, Moment(start): Moment, shift: u32) -> Clock {
        // So the rounding below cannot overflow: at most half of the range is left above the start.
        assert!(start >= ZERO, "the clock does not start before its zero");
        Clock {
            source,
            start,
            shift: Setting::new(shift),
            low: Setting::new((1 << shift) - 1),
            never: Setting::new((u64::MAX - start) >> shift),
        }
    }

    /// Makes a tick one nanosecond long. Returns by how many bits ticks must be shifted for that.
    #[cfg(feature = "test-util")]
    pub(crate) fn refine(&self) -> u32 {
        let before = self.shift.replace(0);
        self.low.set(0);
        self.never.set(u64::MAX - self.start);
        before
    }

    /// Returns what the clock reads.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the present.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.source.now()
    }

    /// Returns the present, for a caller that may have just read the monotonic clock.
    #[inline]
    pub(crate) fn now_or_at(&self, monotonic: Option<Moment>) -> Moment {
        match monotonic {
            Some(monotonic) => self.source.at(monotonic),
            None => self.source.now(),
        }
    }

    /// Returns when the clock started.
    pub(crate) fn start(&self) -> Moment {
        Moment(self.start)
    }

    /// Returns the first tick that does not begin before `moment`. For deadlines.
    #[inline]
    pub(crate) fn tick_after(&self, moment: Moment) -> u64 {
        (moment.0.saturating_sub(self.start) + self.low.get()) >> self.shift.get()
    }

    /// As `tick_after`, for a moment that is known not to be before the start.
    #[inline]
    pub(crate) fn tick_after_start(&self, moment: Moment) -> u64 {
        debug_assert!(moment.0 >= self.start);
        (moment.0.wrapping_sub(self.start) + self.low.get()) >> self.shift.get()
    }

    /// Returns the last tick that does not begin after `moment`. For the present.
    #[inline]
    pub(crate) fn tick_before(&self, moment: Moment) -> u64 {
        moment.0.saturating_sub(self.start) >> self.shift.get()
    }

    /// Returns the moment at which a tick begins, or `None` for a tick that never comes.
    #[inline]
    pub(crate) fn moment_at(&self, tick: u64) -> Option<Moment> {
        (tick < self.never.get()).then(|| Moment((tick << self.shift.get()) + self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_round_deadlines_up_and_the_present_down() {
        let clock = Clock::starting_at(Source::new(), Moment(ZERO + 1000), 10);
        let at = |nanos| Moment(ZERO + 1000 + nanos);
        assert_eq!(
            (clock.tick_after(at(1024)), clock.tick_before(at(1024))),
            (1, 1)
        );
        assert_eq!(
            (clock.tick_after(at(1025)), clock.tick_before(at(2047))),
            (2, 1)
        );
        for nanos in [0, 1, 1023, 1024, 1025, 1 << 40, u64::MAX - ZERO - 5000] {
            assert!(clock.moment_at(clock.tick_after(at(nanos))) >= Some(at(nanos)));
            assert!(clock.moment_at(clock.tick_before(at(nanos))) <= Some(at(nanos)));
        }
        for before in [Moment::ZERO, Moment(ZERO - 1), Moment(0)] {
            let ticks = (clock.tick_after(before), clock.tick_before(before));
            assert_eq!(ticks, (0, 0), "before the start is overdue");
        }
    }

    #[test]
    fn overflow_is_never() {
        for shift in [0, 14, 30] {
            let clock = Clock::starting_at(Source::new(), Moment::now(), shift);
            for nanos in [0, (1 << shift) / 2, (1 << shift) - 1] {
                let never = Moment(u64::MAX - nanos);
                assert_eq!(clock.moment_at(clock.tick_after(never)), None);
                assert_eq!(clock.moment_at(clock.tick_after_start(never)), None);
            }
            // A century from now is a valid deadline.
            let far = Moment::after(Duration::from_secs(100 * 365 * 86_400));
            assert!(clock.moment_at(clock.tick_after(far)) >= Some(far));
            assert_eq!(clock.moment_at(u64::MAX), None);
        }
        assert_eq!(Moment::after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::of(later(now(), Duration::MAX)), Moment::NEVER);
        assert_eq!(Moment::of(Moment::NEVER.instant()), Moment::NEVER);
    }

    #[test]
    fn instants_and_moments_are_the_same_time() {
        let before = Moment::now();
        let instant = now();
        assert!(Moment::of(instant) >= before);
        for offset in [0, 1, 1_000_000_007, 86_400_000_000_000] {
            let later = instant + Duration::from_nanos(offset);
            assert_eq!(Moment::of(later).instant(), later);
        }
        // So are instants long before the start of the machine, if the clock has them.
        for seconds in [0, 1, 3600, 30 * 86_400, 4_000_000_003, 9_000_000_000] {
            let ago = Duration::new(seconds, 1_000_001);
            let earlier = instant.checked_sub(ago).unwrap_or(instant);
            assert_eq!(Moment::of(earlier).instant(), earlier, "{ago:?} ago");
            assert_eq!(
                Moment::of(instant).since(Moment::of(earlier)),
                instant - earlier
            );
        }
        // A wait for the moment of an instant is never too short.
        let deadline = now() + Duration::from_micros(200);
        while Moment::now() < Moment::of(deadline) {}
        assert!(now() >= deadline);
    }
}
