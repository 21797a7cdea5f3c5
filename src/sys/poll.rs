//! `poll(2)`, with nanoseconds if the platform has `ppoll` and no sandbox forbids it.

pub(crate) mod limited;

use super::syscall::check;
use super::timeout::millis;
use std::io;
use std::time::Duration;

/// Waits until one of `fds` has something to report, and returns how many have.
///
/// # Errors
///
/// `Interrupted` if a signal handler ran first.
#[inline(never)]
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    match poll_within_limit(fds, timeout) {
        Err(error) if is_beyond_limit(&error, fds) => limited::poll(fds, &mut { timeout }),
        polled => polled,
    }
}

fn poll_within_limit(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    imp::poll(fds, timeout).map(|ready| ready as usize)
}

/// Whether there are more entries than the process may open files, which poll(2) refuses.
fn is_beyond_limit(error: &io::Error, fds: &[libc::pollfd]) -> bool {
    error.raw_os_error() == Some(libc::EINVAL) && !fds.is_empty()
}

/// As [`poll`]. Subtracts the time that was waited from `timeout`, so that a wait can go on without
/// reading the clock.
///
/// It makes the system call directly: the kernel writes back what is left of the timeout, which the
/// C libraries do not pass on (ppoll(2), "C library/kernel differences"). In a process whose
/// personality has `STICKY_TIMEOUTS` nothing is written back, and the wait takes too long.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn poll_counting_down(
    fds: &mut [libc::pollfd],
    timeout: &mut Option<Duration>,
) -> io::Result<usize> {
    use std::ptr;
    /// Whether the call counts in 64 bits: 414 is the number of the newer one, which has another
    /// name on some 32-bit targets.
    const WIDE: bool = cfg!(any(target_pointer_width = "64", target_arch = "x86_64"))
        || libc::SYS_ppoll as u64 == 414;
    let spec = super::timeout::timespec(timeout.unwrap_or_default());
    #[allow(clippy::unnecessary_cast, reason = "32 bits on other targets")]
    let mut wide = [spec.tv_sec as i64, spec.tv_nsec as i64];
    let mut narrow = wide.map(|part| i32::try_from(part).unwrap_or(i32::MAX));
    let left = match (&timeout, WIDE) {
        (None, _) => ptr::null_mut(),
        (Some(_), true) => wide.as_mut_ptr().cast::<libc::c_void>(),
        (Some(_), false) => narrow.as_mut_ptr().cast(),
    };
    // SAFETY: pointer and length are those of one slice that the call may write to; the time is
    // null or two integers of the kernel's width that outlive the call; a null signal mask leaves
    // the mask alone.
    let polled = check(unsafe {
        let mask = ptr::null::<libc::sigset_t>();
        libc::syscall(
            libc::SYS_ppoll,
            fds.as_mut_ptr(),
            fds.len(),
            left,
            mask,
            0_usize,
        )
    } as libc::c_int);
    let ready = match polled {
        Err(error) if is_beyond_limit(&error, fds) => return limited::poll(fds, timeout),
        polled => polled?,
    };
    if let Some(timeout) = timeout {
        let [seconds, nanoseconds] = if WIDE { wide } else { narrow.map(i64::from) };
        *timeout = Duration::new(seconds.max(0) as u64, nanoseconds.max(0) as u32);
    }
    Ok(ready as usize)
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "openbsd"
))]
mod imp {
    use super::*;
    use crate::sys::syscall::is_refused;
    use crate::sys::timeout::timespec;
    use std::ptr;

    pub(super) fn poll(
        fds: &mut [libc::pollfd],
        timeout: Option<Duration>,
    ) -> io::Result<libc::c_int> {
        match by_nanoseconds(fds, timeout) {
            // Nothing was done. A sandbox may allow only the older call.
            Err(error) if is_refused(&error) => by_milliseconds(fds, timeout),
            waited => waited,
        }
    }

    fn by_nanoseconds(
        fds: &mut [libc::pollfd],
        timeout: Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: pointer and length are those of one slice that the call may write to; the
        // timespec is null or outlives the call; a null signal mask leaves the mask alone.
        check(unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, spec, ptr::null()) })
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "openbsd"
)))]
mod imp {
    pub(super) use super::by_milliseconds as poll;
}

fn by_milliseconds(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<libc::c_int> {
    // SAFETY: pointer and length are those of one slice that the call may write to.
    check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, millis(timeout)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn both_forms_report_the_same_and_wait_as_long() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut entry = [libc::pollfd {
            fd: here.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        let forms = [imp::poll, by_milliseconds];
        for poll in forms {
            let (start, short) = (Instant::now(), Duration::from_micros(1500));
            assert_eq!(poll(&mut entry, Some(short)).unwrap(), 0);
            assert!(start.elapsed() >= short);
        }
        there.write_all(b"x").unwrap();
        for poll in forms {
            assert_eq!(poll(&mut entry, None).unwrap(), 1);
            assert_eq!(entry[0].revents, libc::POLLIN);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn poll_counting_down_returns_what_is_left_of_a_timeout() {
        let longest = Duration::from_secs(1000);
        let mut left = Some(longest);
        let mut entry = [libc::pollfd {
            fd: i32::MAX,
            events: 0,
            revents: 0,
        }];
        // A number that is not open is reported at once.
        assert_eq!(poll_counting_down(&mut entry, &mut left).unwrap(), 1);
        assert!(left.unwrap() < longest && left.unwrap() > longest / 2);
        left = Some(Duration::from_millis(2));
        assert_eq!(poll_counting_down(&mut [], &mut left).unwrap(), 0);
        assert_eq!(left, Some(Duration::ZERO));
        let mut none = None;
        assert_eq!(poll_counting_down(&mut entry, &mut none).unwrap(), 1);
        assert_eq!(none, None);
    }
}
