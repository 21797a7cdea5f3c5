//! Arms, polls, resets and cancels timers. Expiry is part of a turn, in `mod.rs`.

#![forbid(unsafe_code)]

use super::super::clock::Moment;
use super::super::waker_slot::WakerSlot;
use super::Driver;
use crate::place::Place;
use crate::timer::TimerKey;
use std::task::{Poll, Waker};
use std::time::Duration;

/// The last reading of the clock is expected to be no older than this. In a poll that takes longer,
/// a deadline that has just passed may be treated as a future one; the task is then woken in the
/// next turn.
const LONGEST_POLL: Duration = Duration::from_secs(1);

impl Driver {
    /// Arms a timer, unless its deadline has passed according to the last reading of the clock.
    // Inlined into the one place that arms timers, as are `Timers::insert`, `Timers::cancel` and
    // the call that disarms one: as calls the four cost 37 of 225 instructions per timer.
    #[inline(always)]
    pub(crate) fn arm_timer(&self, deadline: Moment, waker: &Waker) -> Option<TimerKey> {
        if deadline <= self.last_reading.get() {
            return None;
        }
        let slot = self.wakers.store(waker);
        Some(
            self.timers
                .borrow_mut()
                .insert(self.clock.tick_after_start(deadline), slot),
        )
    }

    /// Notes where an armed timer was created, if this runtime tracks that.
    #[cold]
    pub(crate) fn note_place(&self, key: TimerKey, place: Place) {
        if let Some(places) = &self.timer_places {
            places.borrow_mut().set(key, place);
        }
    }

    /// Returns whether a deadline has passed. Reads the clock only if the deadline is less than
    /// [`LONGEST_POLL`] after the last reading.
    #[inline]
    pub(crate) fn has_passed(&self, deadline: Moment) -> bool {
        let read = self.last_reading.get();
        deadline <= read
            || (deadline.since(read) < LONGEST_POLL && self.has_passed_by_now(deadline))
    }

    #[cold]
    fn has_passed_by_now(&self, deadline: Moment) -> bool {
        let now = self.clock.now();
        self.last_reading.set(now);
        deadline <= now
    }

    /// Returns whether an armed timer has fired. Otherwise stores the waker.
    #[inline]
    pub(crate) fn poll_timer(&self, key: TimerKey, waker: &Waker) -> Poll<()> {
        let mut timers = self.timers.borrow_mut();
        let Some(slot) = timers.get_mut(key) else {
            drop(timers);
            self.cancel_replacement(key);
            return Poll::Ready(());
        };
        if self.wakers.holds(*slot, waker) {
            return Poll::Pending;
        }
        drop(timers);
        let fresh = self.wakers.store(waker);
        self.replace_timer_waker(key, fresh);
        Poll::Pending
    }

    /// Replaces the waker of a timer and drops the old one. If the timer has fired meanwhile, drops
    /// the new one.
    fn replace_timer_waker(&self, key: TimerKey, fresh: WakerSlot) {
        let mut timers = self.timers.borrow_mut();
        let old = match timers.get_mut(key) {
            Some(slot) => std::mem::replace(slot, fresh),
            None => fresh,
        };
        drop(timers);
        if let Some(waker) = self.wakers.take(old) {
            self.wakers.guard(|| drop(waker));
        }
    }

    /// Stores the waker of another thread that waits for a timer. If the timer fired before a reset
    /// by that thread arrived, arms a replacement.
    pub(super) fn wait_timer(&self, key: TimerKey, deadline: Moment, place: Place, waker: Waker) {
        let live = self.replaced_timers.get(key).unwrap_or(key);
        let armed = self.timers.borrow_mut().get_mut(live).is_some();
        if !armed && self.clock.now() >= deadline {
            return self.wakers.guard(|| waker.wake());
        }
        let fresh = self.wakers.store_owned(waker);
        if armed {
            self.replace_timer_waker(live, fresh);
        } else {
            let tick = self.deadline_tick(deadline);
            let replacement = self.timers.borrow_mut().insert(tick, fresh);
            self.note_place(replacement, place);
            self.replaced_timers.set(key, replacement);
        }
    }

    /// Sets another deadline for a timer. Returns false if the timer has fired.
    #[inline]
    pub(crate) fn reset_timer(&self, key: TimerKey, deadline: Moment) -> bool {
        let tick = self.deadline_tick(deadline);
        let armed = self.timers.borrow_mut().reset(key, tick);
        armed || self.reset_replacement(key, tick)
    }

    /// Resets the replacement of a timer that has fired, and keeps its waker. Returns false if the
    /// replacement has fired as well.
    #[cold]
    fn reset_replacement(&self, key: TimerKey, tick: u64) -> bool {
        let Some(replacement) = self.replaced_timers.get(key) else {
            return false;
        };
        let armed = self.timers.borrow_mut().reset(replacement, tick);
        if !armed {
            self.replaced_timers.take(key);
        }
        armed
    }

    /// Returns the tick of a deadline.
    #[inline]
    pub(crate) fn deadline_tick(&self, deadline: Moment) -> u64 {
        self.clock.tick_after(deadline)
    }

    /// Cancels a timer. Does nothing if it has fired.
    // Inlined, see `arm_timer`.
    #[inline(always)]
    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let slot = self.timers.borrow_mut().cancel(key);
        match slot {
            Some(slot) if self.wakers.as_key(slot).is_some() => {}
            Some(slot) => self.drop_waker(slot),
            None => self.cancel_replacement(key),
        }
    }

    /// Drops a foreign waker that is no longer needed. Never panics.
    #[cold]
    fn drop_waker(&self, slot: WakerSlot) {
        self.wakers.guard(|| drop(self.wakers.take(slot)));
    }

    /// Cancels the replacement of a timer that has fired, if there is one.
    #[cold]
    fn cancel_replacement(&self, key: TimerKey) {
        if let Some(replacement) = self.replaced_timers.take(key) {
            let slot = self.timers.borrow_mut().cancel(replacement);
            if let Some(slot) = slot {
                self.drop_waker(slot);
            }
        }
    }
}
