//! [`Wheel`]: chooses the slot of a deadline, and moves the position past the slots.
//!
//! The wheel is at a tick, the *position*; all earlier ticks are done. A deadline belongs to the
//! level of the highest 6-bit digit in which it differs from the position, and there to the slot of
//! its own digit. The rest follows from this:
//!
//! - The timers of a level are later than those of the levels below it, and within a level a higher
//!   slot is later. So the earliest slot is the lowest bit of the lowest level that is not empty.
//!   It is found without a search, no matter how long the wheel has not moved.
//! - When the position enters a slot of level 1 or higher, the timers of the slot no longer differ
//!   from it in that digit. They are filed again in lower levels; this is a cascade. A timer moves
//!   at most once per level.
//!
//! The wheel works with indices, not keys, and does not decide which timers may fire in which pass:
//! [`Timers`](super::Timers) does.

#![forbid(unsafe_code)]

use super::entry::Entries;
use super::slots::{BLOCK, ROWS, SLOTS, Slots, row_of};

/// Bits of a tick that name a slot in one level.
const BITS: u32 = SLOTS.trailing_zeros();

/// The number of levels. 2^42 ticks of 16 us are 2.2 years.
pub(super) const LEVELS: usize = 7;

/// One more row of slots, for the lists that are not on the wheel.
const SHELF: usize = LEVELS;
const _: () = assert!(SHELF + 1 == ROWS);

/// The slot of timers that differ from the position above the highest level. It comes after all
/// slots of the wheel.
const BEYOND: u16 = (SHELF * SLOTS) as u16;

/// The slot of timers that were due already when they were armed: they fire in the next pass.
pub(super) const NEXT: u16 = BEYOND + 1;

/// The levels, and the position. The caller lends the entries to each call.
#[derive(Debug)]
pub(super) struct Wheel {
    /// All ticks before this one are done. It never goes back.
    pub(super) position: u64,
    slots: Slots,
    /// The number of slots visited and entries filed, for tests of what a pass costs.
    #[cfg(test)]
    pub(super) steps: u64,
}

impl Wheel {
    /// Makes an empty wheel at tick 0.
    pub(super) fn new() -> Wheel {
        Wheel {
            position: 0,
            slots: Slots::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Returns the slot for a deadline that is not before the position.
    #[inline]
    pub(super) fn place(&self, deadline: u64) -> u16 {
        // The lowest digit is set so that equal ticks belong to level 0 as well.
        let highest = ((self.position ^ deadline) | (SLOTS as u64 - 1)).ilog2();
        let level = highest / BITS;
        if level as usize >= LEVELS {
            return BEYOND;
        }
        (level * SLOTS as u32) as u16 + ((deadline >> (level * BITS)) % SLOTS as u64) as u16
    }

    /// Puts an index into a slot and returns its offset, which the entry has to know.
    #[inline]
    pub(super) fn push(&mut self, slot: u16, index: u32, deadline: u64) -> u32 {
        self.count_step();
        self.slots.push(slot, index, deadline)
    }

    /// Puts an entry that is in no slot into `slot`.
    #[inline]
    pub(super) fn file<T: Copy>(&mut self, entries: &mut Entries<T>, index: u32, slot: u16) {
        let offset = self.push(slot, index, entries[index].deadline);
        let entry = &mut entries[index];
        (entry.slot, entry.offset) = (slot, offset);
    }

    /// Removes the index at `offset` of `slot`.
    #[inline]
    pub(super) fn remove<T: Copy>(&mut self, slot: u16, offset: u32, entries: &mut Entries<T>) {
        self.slots.remove(slot, offset, entries);
    }

    /// Notes that a timer that stays in `slot` is due earlier than before.
    #[inline]
    pub(super) fn note_earlier(&mut self, slot: u16, deadline: u64) {
        self.slots.note_earlier(slot, deadline);
    }

    /// Returns a tick before which no timer is due, or `None` if there is no timer.
    #[inline]
    pub(super) fn earliest(&self) -> Option<u64> {
        let first = self.slots.first()?;
        Some(self.slots.min(first).min(self.slots.min(NEXT)))
    }

    /// Gives back the room of the slots that is not used.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink();
    }

    /// Returns the number of indices that the slots have room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.slots.room()
    }

