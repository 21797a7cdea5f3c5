//! Whether the loop looks out for other threads for a moment before it sleeps.
//!
//! To sleep and to be woken costs both sides system calls and the kernel's way there and back: 15 to 20 us of CPU time each
//! and 40 to 60 us of waiting on the machine of `docs/performance.md`. When the other thread answers at once, it is cheaper
//! for both to look out for the answer first; when it does not, looking is a waste. What has ended the sleeps so far tells
//! one from the other:
//!
//! - Only a sleep that another thread has ended makes the next one worth a look: a loop that serves sockets and timers never
//!   looks, and neither does one that idles.
//! - A look that saw nothing is followed by 1, 3, 7 ... 255 such sleeps without one, and a look that paid by none: other
//!   threads that take their time cost one look in 256 sleeps. What came before the look did not need it, and changes nothing.
//! - No look where the loop has to be up again before it would end.
//!
//! As long as a look takes no longer than a sleep costs, looking and then sleeping costs at most twice what the better of
//! the two would have (Karlin, Li, Manasse, Owicki, "Empirical studies of competitive spinning", SOSP 1991).
//!
//! Owned by the loop's thread. A look here spins over the [`Unparker`]'s state; one at the fds without waiting is a turn's.

use super::clock::Moment;
use super::parker::Unparker;
use std::cell::Cell;
use std::time::Duration;

/// How long a look takes if nothing is said: chosen by measurement, see `docs/performance.md`.
pub(crate) const DEFAULT_SPIN: Duration = Duration::from_micros(20);

/// Fds have to wait while the loop looks, so it does not look for longer than this.
const LONGEST_SPIN: Duration = Duration::from_millis(1);

/// Looks at the state between two readings of the clock, which cost more.
const LOOKS_PER_CLOCK: u32 = 8;

/// When to look before sleeping, and for how long.
#[derive(Debug)]
pub(crate) struct Spin {
    /// Zero: never.
    limit: Duration,
    /// The last sleep was ended by another thread, and it is this one's turn.
    worth: Cell<bool>,
    /// How many sleeps that others end go by without a look; set by a miss.
    skip: Cell<u8>,
    /// How many sleeps the last miss was paid with; the next one costs twice that and one more.
    penalty: Cell<u8>,
}

impl Spin {
    pub(crate) fn new(limit: Duration) -> Spin {
        Spin {
            limit: limit.min(LONGEST_SPIN),
            worth: Cell::new(false),
            skip: Cell::new(0),
            penalty: Cell::new(0),
        }
    }

    /// Called by a loop that has nothing to do, before it says that it sleeps: looks for a moment whether another thread
    /// publishes something, unless it has to be up again by then: after `timeout`, or after `alarm` by other means. Returns what is
    /// left of the timeout.
    #[inline]
    pub(crate) fn before_sleep(
        &self,
        unparker: &Unparker,
        timeout: Option<Duration>,
        alarm: Option<Duration>,
    ) -> Option<Duration> {
        let is_long = |sleep: Option<Duration>| sleep.is_none_or(|sleep| sleep > self.limit);
        if self.worth.get() && is_long(timeout) && is_long(alarm) {
            self.look_out(|| unparker.is_notified(), timeout)
        } else {
            timeout
        }
    }

    /// Called after each sleep: whether another thread has published something meanwhile.
    #[inline]
    pub(crate) fn after_sleep(&self, notified: bool) {
        if notified {
            self.ended_by_another();
        } else {
            self.worth.set(false);
        }
    }

    fn ended_by_another(&self) {
        let skip = self.skip.get();
        self.worth.set(skip == 0 && !self.limit.is_zero());
        self.skip.set(skip.saturating_sub(1));
    }

