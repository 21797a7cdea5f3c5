//! Converts a `Duration` to the kernels' units, always rounded up: a wait never ends before its
//! timeout, and the rest of a timeout never becomes zero by accident.

use std::time::Duration;

/// Returns milliseconds for `poll` and `epoll_wait`: -1 is no limit, and what does not fit is the
/// longest wait.
#[allow(dead_code, reason = "not every platform has a millisecond call left")]
pub(crate) fn millis(timeout: Option<Duration>) -> libc::c_int {
    let Some(timeout) = timeout else { return -1 };
    let whole = timeout.as_millis();
    let rounded = whole + u128::from(timeout.subsec_nanos() % 1_000_000 != 0);
    libc::c_int::try_from(rounded).unwrap_or(libc::c_int::MAX)
}

/// A hundred years, in seconds: as good as no limit, because the loop waits again. Some kernels
/// refuse or overflow with more.
const LONGEST: u64 = 100 * 366 * 86_400;

/// The timespec of Linux's newer system calls: 64 bits even where the C library's has 32.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl KernelTimespec {
    pub(crate) fn new(timeout: Duration) -> KernelTimespec {
        KernelTimespec {
            seconds: timeout.as_secs().min(LONGEST) as i64,
            nanoseconds: i64::from(timeout.subsec_nanos()),
        }
    }

    /// Returns the time that the kernel has left in it.
    pub(crate) fn duration(self) -> Duration {
        Duration::new(self.seconds.max(0) as u64, self.nanoseconds.max(0) as u32)
    }
}

/// Returns a `timespec`; seconds beyond `time_t` become the largest number that the kernels accept
/// everywhere.
#[allow(dead_code, reason = "not every platform has a nanosecond call")]
pub(crate) fn timespec(timeout: Duration) -> libc::timespec {
    // SAFETY: all-zero bytes are a valid timespec on every target: integers only.
    let mut spec: libc::timespec = unsafe { std::mem::zeroed() };
    let secs = timeout.as_secs().min(if size_of_val(&spec.tv_sec) == 8 {
        LONGEST
    } else {
        i32::MAX as u64
    });
    spec.tv_sec = secs as _;
    spec.tv_nsec = timeout.subsec_nanos() as _;
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_round_up_and_saturate() {
        assert_eq!(millis(None), -1);
        assert_eq!(millis(Some(Duration::ZERO)), 0);
        assert_eq!(millis(Some(Duration::from_nanos(1))), 1);
        assert_eq!(millis(Some(Duration::from_millis(1))), 1);
        assert_eq!(millis(Some(Duration::from_micros(1001))), 2);
        assert_eq!(millis(Some(Duration::MAX)), libc::c_int::MAX);
    }

    #[test]
    fn timespec_keeps_nanoseconds_and_saturates() {
        let spec = timespec(Duration::new(3, 7));
        assert_eq!((spec.tv_sec, spec.tv_nsec), (3, 7));
        assert!(timespec(Duration::MAX).tv_sec > 0);
    }
}
