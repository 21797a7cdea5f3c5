//! One level of the wheel: 64 slots, which of them are occupied, and the earliest deadline filed in each.
//!
//! A slot is a list through the [slab of entries](super::entry), kept first in, first out: timers that were armed one
//! after the other lie one after the other in memory, and a cascade walks them in that order. What tick a slot stands
//! for, and when it is visited, is the [`wheel`](super::wheel)'s business.

#![forbid(unsafe_code)]

use super::entry::{Entries, NIL};

/// Slots of a level, a power of two so that a tick's digits name slots.
pub(super) const SLOTS: usize = 64;

/// A list of entries.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// No entry in the list is due before this tick; `u64::MAX` when the list is empty. Exact until the entry it
    /// came from leaves the list or is reset to later.
    min: u64,
    head: u32,
    tail: u32,
}

impl Slot {
    const EMPTY: Slot = Slot {
        min: u64::MAX,
        head: NIL,
        tail: NIL,
    };
}

/// 64 slots and a bit for each that is occupied.
#[derive(Debug)]
pub(super) struct Level {
    occupied: u64,
    slots: [Slot; SLOTS],
}

impl Level {
    pub(super) const EMPTY: Level = Level {
        occupied: 0,
        slots: [Slot::EMPTY; SLOTS],
    };

    /// The bit set of occupied slots.
    #[inline]
    pub(super) fn occupied(&self) -> u64 {
        self.occupied
    }

    /// The first entry of a slot, or `NIL`.
    #[inline]
    pub(super) fn head(&self, slot: u16) -> u32 {
        self.slots[slot as usize % SLOTS].head
    }

    /// A tick before which nothing in the slot is due.
    #[inline]
    pub(super) fn min(&self, slot: u16) -> u64 {
        self.slots[slot as usize % SLOTS].min
    }

    /// Puts an entry at the end of a slot's list.
    #[inline]
    pub(super) fn append<T>(&mut self, slot: u16, entries: &mut Entries<T>, index: u32) {
        let list = &mut self.slots[slot as usize % SLOTS];
        let tail = std::mem::replace(&mut list.tail, index);
        let entry = &mut entries[index];
        entry.prev = tail;
        entry.next = NIL;
        list.min = list.min.min(entry.deadline);
        if tail == NIL {
            list.head = index;
            self.occupied |= 1 << (slot as usize % SLOTS);
        } else {
            entries[tail].next = index;
        }
    }

    /// Takes an entry out of the list of the slot it is in.
    #[inline]
    pub(super) fn remove<T>(&mut self, slot: u16, entries: &mut Entries<T>, index: u32) {
        let list = &mut self.slots[slot as usize % SLOTS];
        let (prev, next) = (entries[index].prev, entries[index].next);
        if prev == NIL {
            list.head = next;
        } else {
            entries[prev].next = next;
        }
        if next == NIL {
            list.tail = prev;
        } else {
            entries[next].prev = prev;
        }
        if list.head == NIL {
            list.min = u64::MAX;
            self.occupied &= !(1 << (slot as usize % SLOTS));
        }
    }

    /// Empties a slot and gives back its first entry; the entries stay chained by `next`.
    #[inline]
    pub(super) fn take(&mut self, slot: u16) -> u32 {
        self.occupied &= !(1 << (slot as usize % SLOTS));
        std::mem::replace(&mut self.slots[slot as usize % SLOTS], Slot::EMPTY).head
    }
}
