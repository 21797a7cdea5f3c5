//! Wakers collected while the reactor is borrowed, woken after the borrow has ended.

use super::waker_slot::{Taken, WakerSlot, Wakers};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// The wakers that one turn has to wake. Kept from turn to turn for its room.
///
/// The runtime's own wakers are woken at once: that puts a number into a run queue and runs no foreign code. Only
/// foreign ones are collected.
#[derive(Debug, Default)]
pub(crate) struct WakeList {
    foreign: Vec<Waker>,
    /// Somebody was woken since the last `wake_all`.
    woken: bool,
}

impl WakeList {
    /// Empties a slot: wakes a key, puts a foreign waker into the list.
    #[inline]
    pub(crate) fn take(&mut self, wakers: &Wakers, slot: &mut WakerSlot) {
        match wakers.take(std::mem::take(slot)) {
            Some(Taken::Key(key)) => {
                self.woken = true;
                wakers.wake_key(key);
            }
            Some(Taken::Foreign(waker)) => self.foreign.push(waker),
            None => {}
        }
    }

    /// Whether nobody was woken and nobody is to be.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        !self.woken && self.foreign.is_empty()
    }

    /// Wakes those that were collected. When one panics the others are woken all the same, then the first panic goes on.
    ///
    /// The caller has nothing borrowed: a foreign waker may call back into anything.
    #[inline]
    pub(crate) fn wake_all(&mut self) {
        self.woken = false;
        if !self.foreign.is_empty() {
            self.wake_foreign();
        }
    }

    #[cold]
    fn wake_foreign(&mut self) {
        let mut panic = None;
        for waker in self.foreign.drain(..) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                panic.get_or_insert(payload);
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}
