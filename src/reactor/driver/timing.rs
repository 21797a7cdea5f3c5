//! Timers: arming, waiting for, moving and taking them off. Expiry is part of a turn, in `mod.rs`.

#![forbid(unsafe_code)]

use super::super::clock::Moment;
use super::super::waker_slot::WakerSlot;
use super::Driver;
use crate::timer::TimerKey;
use std::task::{Poll, Waker};

impl Driver {
    /// Arms a timer, or says that its deadline has passed already as far as the last reading of the clock can tell.
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

    /// Whether an armed timer has fired; stores the waker if not.
    #[inline]
    pub(crate) fn poll_timer(&self, key: TimerKey, waker: &Waker) -> Poll<()> {
        let mut timers = self.timers.borrow_mut();
        let Some(slot) = timers.get_mut(key) else {
            drop(timers);
            self.cancel_stand_in(key);
            return Poll::Ready(());
        };
        if self.wakers.holds(*slot, waker) {
            return Poll::Pending;
        }
        drop(timers);
        let fresh = self.wakers.store(waker);
        drop(self.swap_timer_waker(key, fresh));
        Poll::Pending
    }

    /// Puts another waker into a timer and returns the one that is in it no more; a timer that has fired meanwhile
    /// gives the new one back.
    fn swap_timer_waker(&self, key: TimerKey, fresh: WakerSlot) -> Option<Waker> {
        let mut timers = self.timers.borrow_mut();
        let old = match timers.get_mut(key) {
            Some(slot) => std::mem::replace(slot, fresh),
            None => fresh,
        };
        drop(timers);
        self.wakers.take(old)
    }

    /// A foreign thread waits for a timer: stores its waker. When the timer has fired before a foreign reset reached
    /// it, another one is armed in its place.
    pub(super) fn wait_timer(&self, key: TimerKey, deadline: Moment, waker: Waker) {
        let live = self.stand_ins.get(key).unwrap_or(key);
        let armed = self.timers.borrow_mut().get_mut(live).is_some();
        if !armed && Moment::now() >= deadline {
            return waker.wake();
        }
        let fresh = self.wakers.store_owned(waker);
        if armed {
            drop(self.swap_timer_waker(live, fresh));
        } else {
            let tick = self.deadline_tick(deadline);
            let stand_in = self.timers.borrow_mut().insert(tick, fresh);
            self.stand_ins.set(key, stand_in);
        }
    }

    /// Gives a timer another deadline; false if it has fired.
    #[inline]
    pub(crate) fn reset_timer(&self, key: TimerKey, deadline: Moment) -> bool {
        let tick = self.deadline_tick(deadline);
        let armed = self.timers.borrow_mut().reset(key, tick);
        if !armed {
            self.cancel_stand_in(key);
        }
        armed
    }

    /// The tick of a deadline.
    #[inline]
    pub(crate) fn deadline_tick(&self, deadline: Moment) -> u64 {
        self.clock.tick_after(deadline)
    }

    /// Takes a timer off; nothing happens if it has fired.
    #[inline(always)]
    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let slot = self.timers.borrow_mut().cancel(key);
        match slot {
            Some(slot) if self.wakers.as_key(slot).is_some() => {}
            Some(slot) => self.drop_waker(slot),
            None => self.cancel_stand_in(key),
        }
    }

    /// Drops a foreign waker that nothing waits with any more.
    #[cold]
    fn drop_waker(&self, slot: WakerSlot) {
        drop(self.wakers.take(slot));
    }

    /// Takes off what stands for a timer that has fired.
    #[cold]
    #[inline(never)]
    fn cancel_stand_in(&self, key: TimerKey) {
        if let Some(stand_in) = self.stand_ins.take(key) {
            let slot = self.timers.borrow_mut().cancel(stand_in);
            drop(slot.and_then(|slot| self.wakers.take(slot)));
        }
    }
}
