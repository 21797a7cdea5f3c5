//! The slots of all levels in one row: what is in each, which are occupied, and the earliest deadline in each.
//!
//! A slot is a [`Queue`] of indices into the slab, named by its number: the level times 64, and the digit. What tick it
//! stands for, and when it is visited, is the [`wheel`](super::wheel)'s business.

#![forbid(unsafe_code)]

use super::chunk::{Chunks, Queue};
use super::entry::Entries;

/// Slots of a level, a power of two so that a tick's digits name slots.
pub(super) const SLOTS: usize = 64;

/// Rows of so many slots: the levels, and one more for what is not on the wheel.
pub(super) const ROWS: usize = 8;

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

/// Every slot, and a bit for each that is occupied.
#[derive(Debug)]
pub(super) struct Slots {
    occupied: [u64; ROWS],
    list: [Slot; ROWS * SLOTS],
}

/// The row that a slot is in. The remainder changes nothing; it spares the bounds checks.
#[inline]
pub(super) fn row_of(slot: u16) -> usize {
    slot as usize / SLOTS % ROWS
}

/// The bit of a slot in its row.
#[inline]
fn bit(slot: u16) -> u64 {
    1 << (slot as usize % SLOTS)
}

impl Slots {
    pub(super) const EMPTY: Slots = Slots {
        occupied: [0; ROWS],
        list: [Slot::EMPTY; ROWS * SLOTS],
    };

    /// The bit set of occupied slots of a row.
    #[inline]
    pub(super) fn occupied(&self, row: usize) -> u64 {
        self.occupied[row]
    }

    /// The occupied slot with the smallest number.
    #[inline]
    pub(super) fn first(&self) -> Option<u16> {
        let row = self.occupied.iter().position(|&bits| bits != 0)?;
        Some((row * SLOTS) as u16 + self.occupied[row].trailing_zeros() as u16)
    }

    /// The same by reference. The remainder changes nothing; it spares the bounds check.
    #[inline]
    fn slot(&self, slot: u16) -> &Slot {
        &self.list[slot as usize % (ROWS * SLOTS)]
    }

    #[inline]
    fn slot_mut(&mut self, slot: u16) -> &mut Slot {
        &mut self.list[slot as usize % (ROWS * SLOTS)]
    }

    /// The queue of a slot.
    #[inline]
    pub(super) fn queue(&self, slot: u16) -> Queue {
        self.slot(slot).queue
    }

    /// A tick before which nothing in the slot is due.
    #[inline]
    pub(super) fn min(&self, slot: u16) -> u64 {
        self.slot(slot).min
    }

    /// Notes that a timer in the slot is due at `deadline` from now on.
    #[inline]
    pub(super) fn note_earlier(&mut self, slot: u16, deadline: u64) {
        let slot = self.slot_mut(slot);
        slot.min = slot.min.min(deadline);
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
        self.occupied[row_of(slot)] |= bit(slot);
        let slot = self.slot_mut(slot);
        slot.min = slot.min.min(deadline);
        chunks.push(&mut slot.queue, index)
    }

    /// Takes the first index off a slot that is occupied.
    #[inline]
    pub(super) fn pop_first(&mut self, slot: u16, chunks: &mut Chunks) {
        chunks.pop_first(&mut self.slot_mut(slot).queue);
        self.note_emptied(slot);
    }

    /// Takes out the index in `cell`, which belongs to `slot`.
    #[inline]
    pub(super) fn remove<T: Copy>(
        &mut self,
        slot: u16,
        cell: u32,
        chunks: &mut Chunks,
        entries: &mut Entries<T>,
    ) {
        let place = self.slot_mut(slot);
        if chunks.remove(&mut place.queue, cell, entries) {
            place.min = u64::MAX;
            self.occupied[row_of(slot)] &= !bit(slot);
        }
    }

    /// Empties a slot and gives away its queue.
    #[inline]
    pub(super) fn take(&mut self, slot: u16) -> Queue {
        self.occupied[row_of(slot)] &= !bit(slot);
        std::mem::replace(self.slot_mut(slot), Slot::EMPTY).queue
    }

    #[inline]
    fn note_emptied(&mut self, number: u16) {
        let slot = self.slot_mut(number);
        if slot.queue.is_empty() {
            slot.min = u64::MAX;
            self.occupied[row_of(number)] &= !bit(number);
        }
    }
}
