//! Wakers stored as one word.
//!
//! The runtime's own wakers are keys (`task/waker.rs`): they hold nothing, and waking one is a call with an integer. A
//! slot stores such a key as it is. Any other waker goes into a side table, and the slot holds its index. So a
//! registration or a timer pays 8 bytes for a waiter, and storing the same task's waker again is one comparison.
//!
//! The reactor does not know tasks; [`KeyWakers`], given to it by the runtime, says how to recognise and wake a key.
//!
//! Cloning, dropping and waking a foreign waker runs foreign code, so none of it happens while the table is borrowed:
//! [`Wakers::store`] clones before it borrows, and hands a displaced waker back out.

use slab::Slab;
use std::cell::RefCell;
use std::task::{RawWakerVTable, Waker};

/// How to recognise wakers that are keys, and how to wake one.
#[derive(Clone, Copy)]
pub(crate) struct KeyWakers {
    /// Such wakers have this vtable.
    pub(crate) vtable: &'static RawWakerVTable,
    /// Wakes by key. Runs no foreign code but the `Notify` of another runtime, when the key is of one that sleeps: a user's
    /// own must not use this runtime's sockets or timers.
    pub(crate) wake: fn(usize),
    /// No key is smaller: smaller numbers are free to mean something else.
    pub(crate) min_key: usize,
}

impl std::fmt::Debug for KeyWakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyWakers")
            .field("min_key", &self.min_key)
            .finish()
    }
}

/// One stored waker: 0 for none, a key from `min_key` on, else an index into the table, plus one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct WakerSlot(usize);

impl WakerSlot {
    pub(crate) const EMPTY: WakerSlot = WakerSlot(0);

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The table of foreign wakers, and the means to wake both kinds.
#[derive(Debug)]
pub(crate) struct Wakers {
    keys: KeyWakers,
    foreign: RefCell<Slab<Waker>>,
}

impl Wakers {
    pub(crate) fn new(keys: KeyWakers) -> Wakers {
        Wakers {
            keys,
            foreign: RefCell::new(Slab::new()),
        }
    }

    /// The key behind one of the runtime's own wakers.
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

    #[inline(never)]
    fn holds_foreign(&self, slot: WakerSlot, waker: &Waker) -> bool {
        (1..self.keys.min_key).contains(&slot.0) && {
            let foreign = self.foreign.borrow();
            foreign
                .get(slot.0 - 1)
                .is_some_and(|stored| stored.will_wake(waker))
        }
    }

    /// The slot for a waker that is a key: storing it runs no foreign code, so it may be done under a borrow.
    #[inline]
    pub(crate) fn key_slot(&self, waker: &Waker) -> Option<WakerSlot> {
        self.key(waker).map(WakerSlot)
    }

    /// Turns a waker into what a slot holds. A foreign one is cloned and entered in the table, so the slot must be
    /// emptied by [`take`](Wakers::take) in the end. The caller has nothing borrowed.
    #[inline]
    pub(crate) fn store(&self, waker: &Waker) -> WakerSlot {
        match self.key(waker) {
            Some(key) => WakerSlot(key),
            None => self.store_foreign(waker.clone()),
        }
    }

    /// As [`store`](Wakers::store) for a waker that is already ours to keep: runs no foreign code.
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

    /// The key in a slot, if there is one.
    #[inline]
    pub(crate) fn as_key(&self, slot: WakerSlot) -> Option<usize> {
        (slot.0 >= self.keys.min_key).then_some(slot.0)
    }

    /// Takes a foreign waker out of the table; of a key nothing is left.
    #[inline]
    pub(crate) fn take(&self, slot: WakerSlot) -> Option<Waker> {
        if slot.is_empty() || self.as_key(slot).is_some() {
            return None;
        }
        Some(self.take_foreign(slot))
    }

    #[inline(never)]
    fn take_foreign(&self, slot: WakerSlot) -> Waker {
        self.foreign.borrow_mut().remove(slot.0 - 1)
    }

    /// Wakes by key: runs no foreign code.
    #[inline]
    pub(crate) fn wake_key(&self, key: usize) {
        (self.keys.wake)(key);
    }

    /// How many foreign wakers are stored.
    #[cfg(test)]
    pub(crate) fn foreign_len(&self) -> usize {
        self.foreign.borrow().len()
    }
}
