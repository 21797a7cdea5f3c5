//! [`Backoff`]: pauses between attempts of a call for which no event says when to try again.
//!
//! - `accept`, while the process is out of descriptors. The connection stays in the kernel's queue,
//!   and no new event reports it. If the error were returned, a caller that tries again at once
//!   would keep the loop busy, and a caller that waits for readiness would wait forever.
//! - `connect` of a Unix socket on Linux, while the queue of the listener is full.

use crate::place::Place;
use crate::reactor::clock::Moment;
use crate::reactor::timer::{Deadline, Timer};
use std::task::{Context, Poll};
use std::time::Duration;

/// Short, because a descriptor may be closed at any moment.
const FIRST: Duration = Duration::from_millis(1);

/// A second is little for a client that waits, and one call a second is little work.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double until a call succeeds.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The last pause, or zero before the first.
    pause: Duration,
    /// The end of the current pause.
    until: Option<Moment>,
    timer: Option<Timer>,
}

impl Backoff {
    /// Starts the next pause.
    pub(super) fn begin(&mut self) {
        self.begin_up_to(LONGEST);
    }

    /// Starts the next pause, which is not longer than `longest`.
    pub(super) fn begin_up_to(&mut self, longest: Duration) {
        self.pause = (self.pause * 2).clamp(FIRST, longest);
        self.until = Some(Moment::after(self.pause));
    }

    /// Ends the pauses after a call that succeeded.
    pub(super) fn reset(&mut self) {
        self.stop();
        self.pause = Duration::ZERO;
    }

    /// Waits until the current pause ends. During a pause it needs a runtime on this thread.
    /// `place` is where the call was made that pauses.
    #[inline]
    pub(super) fn poll(&mut self, place: Place, cx: &Context<'_>) -> Poll<()> {
        match self.until {
            None => Poll::Ready(()),
            Some(until) => self.poll_until(until, place, cx),
        }
    }

    #[cold]
    fn poll_until(&mut self, until: Moment, place: Place, cx: &Context<'_>) -> Poll<()> {
        // A new timer for each poll: this poll may be on another runtime than the last one, which
        // may be gone.
        let timer = self.timer.insert(Timer::new(Deadline::Ahead, place));
        if Moment::now() >= until || timer.poll(until, cx).is_ready() {
            self.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn stop(&mut self) {
        self.until = None;
        self.timer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_a_second_and_starts_again_after_a_success() {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            backoff.begin();
            pauses.push(backoff.pause.as_millis());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000]);
        backoff.reset();
        backoff.begin();
        assert_eq!(backoff.pause, FIRST);
        for _ in 0..9 {
            backoff.begin_up_to(Duration::from_millis(32));
        }
        assert_eq!(backoff.pause, Duration::from_millis(32));
    }
}
