//! [`TimerFd`] is a timer as a file (Linux): readable when its time has come, without the slack and
//! the rounding that the kernel adds to the timeout of a wait.

use super::syscall::{check, check_size};
use super::timeout::timespec;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A one-shot timer on the monotonic clock.
#[derive(Debug)]
pub(crate) struct TimerFd {
    fd: OwnedFd,
}

impl TimerFd {
    /// Makes a timer that is not set.
    pub(crate) fn new() -> io::Result<TimerFd> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: the call has just made this descriptor, and no other code has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(TimerFd { fd })
    }

    /// Makes the file readable after `delay`, at least a nanosecond. Forgets an earlier setting and
    /// its expiry.
    pub(crate) fn set(&self, delay: Duration) -> io::Result<()> {
        let value = timespec(delay.max(Duration::from_nanos(1)));
        let spec = libc::itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: value,
        };
        // SAFETY: the new value outlives the call, and the pointer for the old one may be null.
        check(unsafe {
            libc::timerfd_settime(self.fd.as_raw_fd(), 0, &spec, std::ptr::null_mut())
        })?;
        Ok(())
    }

    /// Makes the file not readable again, for mechanisms that would report it over and over.
    pub(crate) fn drain(&self) {
        let mut expiries = 0u64;
        // SAFETY: the buffer is the eight bytes that a timer fd reads as. An error means that there
        // was nothing to read.
        let _ = check_size(unsafe {
            libc::read(
                self.fd.as_raw_fd(),
                (&raw mut expiries).cast(),
                size_of::<u64>(),
            )
        });
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn timer_is_readable_after_its_delay_and_not_before() {
        let timer = TimerFd::new().unwrap();
        let wait = |limit: Duration| {
            let mut entry = [libc::pollfd {
                fd: timer.fd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            }];
            super::super::poll::poll(&mut entry, Some(limit)).unwrap() == 1
        };
        assert!(!wait(Duration::ZERO));
        let start = Instant::now();
        timer.set(Duration::from_millis(2)).unwrap();
        assert!(wait(Duration::from_secs(10)));
        assert!(start.elapsed() >= Duration::from_millis(2));
        timer.drain();
        assert!(!wait(Duration::ZERO));
    }
}
