//! One level of the wheel: 64 slots, which of them are occupied, and the earliest deadline filed in each.
//!
//! A slot is a [`Queue`] of indices into the slab. What tick a slot stands for, and when it is visited, is the
//! [`wheel`](super::wheel)'s business.

#![forbid(unsafe_code)]

use super::chunk::{Chunks, Queue};
use super::entry::Entries;

/// Slots of a level, a power of two so that a tick's digits name slots.
pub(super) const SLOTS: usize = 64;

/// The timers of one range of ticks.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// No timer in the slot is due before this tick; `u64::MAX` when the slot is empty. Exact until the timer it
    /// came from leaves the slot or is reset to later.
    min: u64,
    queue: Queue,
}

impl Slot {
    const EMPTY: Slot = Slot {
        min: u64::MAX,
        queue: Queue::EMPTY,
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

    /// The queue of a slot.
    #[inline]
    pub(super) fn queue(&self, slot: u16) -> Queue {
        self.slots[slot as usize % SLOTS].queue
    }

    /// A tick before which nothing in the slot is due.
    #[inline]
    pub(super) fn min(&self, slot: u16) -> u64 {
        self.slots[slot as usize % SLOTS].min
    }

    /// Puts an index at the end of a slot and gives back its cell.
    #[inline]
    pub(super) fn push(
        &mut self,
        slot: u16,
        chunks: &mut Chunks,
        index: u32,
        deadline: u64,
    ) -> u32 {
        self.occupied |= 1 << (slot as usize % SLOTS);
        let slot = &mut self.slots[slot as usize % SLOTS];
        slot.min = slot.min.min(deadline);
        chunks.push(&mut slot.queue, index)
    }

    /// Takes the first index off a slot that is occupied.
    #[inline]
    pub(super) fn pop_first(&mut self, slot: u16, chunks: &mut Chunks) {
        chunks.pop_first(&mut self.slots[slot as usize % SLOTS].queue);
        self.note_emptied(slot);
    }

    /// Takes out the index in `cell`, which belongs to `slot`.
    #[inline]
    pub(super) fn remove<T>(
        &mut self,
        slot: u16,
        cell: u32,
        chunks: &mut Chunks,
        entries: &mut Entries<T>,
    ) {
        chunks.remove(&mut self.slots[slot as usize % SLOTS].queue, cell, entries);
        self.note_emptied(slot);
    }

    /// Empties a slot and gives away its queue.
    #[inline]
    pub(super) fn take(&mut self, slot: u16) -> Queue {
        self.occupied &= !(1 << (slot as usize % SLOTS));
        std::mem::replace(&mut self.slots[slot as usize % SLOTS], Slot::EMPTY).queue
    }

    #[inline]
    fn note_emptied(&mut self, number: u16) {
        let slot = &mut self.slots[number as usize % SLOTS];
        if slot.queue.is_empty() {
            slot.min = u64::MAX;
            self.occupied &= !(1 << (number as usize % SLOTS));
        }
    }
}
