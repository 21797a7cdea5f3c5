//! How the loop waits: for real time, or with a paused clock (feature `test-util`).
//!
//! A paused clock stands still, so no wait ends at a deadline. The clock *jumps* to the next
//! deadline in place of a wait, unless something may still happen before it:
//!
//! | condition for a jump | because otherwise |
//! |---|---|
//! | `Builder::auto_advance` is on | the program moves the clock |
//! | no task is runnable, and no other thread has sent anything | there is work at this time |
//! | no job of `spawn_blocking` and no look-up is unfinished | its result may come |
//! | two looks at the kernel have found no event | data between two sockets of this runtime is on its way |
//!
//! The thread yields its processor between the two looks, so that a thread of the kernel that
//! delivers the data can run. What other threads and processes do cannot be seen from here.
//!
//! If there is no jump, the loop waits for events and messages alone.

#![forbid(unsafe_code)]

use super::local::Local;
#[cfg(feature = "test-util")]
use crate::reactor::clock;
use crate::reactor::clock::Moment;
use std::io;
use std::time::Duration;

#[cfg(not(feature = "test-util"))]
impl Local {
    /// Makes a turn of the driver that waits for at most `limit`.
    #[inline]
    pub(super) fn wait(
        &self,
        reading: Option<Moment>,
        limit: Option<Duration>,
        _is_idle: bool,
    ) -> io::Result<()> {
        self.driver.turn_at(reading, limit)
    }

    /// Returns whether the next wait is a jump of a paused clock.
    #[inline]
    pub(super) fn will_jump(&self) -> bool {
        false
    }
}

#[cfg(feature = "test-util")]
impl Local {
    /// Makes a turn of the driver that waits for at most `limit`. `is_idle`: no task is runnable.
    #[inline]
    pub(super) fn wait(
        &self,
        reading: Option<Moment>,
        limit: Option<Duration>,
        is_idle: bool,
    ) -> io::Result<()> {
        if is_idle && self.may_jump() {
            return self.jump_or_wait(limit);
        }
        self.driver.turn_at(reading, limit)
    }

    /// Returns whether the next wait is a jump of a paused clock, if nothing happens before it.
    pub(super) fn will_jump(&self) -> bool {
        self.may_jump() && self.driver.has_deadline() && !self.shared.blocking.is_active()
    }

    #[inline]
    fn may_jump(&self) -> bool {
        self.auto_advance && !clock::is_monotonic() && self.shared.clock.is_paused()
    }

    #[cold]
    fn jump_or_wait(&self, limit: Option<Duration>) -> io::Result<()> {
        for look in 0..2 {
            if look > 0 {
                std::thread::yield_now();
            }
            if self.driver.look()? || self.has_work() {
                return Ok(());
            }
            if !self.driver.watches_fds() {
                // The kernel has nothing to report, and on a busy machine a yield may take a
                // millisecond.
                break;
            }
        }
        // In this order: a job sends its answer before it counts as ended.
        if !self.shared.blocking.is_active() && !self.has_work() && self.driver.jump() {
            return Ok(());
        }
        self.driver.turn_at(None, limit)
    }

    /// Returns whether there is anything to do at this time.
    fn has_work(&self) -> bool {
        self.is_runnable() || self.driver.is_notified() || self.tasks.has_panics()
    }
}
