//! The one clock: everything that asks for the time asks here.
//!
//! The API speaks [`Instant`]; inside, time is `u64` nanoseconds since the runtime's start, and the wheel counts ticks
//! of a power of two of them. A deadline is rounded up to a tick and the present is rounded down, so no timer fires
//! early, whatever the tick. What overflows is *never*.

use std::time::{Duration, Instant};

/// Nanoseconds since a runtime's start that stand for "never".
pub(crate) const NEVER: u64 = u64::MAX;

/// The time now, for who has no runtime: the only call of `Instant::now` in the crate.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The instant `duration` from now. One that no clock can name is *never*: so far away that no wheel files it.
#[inline]
pub(crate) fn after(duration: Duration) -> Instant {
    later(now(), duration)
}

/// The instant `duration` after `instant`, with the same promise.
#[inline]
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    instant
        .checked_add(duration)
        .unwrap_or_else(|| never(instant))
}

/// An instant whose distance from any runtime's start does not fit: [`Clock::nanos_of`] makes `NEVER` of it.
#[cold]
fn never(mut instant: Instant) -> Instant {
    // The clock's last instant has no name: steps of a thousand years come near enough.
    const STEP: Duration = Duration::from_secs(1000 * 366 * 24 * 60 * 60);
    for _ in 0..2 {
        instant = instant.checked_add(STEP).unwrap_or(instant);
    }
    instant
}

/// A runtime's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// A tick is `1 << shift` nanoseconds.
    shift: u32,
}

impl Clock {
    /// A clock that starts now, with ticks of the power of two of nanoseconds nearest below `tick` (1 ns to 1.07 s).
    pub(crate) fn new(tick: Duration) -> Clock {
        let nanos = u64::try_from(tick.as_nanos()).unwrap_or(NEVER).max(1);
        Clock {
            start: now(),
            shift: nanos.ilog2().min(30),
        }
    }

    /// Nanoseconds since the start, of now.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos_of(now())
    }

    /// Nanoseconds since the start, of an instant; 0 for one before it, `NEVER` when it does not fit.
    #[inline]
    pub(crate) fn nanos_of(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        let secs = since.as_secs();
        // 584 years of nanoseconds fit.
        if secs >= NEVER / 1_000_000_000 {
            return NEVER;
        }
        secs * 1_000_000_000 + u64::from(since.subsec_nanos())
    }

    /// The instant that many nanoseconds after the start, if there is one.
    pub(crate) fn instant_at(&self, nanos: u64) -> Option<Instant> {
        self.start.checked_add(Duration::from_nanos(nanos))
    }

    /// The first tick that is not before `nanos`: for deadlines.
    #[inline]
    pub(crate) fn tick_after(&self, nanos: u64) -> u64 {
        if nanos == NEVER {
            return NEVER;
        }
        let low = (1 << self.shift) - 1;
        (nanos >> self.shift) + u64::from(nanos & low != 0)
    }

    /// The last tick that is not after `nanos`: for the present.
    #[inline]
    pub(crate) fn tick_before(&self, nanos: u64) -> u64 {
        nanos >> self.shift
    }

    /// When a tick begins, in nanoseconds.
    #[inline]
    pub(crate) fn nanos_at(&self, tick: u64) -> u64 {
        if tick > NEVER >> self.shift {
            NEVER
        } else {
            tick << self.shift
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up_and_the_present_rounds_down() {
        let clock = Clock::new(Duration::from_nanos(1024));
        assert_eq!((clock.tick_after(1024), clock.tick_before(1024)), (1, 1));
        assert_eq!((clock.tick_after(1025), clock.tick_before(2047)), (2, 1));
        for nanos in [0, 1, 1023, 1024, 1025, 1 << 40, NEVER - 1] {
            assert!(clock.nanos_at(clock.tick_after(nanos)) >= nanos);
            assert!(clock.nanos_at(clock.tick_before(nanos)) <= nanos);
        }
    }

    #[test]
    fn what_overflows_is_never() {
        let clock = Clock::new(Duration::from_micros(16));
        assert_eq!(clock.tick_after(NEVER), NEVER);
        assert_eq!(clock.nanos_at(NEVER), NEVER);
        let before = clock
            .start
            .checked_sub(Duration::from_secs(1))
            .unwrap_or(clock.start);
        assert_eq!(clock.nanos_of(before), 0);
    }
}
