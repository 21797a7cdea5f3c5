//! [`WakeList`] collects wakers while the reactor is borrowed, and wakes them after the borrow.

use super::waker_slot::{WakerSlot, Wakers};
use std::task::Waker;

/// The wakers that one turn or call has to wake.
///
/// The runtime's own wakers are woken at once: that puts a number into a run queue and runs no
/// foreign code. Only foreign ones are collected.
#[derive(Debug, Default)]
pub(crate) struct WakeList {
    foreign: Vec<Waker>,
    /// Whether a task was woken since the last `wake_all`.
    woken: bool,
}

impl WakeList {
    /// Wakes the slot's task if it holds a key, and moves a foreign waker from the table to the
    /// list. The slot must not be used again.
    #[inline]
    pub(crate) fn take(&mut self, wakers: &Wakers, slot: WakerSlot) {
        match wakers.as_key(slot) {
            Some(key) => {
                self.woken = true;
                wakers.wake_key(key);
            }
            None => self.take_foreign(wakers, slot),
        }
    }

    #[cold]
    fn take_foreign(&mut self, wakers: &Wakers, slot: WakerSlot) {
        if let Some(waker) = wakers.take(slot) {
            if self.foreign.capacity() == 0 {
                self.foreign = wakers.take_room();
            }
            self.foreign.push(waker);
        }
    }

    /// Whether no task was woken since the last `wake_all` and the list is empty.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        !self.woken && self.foreign.is_empty()
    }

    /// Wakes the collected wakers. If one panics, the panic is reported, and the others are woken
    /// as usual.
    ///
    /// The caller must have nothing borrowed, because a foreign waker may call back into anything.
    #[inline]
    pub(crate) fn wake_all(&mut self, wakers: &Wakers) {
        self.woken = false;
        if !self.foreign.is_empty() {
            self.wake_foreign(wakers);
        }
    }

    #[cold]
    fn wake_foreign(&mut self, wakers: &Wakers) {
        for waker in self.foreign.drain(..) {
            wakers.guard(|| waker.wake());
        }
        wakers.keep_room(std::mem::take(&mut self.foreign));
    }
}
