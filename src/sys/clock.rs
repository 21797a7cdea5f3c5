//! Reads the monotonic clock as a number.

use std::mem::MaybeUninit;

/// The clock that `Instant` reads too.
#[cfg(target_vendor = "apple")]
const CLOCK: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
#[cfg(not(target_vendor = "apple"))]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Returns nanoseconds of the monotonic clock. They begin somewhere in the past, often at boot, and
/// last for 584 years.
#[inline]
pub(crate) fn monotonic_nanos() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the buffer is a whole timespec. The call fails only for a clock that does not exist,
    // and this one does.
    let failed = unsafe { libc::clock_gettime(CLOCK, now.as_mut_ptr()) };
    assert!(failed == 0, "there is no monotonic clock");
    // SAFETY: the call succeeded, so it filled the buffer.
    let now = unsafe { now.assume_init() };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn nanos_go_forward_as_fast_as_instant() {
        let (nanos, instant) = (monotonic_nanos(), Instant::now());
        let (mut last, until) = (nanos, instant + std::time::Duration::from_millis(2));
        while Instant::now() < until {
            let now = monotonic_nanos();
            assert!(now >= last);
            last = now;
        }
        // Read first and last, so at least as much time has passed on it.
        assert!(u128::from(monotonic_nanos() - nanos) >= (until - instant).as_nanos());
    }
}
