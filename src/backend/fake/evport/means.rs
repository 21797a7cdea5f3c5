//! What a wait needs: something that rings, and something that says when it is over.

use super::fail;
use crate::sys::eventfd::eventfd;
use crate::sys::timerfd::TimerFd;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// An fd that is readable or not, as told.
pub(super) struct Bell {
    file: File,
    is_set: bool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Bell> {
        Ok(Bell {
            file: eventfd()?.into(),
            is_set: false,
        })
    }

    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub(super) fn set(&mut self, set: bool) {
        if set != self.is_set {
            let changed = match set {
                true => self.file.write(&1_u64.to_ne_bytes()),
                false => self.file.read(&mut [0; 8]),
            };
            changed.expect("an eventfd of our own works");
            self.is_set = set;
        }
    }
}

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
