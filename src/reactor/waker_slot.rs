//! [`Wakers`] and [`WakerSlot`] store a waker as one word.
//!
//! The runtime's own wakers are keys (`task/key.rs`): they own nothing, and waking one is a call
//! with an integer. A slot stores such a key as it is. Any other waker goes into a side table, and
//! the slot holds its index. So a registration or a timer pays 8 bytes for a waiter, and storing
//! the same task's waker again is one comparison.
//!
//! The reactor does not know tasks. The runtime gives it [`KeyWakers`], which recognizes and wakes
//! keys.
//!
//! Cloning, dropping and waking a foreign waker runs foreign code, so none of it happens while the
//! table is borrowed: [`Wakers::store`] clones before it borrows, and a replaced waker is returned
//! to the caller.

use crate::budget;
use crate::panics::{Payload, catch};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::task::{RawWakerVTable, Waker};

/// Recognizes wakers that are keys, and wakes them.
#[derive(Clone, Copy)]
pub(crate) struct KeyWakers {
    /// The vtable of such wakers.
    pub(crate) vtable: &'static RawWakerVTable,
    /// Wakes by key, and never panics. Runs no foreign code except the `Notify` of another runtime,
    /// if the key belongs to one that sleeps. A custom `Notify` must not use this runtime's sockets
    /// or timers.
    pub(crate) wake: fn(usize),
    /// The smallest key. Smaller numbers may have other meanings.
    pub(crate) min_key: usize,
    /// Reports a panic of foreign code that must not unwind from where it ran, such as from a drop.
    pub(crate) report_panic: fn(Payload),
}

impl std::fmt::Debug for KeyWakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyWakers")
            .field("min_key", &self.min_key)
            .finish()
    }
}

/// One stored waker: 0 for none, a key from `min_key` on, otherwise an index into the table, plus
/// one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct WakerSlot(usize);

impl WakerSlot {
    pub(crate) const EMPTY: WakerSlot = WakerSlot(0);

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The table of foreign wakers, with the functions that wake both kinds.
pub(crate) struct Wakers {
    keys: KeyWakers,
    foreign: RefCell<Slab<Waker>>,
    /// An empty vector, kept for its capacity between two lists of foreign wakers.
    room: Cell<Vec<Waker>>,
}

impl Wakers {
    pub(crate) fn new(keys: KeyWakers) -> Wakers {
        Wakers {
            keys,
            foreign: RefCell::new(Slab::new()),
            room: Cell::default(),
        }
    }

    /// Returns the key of a waker, if it is one of the runtime's own.
    #[inline]
    fn key(&self, waker: &Waker) -> Option<usize> {
        std::ptr::eq(waker.vtable(), self.keys.vtable).then(|| waker.data().addr())
    }

    /// Whether the slot holds a waker that wakes the same task.
    #[inline]
    pub(crate) fn holds(&self, slot: WakerSlot, waker: &Waker) -> bool {
        match self.key(waker) {
            Some(key) => slot.0 == key,
            None => self.holds_foreign(slot, waker),
        }
    }

    fn holds_foreign(&self, slot: WakerSlot, waker: &Waker) -> bool {
        (1..self.keys.min_key).contains(&slot.0) && {
            let foreign = self.foreign.borrow();
            foreign
                .get(slot.0 - 1)
                .is_some_and(|stored| stored.will_wake(waker))
        }
    }

    /// Returns the slot for a waker that is a key. That runs no foreign code, so it is allowed
    /// under a borrow.
    #[inline]
    pub(crate) fn key_slot(&self, waker: &Waker) -> Option<WakerSlot> {
        self.key(waker).map(WakerSlot)
    }

    /// Stores a waker. Clones a foreign one into the table, so the slot must be emptied by
    /// [`take`](Wakers::take) in the end. The caller must have nothing borrowed.
    #[inline]
    pub(crate) fn store(&self, waker: &Waker) -> WakerSlot {
        match self.key(waker) {
            Some(key) => WakerSlot(key),
            None => self.store_clone(waker),
        }
    }

    #[cold]
    fn store_clone(&self, waker: &Waker) -> WakerSlot {
        let clone = {
            let _unbound = budget::unbound();
            waker.clone()
        };
        self.store_foreign(clone)
    }

    /// As [`store`](Wakers::store), for an owned waker: runs no foreign code.
    pub(crate) fn store_owned(&self, waker: Waker) -> WakerSlot {
        match self.key(&waker) {
            Some(key) => WakerSlot(key),
            None => self.store_foreign(waker),
        }
    }

    #[cold]
    fn store_foreign(&self, waker: Waker) -> WakerSlot {
        let index = self.foreign.borrow_mut().insert(waker);
        assert!(
            index + 1 < self.keys.min_key,
            "the table of foreign wakers is full"
        );
        WakerSlot(index + 1)
    }

    /// Returns the key in a slot, if it holds one.
    #[inline]
    pub(crate) fn as_key(&self, slot: WakerSlot) -> Option<usize> {
        (slot.0 >= self.keys.min_key).then_some(slot.0)
    }

    /// Takes a foreign waker out of the table. Returns `None` for a key.
    #[inline]
    pub(crate) fn take(&self, slot: WakerSlot) -> Option<Waker> {
        if slot.is_empty() || self.as_key(slot).is_some() {
            return None;
        }
        Some(self.take_foreign(slot))
    }

    fn take_foreign(&self, slot: WakerSlot) -> Waker {
        self.foreign.borrow_mut().remove(slot.0 - 1)
    }

    /// Gives back the room that is not used.
    pub(crate) fn shrink(&self) {
        self.foreign.borrow_mut().shrink_to_fit();
        drop(self.room.take());
    }

    /// Returns an empty vector for a list of foreign wakers.
    pub(crate) fn take_room(&self) -> Vec<Waker> {
        self.room.take()
    }

    /// Keeps an empty vector for the next list.
    pub(crate) fn keep_room(&self, room: Vec<Waker>) {
        debug_assert!(room.is_empty());
        self.room.set(room);
    }

    /// Wakes by key; see [`KeyWakers::wake`] for what that may run.
    #[inline]
    pub(crate) fn wake_key(&self, key: usize) {
        (self.keys.wake)(key);
    }

    /// Runs foreign code, such as the drop of a foreign waker, and reports its panic.
    #[cold]
    pub(crate) fn guard(&self, f: impl FnOnce()) {
        let _unbound = budget::unbound();
        catch(f).unwrap_or_else(self.keys.report_panic);
    }

    /// Reports a panic of foreign code, which goes to the runtime's policy.
    #[cold]
    pub(crate) fn report_panic(&self, panic: Payload) {
        (self.keys.report_panic)(panic);
    }

    /// Returns how many foreign wakers are stored.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn foreign_len(&self) -> usize {
        self.foreign.borrow().len()
    }
}
