//! The levels together: where a deadline is filed, and how the position moves past the slots.
//!
//! The wheel stands at a tick, the *position*: all before it is done. Seen from there a deadline belongs to the level
//! of the highest 6-bit digit in which the two differ, and in it to the slot its own digit names. Two things follow,
//! and all else rests on them:
//!
//! - What is filed in one level is later than all in the levels below it, and within a level a higher slot is later.
//!   The earliest slot is therefore the lowest bit of the lowest level that is not empty, found without a search
//!   however long the wheel stood still.
//! - When the position enters a slot of level 1 or higher, its timers no longer differ from it in that digit. They
//!   are filed again, further down; that is a cascade. A timer moves at most once per level.
//!
//! This layer trusts its caller: it is told indices, not keys, and never which timers may fire in which pass. That is
//! decided in [`Timers`](super::Timers).

#![forbid(unsafe_code)]

use super::chunk::{Chunks, ITEMS};
use super::entry::Entries;
use super::slots::{ROWS, SLOTS, Slots, row_of};

/// Bits of a tick that name a slot in one level.
const BITS: u32 = SLOTS.trailing_zeros();

/// Levels of the wheel proper. 2^42 ticks are 2.2 years of 16 us.
pub(super) const LEVELS: usize = 7;

/// The lists that are not on the wheel, kept as slots of one more level so that linking needs no second way.
const SHELF: usize = LEVELS;
const _: () = assert!(SHELF + 1 == ROWS);

/// Timers that differ from the position above the highest level. It comes after every slot of the wheel.
const BEYOND: u16 = (SHELF * SLOTS) as u16;

/// Timers that were due already when they were armed: they wait for the next pass.
pub(super) const NEXT: u16 = BEYOND + 1;

/// The levels, and the tick up to which they are done. The entries are lent to every call.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The tick the wheel has come to; it never goes back.
    pub(super) position: u64,
    slots: Slots,
    chunks: Chunks,
    /// Slots visited and entries filed, for the tests that assert what a pass costs.
    #[cfg(test)]
    pub(super) steps: u64,
}

impl Wheel {
    /// An empty wheel at tick 0.
    pub(super) const fn new() -> Wheel {
        Wheel {
            position: 0,
            slots: Slots::EMPTY,
            chunks: Chunks::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// The slot for a deadline that is not before the position.
    #[inline]
    pub(super) fn place(&self, deadline: u64) -> u16 {
        // `| 63` sends equal ticks to level 0 as well.
        let highest = ((self.position ^ deadline) | (SLOTS as u64 - 1)).ilog2();
        let level = highest / BITS;
        if level as usize >= LEVELS {
            return BEYOND;
        }
        (level * SLOTS as u32) as u16 + ((deadline >> (level * BITS)) % SLOTS as u64) as u16
    }

    /// Puts an index into a slot and gives back its cell, which the entry has to know.
    #[inline]
    pub(super) fn push(&mut self, slot: u16, index: u32, deadline: u64) -> u32 {
        self.count_step();
        self.slots.push(slot, &mut self.chunks, index, deadline)
    }

    /// Puts an entry that is in no slot into one.
    #[inline]
    pub(super) fn file<T: Copy>(&mut self, entries: &mut Entries<T>, index: u32, slot: u16) {
        let cell = self.push(slot, index, entries[index].deadline);
        let entry = &mut entries[index];
        (entry.slot, entry.cell) = (slot, cell);
    }

    /// Takes out what is in `cell` of `slot`.
    #[inline]
    pub(super) fn remove<T: Copy>(&mut self, slot: u16, cell: u32, entries: &mut Entries<T>) {
        self.slots.remove(slot, cell, &mut self.chunks, entries);
    }

    /// Notes that a timer that stays in `slot` is due earlier than it was.
    #[inline]
    pub(super) fn note_earlier(&mut self, slot: u16, deadline: u64) {
        self.slots.note_earlier(slot, deadline);
    }

    /// A tick before which nothing at all is due; `None` when no list holds anything.
    #[inline]
    pub(super) fn earliest(&self) -> Option<u64> {
        let first = self.slots.first()?;
        Some(self.slots.min(first).min(self.slots.min(NEXT)))
    }

    /// Puts what waits for the next pass onto the wheel: that pass begins.
    ///
    /// A tick the position has passed has no slot any more; its timers go to the position, which is the first slot
    /// the pass visits.
    #[inline]
    pub(super) fn take_up_next<T: Copy>(&mut self, entries: &mut Entries<T>) {
        if self.slots.occupied(SHELF) > 1 {
            self.refile(entries, NEXT);
        }
    }

    /// Moves the position up to `bound`, or to the first tick before it at which a timer is due. Takes that timer
    /// out of its list; nothing is due up to `bound` when there is none.
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
            // Reset to later since it was filed: this is the visit at which it moves.
            let slot = self.place(deadline);
            self.file(entries, index, slot);
        }
        self.position = self.position.max(bound);
        None
    }

    /// Takes the first entry out of an occupied slot of level 0.
    #[inline]
    fn pop_first<T: Copy>(&mut self, entries: &Entries<T>, slot: u16) -> u32 {
        let queue = self.slots.queue(slot);
        if queue.begins_chunk() {
            // Asks for the memory of all that follow in this chunk at once, long before they are popped.
            for &index in self.chunks.first_chunk(queue) {
                std::hint::black_box(entries[index].deadline);
            }
        }
        let index = self.chunks.first(queue);
        self.slots.pop_first(slot, &mut self.chunks);
        index
    }

    /// Enters a slot above level 0 and files what is in it again.
    ///
    /// The position goes straight to the earliest deadline of the slot, so that the timer next to fire lands in
    /// level 0 at once.
    fn cascade<T: Copy>(&mut self, entries: &mut Entries<T>, slot: u16, bound: u64) {
        let earliest = self.slots.min(slot);
        self.position = self.start(slot).max(earliest).min(bound);
        self.refile(entries, slot);
    }

    /// Empties a slot and files what was in it by its deadline and the position.
    fn refile<T: Copy>(&mut self, entries: &mut Entries<T>, slot: u16) {
        let queue = self.slots.queue(slot);
        if queue.is_single() {
            // A lone sleep comes this way every time; its slot may keep the chunk.
            let index = self.chunks.first(queue);
            self.slots.pop_first(slot, &mut self.chunks);
            let slot = self.place(entries[index].deadline.max(self.position));
            return self.file(entries, index, slot);
        }
        let mut queue = self.slots.take(slot);
        let mut deadlines = [0; ITEMS];
        loop {
            let (items, count) = self.chunks.take_chunk(&mut queue);
            if count == 0 {
                break;
            }
            // A loop of its own, so that the entries are fetched side by side and not one after the other.
            for (deadline, &index) in deadlines.iter_mut().zip(&items[..count]) {
                *deadline = entries[index].deadline;
            }
            for (&deadline, &index) in deadlines.iter().zip(&items[..count]) {
                let slot = self.place(deadline.max(self.position));
                let cell = self.push(slot, index, deadline);
                let entry = &mut entries[index];
                (entry.slot, entry.cell) = (slot, cell);
            }
        }
    }

    /// The occupied slot that comes first, `NEXT` left aside.
    #[inline]
    fn first_slot(&self) -> Option<u16> {
        self.slots.first().filter(|&slot| slot <= BEYOND)
    }

    /// The first tick of an occupied slot.
    #[inline]
    fn start(&self, slot: u16) -> u64 {
        let shift = row_of(slot) as u32 * BITS;
        // The digits above the slot's own are the position's; `BEYOND` has none of its own, its block is that of
        // the earliest deadline in it.
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
