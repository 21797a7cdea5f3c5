//! [`Clock`] is an fd that ends a wait of the fake event ports.

use super::fail;
use crate::sys::timerfd::TimerFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// How long a `getn` may last.
pub(super) enum Clock {
    Never,
    Zero,
    Set(TimerFd),
}

impl Clock {
    pub(super) fn start(timeout: Option<&libc::timespec>) -> io::Result<Clock> {
        let Some(timeout) = timeout else {
            return Ok(Clock::Never);
        };
        let (seconds, nanos) = (timeout.tv_sec, timeout.tv_nsec);
        if seconds < 0 || !(0..1_000_000_000).contains(&nanos) {
            return fail(libc::EINVAL);
        }
        if (seconds, nanos) == (0, 0) {
            return Ok(Clock::Zero);
        }
        let timer = TimerFd::new()?;
        timer.set(Duration::new(seconds as u64, nanos as u32))?;
        Ok(Clock::Set(timer))
    }

    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Clock::Zero)
    }

    pub(super) fn number(&self) -> RawFd {
        match self {
            Clock::Set(timer) => timer.as_fd().as_raw_fd(),
            Clock::Never | Clock::Zero => -1,
        }
    }
}
