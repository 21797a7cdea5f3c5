//! Wakers collected while the reactor is borrowed, woken after the borrow has ended.

use super::waker_slot::{Taken, WakerSlot, Wakers};
use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Lets foreign code panic where the work must be finished first: keeps the first panic, which goes on afterwards.
#[derive(Default)]
pub(super) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs `f`; whether it returned.
    pub(super) fn guard(&mut self, f: impl FnOnce()) -> bool {
        let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
            return true;
        };
        if self.0.is_none() {
            self.0 = Some(payload);
        } else if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // A payload whose drop panics: its payload is leaked, or this would have no end.
            mem::forget(again);
        }
        false
    }

    /// The panic goes on, if there was one.
    pub(super) fn resume(self) {
        if let Some(payload) = self.0 {
            resume_unwind(payload);
        }
    }
}

/// The wakers that one turn has to wake. Kept from turn to turn for its room.
#[derive(Debug, Default)]
pub(crate) struct WakeList {
    list: Vec<Taken>,
}

impl WakeList {
    /// Empties a slot into the list.
    #[inline]
    pub(crate) fn take(&mut self, wakers: &Wakers, slot: &mut WakerSlot) {
        if let Some(taken) = wakers.take(std::mem::take(slot)) {
            self.list.push(taken);
        }
    }

    /// Whether there is no one to wake.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Wakes them all. When one panics the others are woken all the same, then the first panic goes on.
    ///
    /// The caller has nothing borrowed: a foreign waker may call back into anything.
    pub(crate) fn wake_all(&mut self, wakers: &Wakers) {
        let mut panics = FirstPanic::default();
        for taken in self.list.drain(..) {
            match taken {
                key @ Taken::Key(_) => wakers.wake(key),
                foreign => {
                    panics.guard(|| wakers.wake(foreign));
                }
            }
        }
        panics.resume();
    }
}
