//! [`Spin`] decides whether the loop spins before it sleeps, so that another thread's answer finds
//! it awake.
//!
//! A sleep and the wake that ends it cost both threads system calls and a switch in the kernel: 15
//! to 20 us of CPU time each, and 40 to 60 us of latency on the machine of `docs/performance.md`.
//! If the other thread answers at once, it is cheaper for both if the loop spins until the answer
//! comes. If it does not, the spin is wasted. The last sleeps decide:
//!
//! | event | effect |
//! |---|---|
//! | another thread ended the last sleep | the loop spins before the next one |
//! | an fd or a timer ended the last sleep | no spin, so loops that serve only sockets and timers never spin |
//! | a spin saw nothing | no spin before the next 1, 3, 7, ... 255 sleeps that another thread ends |
//! | a spin saw a message | that count starts at 1 again |
//! | a message arrived before the spin began | does not count as a success |
//! | the loop has to wake up before the spin would end | no spin |
//!
//! So slow threads cost one spin in 256 sleeps. As long as a spin takes no longer than a sleep
//! costs, spinning and then sleeping costs at most twice as much as the better of the two (Karlin,
//! Li, Manasse, Owicki, "Empirical studies of competitive spinning", SOSP 1991).
//!
//! `parker.rs` owns the `Spin` and says what to watch. A check of the fds without waiting is a turn
//! of the driver.

use super::clock::Moment;
use std::cell::Cell;
use std::time::Duration;

/// The default duration of a spin, chosen by measurement (`docs/performance.md`).
pub(crate) const DEFAULT_SPIN: Duration = Duration::from_micros(20);

/// The longest spin: fds and timers wait while the loop spins.
const MAX_SPIN: Duration = Duration::from_millis(1);

/// Checks between two readings of the clock, which cost more than a check.
const CHECKS_PER_CLOCK: u32 = 8;

/// Decides when to spin before a sleep, and for how long.
#[derive(Debug)]
pub(crate) struct Spin {
    /// How long a spin takes. Zero: never spin.
    limit: Duration,
    /// Whether to spin before the next sleep.
    worth: Cell<bool>,
    /// How many more sleeps, of those that another thread ends, are not preceded by a spin.
    skip: Cell<u8>,
    /// The value that the last spin without success set `skip` to. The next one doubles it and adds
    /// one.
    penalty: Cell<u8>,
}

impl Spin {
    pub(crate) fn new(limit: Duration) -> Spin {
        Spin {
            limit: limit.min(MAX_SPIN),
            worth: Cell::new(false),
            skip: Cell::new(0),
            penalty: Cell::new(0),
        }
    }

    /// Spins, if that is worth it, until `published` returns true. Returns what is left of
    /// `timeout`.
    ///
    /// Called by a loop that has nothing to do, before it announces its sleep. Does not spin if the
    /// loop has to wake up before the end of the spin: after `timeout`, or after `alarm`, which
    /// something else waits for.
    #[inline]
    pub(crate) fn before_sleep(
        &self,
        published: impl FnMut() -> bool,
        timeout: Option<Duration>,
        alarm: Option<Duration>,
    ) -> Option<Duration> {
        let is_long = |sleep: Option<Duration>| sleep.is_none_or(|sleep| sleep > self.limit);
        if self.worth.get() && is_long(timeout) && is_long(alarm) {
            self.spin(published, timeout)
        } else {
            timeout
        }
    }

    /// Notes the end of a sleep; `notified` is whether another thread has published something.
    #[inline]
    pub(crate) fn after_sleep(&self, notified: bool) {
        if notified {
            self.count_notified();
        } else {
            self.worth.set(false);
        }
    }

    fn count_notified(&self) {
        let skip = self.skip.get();
        self.worth.set(skip == 0 && !self.limit.is_zero());
        self.skip.set(skip.saturating_sub(1));
    }