    /// Begins a pass: files the timers of `NEXT` on the wheel.
    ///
    /// A tick before the position has no slot any more. Its timers go to the slot of the position,
    /// which the pass visits first.
    #[inline]
    pub(super) fn file_next<T: Copy>(&mut self, entries: &mut Entries<T>) {
        if self.slots.occupied(SHELF) > 1 {
            self.refile(entries, NEXT);
        }
    }

    /// Moves the position to the first tick up to `bound` at which a timer is due, and removes that
    /// timer from its list. If no timer is due, moves the position to `bound`.
    #[inline]
    pub(super) fn advance<T: Copy>(&mut self, entries: &mut Entries<T>, bound: u64) -> Option<u32> {
        while let Some(slot) = self.first_slot() {
            let start = self.start(slot);
            if start > bound {
                break;
            }
            self.count_step();
            if row_of(slot) > 0 {
                self.cascade(entries, slot, bound);
                continue;
            }
            self.position = start;
            let index = self.pop_first(entries, slot);
            let deadline = entries[index].deadline;
            if deadline <= start {
                return Some(index);
            }
            // The timer was reset to later since it was filed, so it moves now.
            let slot = self.place(deadline);
            self.file(entries, index, slot);
        }
        self.position = self.position.max(bound);
        None
    }

    /// Pops the first entry of an occupied slot of level 0.
    #[inline]
    fn pop_first<T: Copy>(&mut self, entries: &Entries<T>, slot: u16) -> u32 {
        if self.slots.begins_block(slot) {
            // Fetches the memory of the whole block at once, long before the rest of it is popped.
            for &index in self.slots.indices(slot).iter().take(BLOCK) {
                std::hint::black_box(entries[index].deadline);
            }
        }
        self.slots.pop_first(slot)
    }

    /// Enters a slot above level 0 and files its timers again.
    ///
    /// The position moves to the earliest deadline of the slot, so that the timer that fires next
    /// is filed in level 0 at once.
    fn cascade<T: Copy>(&mut self, entries: &mut Entries<T>, slot: u16, bound: u64) {
        let earliest = self.slots.min(slot);
        self.position = self.start(slot).max(earliest).min(bound);
        self.refile(entries, slot);
    }

    /// Empties a slot and files its timers by their deadlines and the position.
    fn refile<T: Copy>(&mut self, entries: &mut Entries<T>, slot: u16) {
        if self.slots.indices(slot).len() == 1 {
            // The usual case of a program with a single sleep.
            let index = self.slots.pop_first(slot);
            let slot = self.place(entries[index].deadline.max(self.position));
            return self.file(entries, index, slot);
        }
        let all = self.slots.take(slot);
        let mut deadlines = [0; BLOCK];
        for items in all.chunks(BLOCK) {
            // A loop of its own, so that the entries are fetched in parallel.
            for (deadline, &index) in deadlines.iter_mut().zip(items) {
                *deadline = entries[index].deadline;
            }
            for (&deadline, &index) in deadlines.iter().zip(items) {
                let slot = self.place(deadline.max(self.position));
                let offset = self.push(slot, index, deadline);
                let entry = &mut entries[index];
                (entry.slot, entry.offset) = (slot, offset);
            }
        }
        self.slots.give_back(slot, all);
    }

    /// Returns the earliest occupied slot other than `NEXT`.
    #[inline]
    fn first_slot(&self) -> Option<u16> {
        self.slots.first().filter(|&slot| slot <= BEYOND)
    }

    /// Returns the first tick of an occupied slot.
    #[inline]
    fn start(&self, slot: u16) -> u64 {
        let shift = row_of(slot) as u32 * BITS;
        // The digits above the slot's digit are those of the position. `BEYOND` has no digit; it
        // begins with the earliest deadline in it.
        if slot == BEYOND {
            return self.slots.min(BEYOND) >> shift << shift;
        }
        let above = self.position >> shift >> BITS << BITS;
        (above | (u64::from(slot) % SLOTS as u64)) << shift
    }

    /// Counts one visited slot or one filed entry.
    #[inline]
    fn count_step(&mut self) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
    }
}
