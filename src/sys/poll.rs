//! `poll(2)`, by its nanosecond form where the platform has one.

use super::syscall::check;
use std::io;
use std::time::Duration;

/// Waits until one of `fds` has something to report, and says how many have.
///
/// # Errors
///
/// `Interrupted` when a signal handler ran first; `EINVAL` for more fds than the process may open.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    imp::poll(fds, timeout).map(|ready| ready as usize)
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
    use crate::sys::timeout::timespec;
    use std::ptr;

    pub(super) fn poll(
        fds: &mut [libc::pollfd],
        timeout: Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: pointer and length are those of one slice that the call may write to; the timespec is null or
        // outlives the call; a null signal mask leaves the mask alone.
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
    use super::*;
    use crate::sys::timeout::millis;

    pub(super) fn poll(
        fds: &mut [libc::pollfd],
        timeout: Option<Duration>,
    ) -> io::Result<libc::c_int> {
        // SAFETY: pointer and length are those of one slice that the call may write to.
        check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, millis(timeout)) })
    }
}
