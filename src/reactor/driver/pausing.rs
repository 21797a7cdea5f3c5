//! Pauses and moves the clock of a runtime, on its own thread (feature `test-util`).

#![forbid(unsafe_code)]

use super::super::clock::Moment;
use super::super::wake_list::WakeList;
use super::{Driver, Turn};
use std::io;
use std::time::Duration;

impl Driver {
    /// Pauses the clock at the present. Returns false if it was paused already.
    ///
    /// From now on ticks are one nanosecond long, so that a timer fires when the clock has been
    /// moved exactly to its deadline. A timer that is armed already keeps the deadline that it has
    /// in the wheel, which may be up to one of the former ticks late.
    pub(crate) fn pause(&self) -> bool {
        let paused = self.clock.source().pause();
        if paused {
            let bits = self.clock.refine();
            self.timers.borrow_mut().refine(bits);
            self.last_reading.set(self.clock.now());
        }
        paused
    }

    /// Makes a paused clock run on from where it stands. Returns false if it was not paused.
    pub(crate) fn resume_clock(&self) -> bool {
        self.clock.source().resume()
    }

    /// Moves a paused clock forward and wakes whatever waits for a timer that is due by then, in
    /// the order of the deadlines. Returns false if the clock is not paused.
    ///
    /// # Panics
    ///
    /// If the clock cannot represent the time.
    #[track_caller]
    pub(crate) fn advance(&self, duration: Duration) -> bool {
        if !self.clock.source().is_paused() {
            return false;
        }
        let to = self.clock.now().plus(duration);
        assert!(
            to < Moment::NEVER,
            "the clock cannot be moved by {duration:?}: it ends about 292 years after the start of the machine"
        );
        self.clock.source().move_to(to);
        self.fire_due();
        true
    }

    /// Moves a paused clock to the next deadline and wakes whatever waits for it. Returns false if
    /// no timer is armed that will ever be due.
    pub(crate) fn jump(&self) -> bool {
        let tick = self.timers.borrow().next_deadline();
        let next = tick.and_then(|tick| self.clock.moment_at(tick));
        let Some(next) = next else { return false };
        self.clock.source().move_to(next);
        self.fire_due();
        true
    }

    /// Wakes whatever waits for a timer that is due, however many there are.
    fn fire_due(&self) {
        let mut turn = Turn {
            driver: self,
            list: WakeList::default(),
        };
        let now = self.clock.now();
        self.last_reading.set(now);
        let mut timers = self.timers.borrow_mut();
        timers.begin_expiry(self.clock.tick_before(now));
        while let Some((_, slot)) = timers.pop_expired() {
            turn.list.take(&self.wakers, slot);
        }
        drop(timers);
        turn.wake();
        std::mem::forget(turn);
    }

    /// Makes a turn that does not wait, and rechecks every fd with a lasting hang-up. Returns
    /// whether it has found anything to wake.
    pub(crate) fn look(&self) -> io::Result<bool> {
        self.reactor.borrow_mut().table.recheck_now();
        let mut turn = Turn {
            driver: self,
            list: WakeList::default(),
        };
        let collected = self.collect(None, Some(Duration::ZERO), &mut turn.list);
        let found = !turn.list.is_idle();
        turn.wake();
        std::mem::forget(turn);
        collected.map(|()| found)
    }

    /// Returns whether any fd is registered.
    pub(crate) fn watches_fds(&self) -> bool {
        self.reactor.borrow().table.len() != 0
    }

    /// Returns whether a timer is armed that will be due one day.
    pub(crate) fn has_deadline(&self) -> bool {
        let tick = self.timers.borrow().next_deadline();
        tick.is_some_and(|tick| self.clock.moment_at(tick).is_some())
    }
}
