//! [`Deadline`]: when the time of a shutdown is over.
//!
//! It is a moment on the clock of the runtime, with a timer in the wheel that ends the waits of the
//! loop. So precise timers and timer slack apply, and a paused clock (feature `test-util`) jumps to
//! it as to any other deadline.
//!
//! A paused clock stands still while a closure of `spawn_blocking` is unfinished, and one that
//! never ends would hold it up forever. So while it stands for that reason, the time is also over
//! when it has passed in reality.

#![forbid(unsafe_code)]

use crate::reactor::clock::Moment;
use crate::runtime::local::Local;
use crate::timer::TimerKey;
use std::task::Waker;
use std::time::Duration;

/// When the time of a shutdown is over.
#[derive(Debug)]
pub(super) struct Deadline {
    /// On the clock of the runtime.
    at: Moment,
    /// When the time has passed in reality, on the monotonic clock. It is the same moment as `at`
    /// if the clock is never paused.
    #[cfg(feature = "test-util")]
    monotonic: Moment,
    /// `None` if the time was over from the start.
    timer: Option<TimerKey>,
}

impl Deadline {
    /// Begins to measure the time of a shutdown.
    pub(super) fn after(local: &Local, limit: Duration) -> Deadline {
        let at = local.shared.clock.now().plus(limit);
        Deadline {
            at,
            #[cfg(feature = "test-util")]
            monotonic: Moment::monotonic().plus(limit),
            timer: local.driver.arm_timer(at, Waker::noop()),
        }
    }

    /// Cancels the timer.
    pub(super) fn disarm(self, local: &Local) {
        if let Some(key) = self.timer {
            local.driver.cancel_timer(key);
        }
    }

    /// Returns whether the time is over.
    pub(super) fn has_passed(&self, local: &Local) -> bool {
        local.shared.clock.now() >= self.at || self.has_passed_for_closures(local)
    }

    #[cfg(not(feature = "test-util"))]
    fn has_passed_for_closures(&self, _: &Local) -> bool {
        false
    }

    /// Returns how long the loop may wait, beside what the timer allows.
    #[cfg(not(feature = "test-util"))]
    pub(super) fn limit(&self, _: &Local) -> Option<Duration> {
        None
    }

    /// Returns whether closures hold up a paused clock, and the time is over in reality.
    #[cfg(feature = "test-util")]
    fn has_passed_for_closures(&self, local: &Local) -> bool {
        self.limit(local) == Some(Duration::ZERO)
    }

    /// Returns how long the loop may wait, beside what the timer allows: until the time is over in
    /// reality, while closures hold up a paused clock.
    #[cfg(feature = "test-util")]
    pub(super) fn limit(&self, local: &Local) -> Option<Duration> {
        let is_held_up = local.shared.clock.is_paused() && local.shared.blocking.is_active();
        is_held_up.then(|| self.monotonic.since(Moment::monotonic()))
    }
}
