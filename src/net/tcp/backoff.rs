//! The pause of an `accept` that found no free descriptor.
//!
//! The connection stays in the kernel's queue and no new event will tell of it, so giving the error to a caller that
//! tries again at once makes it spin, and to one that waits for readiness makes it sleep for ever. A timer does neither.

use crate::reactor::armed::Timer;
use crate::reactor::clock::Moment;
use std::task::{Context, Poll};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double, until something succeeds.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The last pause; zero before the first.
    pause: Duration,
    /// The end of the pause that is under way.
    until: Option<Moment>,
    timer: Option<Timer>,
}

impl Backoff {
    /// Begins the next pause.
    pub(super) fn begin(&mut self) {
        self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
        self.until = Some(Moment::after(self.pause));
    }

    /// What was short is there again.
    pub(super) fn reset(&mut self) {
        self.stop();
        self.pause = Duration::ZERO;
    }

    /// Ready when no pause is under way. Needs a runtime on this thread otherwise.
    #[inline]
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.until {
            None => Poll::Ready(()),
            Some(until) => self.poll_until(until, cx),
        }
    }

    #[cold]
    fn poll_until(&mut self, until: Moment, cx: &Context<'_>) -> Poll<()> {
        // Armed anew by each poll: the runtime that it was armed on may not be this one, or be gone.
        let timer = self.timer.insert(Timer::new());
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
    fn pauses_double_up_to_a_second_and_start_again_after_a_success() {
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
    }
}
