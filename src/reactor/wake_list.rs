//! Wakers collected while the reactor is borrowed, woken after the borrow has ended.

use super::waker_slot::{WakerSlot, Wakers};
use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// Lets foreign code panic where the work must be finished first: keeps the first panic, which goes on afterwards.
#[derive(Default)]
pub(super) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs `f`; whether it returned.
    pub(super) fn guard(&mut self, f: impl FnOnce()) -> bool {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(()) => true,
            Err(payload) => {
                self.keep(payload);
                false
            }
        }
    }

    #[cold]
    fn keep(&mut self, mut payload: Box<dyn Any + Send>) {
        if self.0.is_none() {
            self.0 = Some(payload);
            return;
        }
        // Dropped; if that panics its payload in turn. What still panics then is leaked, for this could go on for ever.
        for _ in 0..3 {
            match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                Ok(()) => return,
                Err(next) => payload = next,
            }
        }
        mem::forget(payload);
    }

    /// The panic goes on, if there was one.
    pub(super) fn resume(self) {
        if let Some(payload) = self.0 {
            resume_unwind(payload);
        }
    }
}

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
    /// Wakes a key, takes a foreign waker out of its table into the list. The slot is not to be used again.
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
            self.foreign.push(waker);
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
        let mut panics = FirstPanic::default();
        for waker in self.foreign.drain(..) {
            panics.guard(|| waker.wake());
        }
        panics.resume();
    }
}
