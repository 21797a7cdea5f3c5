//! Wakers collected while the reactor is borrowed, woken after the borrow has ended.

use super::waker_slot::{Taken, WakerSlot, Wakers};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

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
        let mut panic = None;
        for taken in self.list.drain(..) {
            match taken {
                key @ Taken::Key(_) => wakers.wake(key),
                foreign => {
                    let woken = catch_unwind(AssertUnwindSafe(|| wakers.wake(foreign)));
                    if let Err(payload) = woken {
                        panic.get_or_insert(payload);
                    }
                }
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}