    #[inline(never)]
    fn look_out(
        &self,
        mut published: impl FnMut() -> bool,
        timeout: Option<Duration>,
    ) -> Option<Duration> {
        if published() {
            // While the loop was busy: nothing has paid, and nothing is to be waited for.
            return timeout;
        }
        let begin = Moment::now();
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if published() {
                    self.penalty.set(0);
                    return timeout;
                }
                std::hint::spin_loop();
            }
            let spent = Moment::now().since(begin);
            if spent >= self.limit {
                let penalty = self.penalty.get().saturating_mul(2).saturating_add(1);
                self.penalty.set(penalty);
                self.skip.set(penalty);
                self.worth.set(false);
                return timeout.map(|timeout| timeout.saturating_sub(spent));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::backend::{Notifier, Notify};
    use std::sync::Arc;

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));
    const SHORT: Duration = Duration::from_nanos(1);

    struct Nobody;
    impl Notify for Nobody {
        fn notify(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn unparker() -> Arc<Unparker> {
        Unparker::new(Notifier::new(Arc::new(Nobody)))
    }

    /// Whether it looks before a sleep in which nobody says anything: that takes from the timeout.
    fn looks(spin: &Spin, unparker: &Unparker) -> bool {
        let left = spin.before_sleep(unparker, HOUR, None);
        assert!(left.is_some() && left <= HOUR);
        left < HOUR
    }

    #[test]
    fn only_a_sleep_that_another_thread_ended_makes_the_next_one_worth_a_look() {
        let (spin, unparker) = (Spin::new(SHORT), unparker());
        assert!(!looks(&spin, &unparker), "before the first sleep");
        spin.after_sleep(false);
        assert!(!looks(&spin, &unparker), "after an event");
        spin.after_sleep(true);
        spin.after_sleep(false);
        assert!(!looks(&spin, &unparker), "the last sleep counts");
        spin.after_sleep(true);
        assert!(looks(&spin, &unparker));
    }

    #[test]
    fn looks_that_see_nothing_become_rare_and_one_that_pays_ends_that() {
        let (mut spin, unparker) = (Spin::new(SHORT), unparker());
        let mut gaps = Vec::new();
        let mut gap = 0;
        for _ in 0..1500 {
            spin.after_sleep(true);
            if looks(&spin, &unparker) {
                gaps.push(std::mem::take(&mut gap));
            } else {
                gap += 1;
            }
        }
        assert_eq!(gaps[..9], [0, 1, 3, 7, 15, 31, 63, 127, 255]);
        assert!(gaps[9..].iter().all(|gap| *gap == 255) && gaps.len() > 9);

        while !spin.worth.get() {
            spin.after_sleep(true);
        }
        assert!(spin.worth.get());
        spin.limit = Duration::from_secs(3600);
        let mut told = [false, false, true].into_iter();
        assert_eq!(spin.look_out(|| told.next().unwrap(), HOUR), HOUR);
        spin.limit = SHORT;
        assert!(looks(&spin, &unparker), "it paid: the next one looks too");
        spin.after_sleep(true);
        assert!(!looks(&spin, &unparker));
        spin.after_sleep(true);
        assert!(
            looks(&spin, &unparker),
            "a single miss is paid with one sleep"
        );
    }

    /// As after each turn of a loop whose handlers send to it: such turns do not make looks that see nothing frequent.
    #[test]
    fn what_came_before_the_look_did_not_need_it() {
        let (spin, unparker) = (Spin::new(SHORT), unparker());
        let mut looked = 0;
        for _ in 0..300 {
            spin.after_sleep(true);
            unparker.unpark();
            assert_eq!(spin.before_sleep(&unparker, HOUR, None), HOUR);
            assert!(unparker.take());
            looked += u32::from(looks(&spin, &unparker));
        }
        assert_eq!(looked, 8, "at 1, 3, 7, 15 ... 255");
    }

    #[test]
    fn a_look_takes_no_longer_than_the_sleep_may() {
        let (spin, unparker) = (Spin::new(Duration::from_secs(3600)), unparker());
        assert_eq!(spin.limit, LONGEST_SPIN);
        for timeout in [Duration::from_micros(1), LONGEST_SPIN] {
            spin.after_sleep(true);
            let left = spin.before_sleep(&unparker, Some(timeout), None);
            assert_eq!(left, Some(timeout), "it looked");
            assert_eq!(spin.before_sleep(&unparker, HOUR, left), HOUR, "it looked");
        }
    }

    #[test]
    fn a_limit_of_zero_never_looks() {
        let (spin, unparker) = (Spin::new(Duration::ZERO), unparker());
        for _ in 0..3 {
            spin.after_sleep(true);
            assert!(!looks(&spin, &unparker));
        }
    }

    #[test]
    fn what_another_thread_publishes_ends_the_look() {
        let (mut spin, unparker) = (Spin::new(SHORT), unparker());
        spin.limit = Duration::from_secs(3600);
        spin.after_sleep(true);
        let other = {
            let unparker = unparker.clone();
            std::thread::spawn(move || unparker.unpark())
        };
        // An hour, if it does not see that.
        assert_eq!(spin.before_sleep(&unparker, None, None), None);
        assert!(unparker.take(), "a look consumes nothing");
        other.join().unwrap();
    }
}
