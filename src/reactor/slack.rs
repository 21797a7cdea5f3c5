//! [`Slack`] lowers the timer slack of the loop's thread while the loop runs
//! (`Builder::timer_slack`).

use std::time::Duration;

/// The longest wait that is not split. The kernel may be late by a thousandth of a wait, or by a
/// two hundredth in a thread of low priority. Shorter waits are not worth a second one.
const ONE_WAIT: Duration = Duration::from_millis(50);

/// A long wait is shortened by its length divided by this. That is more than the kernel may be
/// late.
const LEFT: u32 = 128;

/// Returns how long to wait first for something that is due in `next`. A long wait is shortened,
/// because the kernel may be late by a share of its length. The next wait covers the rest, and is
/// so short that its own share does not matter.
pub(crate) fn first_wait(next: Duration) -> Duration {
    if next <= ONE_WAIT {
        return next;
    }
    next - next / LEFT
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use crate::sys::timer_slack;
    use std::cell::Cell;
    use std::time::Duration;

    /// The chosen slack and, while the loop runs, the thread's own.
    #[derive(Debug)]
    pub(crate) struct Slack {
        nanos: u64,
        own: Cell<Option<u64>>,
    }

    impl Slack {
        pub(crate) fn new(slack: Duration) -> Slack {
            Slack {
                nanos: u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX),
                own: Cell::new(None),
            }
        }

        /// Sets the thread's slack. Does nothing where a sandbox forbids it.
        pub(crate) fn enter(&self) {
            if let Ok(own) = timer_slack::get() {
                if timer_slack::set(self.nanos).is_ok() {
                    self.own.set(Some(own));
                }
            }
        }

        /// Restores the thread's own slack.
        pub(crate) fn leave(&self) {
            if let Some(own) = self.own.take() {
                // This cannot fail, because the same call succeeded a moment ago.
                let _ = timer_slack::set(own);
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::time::Duration;

    /// Other systems have no timer slack: does nothing.
    #[derive(Debug)]
    pub(crate) struct Slack;

    impl Slack {
        pub(crate) fn new(_: Duration) -> Slack {
            Slack
        }

        pub(crate) fn enter(&self) {}

        pub(crate) fn leave(&self) {}
    }
}

pub(crate) use imp::Slack;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_wait_ends_before_the_kernel_can_be_late() {
        for millis in [1, 50, 51, 1000, 100_000, 10_000_000] {
            let next = Duration::from_millis(millis);
            let first = first_wait(next);
            assert!(first <= next);
            assert!(next <= ONE_WAIT || first + first / 200 < next);
        }
        // A few waits come to the end of any length.
        let mut next = Duration::from_secs(1000);
        let mut waits = 1;
        while first_wait(next) < next {
            next -= first_wait(next);
            waits += 1;
        }
        assert_eq!(waits, 4);
    }
}