    #[inline(never)]
    fn spin(
        &self,
        mut published: impl FnMut() -> bool,
        timeout: Option<Duration>,
    ) -> Option<Duration> {
        if published() {
            // It arrived while the loop was busy, so this is no success, and there is nothing to
            // wait for.
            return timeout;
        }
        let begin = Moment::monotonic();
        loop {
            for _ in 0..CHECKS_PER_CLOCK {
                if published() {
                    self.penalty.set(0);
                    return timeout;
                }
                std::hint::spin_loop();
            }
            let spent = Moment::monotonic().since(begin);
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));
    const SHORT: Duration = Duration::from_nanos(1);

    fn nothing() -> bool {
        false
    }

    /// Whether it spins before a sleep without messages: a spin takes from the timeout.
    fn spins(spin: &Spin) -> bool {
        let left = spin.before_sleep(nothing, HOUR, None);
        assert!(left.is_some() && left <= HOUR);
        left < HOUR
    }

    #[test]
    fn before_sleep_spins_only_after_a_sleep_that_another_thread_ended() {
        let spin = Spin::new(SHORT);
        assert!(!spins(&spin), "before the first sleep");
        spin.after_sleep(false);
        assert!(!spins(&spin), "after an event");
        spin.after_sleep(true);
        spin.after_sleep(false);
        assert!(!spins(&spin), "the last sleep counts");
        spin.after_sleep(true);
        assert!(spins(&spin));
    }

    #[test]
    fn spins_without_success_become_rare_until_one_succeeds() {
        let mut spin = Spin::new(SHORT);
        let mut gaps = Vec::new();
        let mut gap = 0;
        for _ in 0..1500 {
            spin.after_sleep(true);
            if spins(&spin) {
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
        let mut published = [false, false, true].into_iter();
        assert_eq!(spin.spin(|| published.next().unwrap(), HOUR), HOUR);
        spin.limit = SHORT;
        assert!(spins(&spin), "after a success");
        spin.after_sleep(true);
        assert!(!spins(&spin));
        spin.after_sleep(true);
        assert!(spins(&spin), "one failure costs one sleep without a spin");
    }

    /// As after each turn of a loop whose handlers send to it: such turns do not make useless spins
    /// frequent.
    #[test]
    fn messages_before_the_spin_are_no_success() {
        let spin = Spin::new(SHORT);
        let mut count = 0;
        for _ in 0..300 {
            spin.after_sleep(true);
            assert_eq!(spin.before_sleep(|| true, HOUR, None), HOUR);
            count += u32::from(spins(&spin));
        }
        assert_eq!(count, 8, "at 1, 3, 7, 15 ... 255");
    }

    #[test]
    fn before_sleep_spins_no_longer_than_the_sleep_may_take() {
        let spin = Spin::new(Duration::from_secs(3600));
        assert_eq!(spin.limit, MAX_SPIN);
        for timeout in [Duration::from_micros(1), MAX_SPIN] {
            spin.after_sleep(true);
            let left = spin.before_sleep(nothing, Some(timeout), None);
            assert_eq!(left, Some(timeout), "it spun");
            assert_eq!(spin.before_sleep(nothing, HOUR, left), HOUR, "it spun");
        }
    }

    #[test]
    fn spin_of_zero_length_never_happens() {
        let spin = Spin::new(Duration::ZERO);
        for _ in 0..3 {
            spin.after_sleep(true);
            assert!(!spins(&spin));
        }
    }

    #[test]
    fn spin_ends_when_another_thread_publishes() {
        let mut spin = Spin::new(SHORT);
        spin.limit = Duration::from_secs(3600);
        spin.after_sleep(true);
        let published = Arc::new(AtomicBool::new(false));
        let other = {
            let published = published.clone();
            std::thread::spawn(move || published.store(true, Ordering::Release))
        };
        // Takes an hour if it does not see that.
        let left = spin.before_sleep(|| published.load(Ordering::Acquire), None, None);
        assert_eq!(left, None);
        other.join().unwrap();
    }
}
