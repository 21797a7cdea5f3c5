//! [`Slots`]: what is in each slot of all levels, which slots are occupied, and the earliest
//! deadline in each.
//!
//! A slot is a list of indices into the slab, named by its number: the level times 64, plus the
//! digit. The [`wheel`](super::wheel) decides what tick it stands for, and when it is visited.
//!
//! Other lists than a vector per slot were tried:
//!
//! | list | result |
//! |---|---|
//! | linked through the entries | a walk waits for one entry's memory before it knows the next one, 100,000 times in a large cascade |
//! | chunks of a cache line from one pool | equal in storms of a million timers; 250 lines more, and 86 instructions more for a timer that begins or ends a chunk |
//! | vectors in an array that is not boxed | no gain; the runtime, which moves through the stack while it is made, grows by 20 KiB, too much for the largest futures in debug builds |

#![forbid(unsafe_code)]

use super::entry::Entries;

/// Slots of a level, a power of two so that a tick's digits name slots.
pub(super) const SLOTS: usize = 64;

/// Indices whose entries are fetched from memory at once, side by side.
pub(super) const BLOCK: usize = 16;

/// An empty slot keeps room for at most this many indices. The slots near the position fill and
/// empty all the time.
const MAX_KEPT: usize = 1024;

/// Rows of so many slots: the levels, and one more for what is not on the wheel.
pub(super) const ROWS: usize = 8;

/// The timers of one range of ticks.
#[derive(Debug)]
struct Slot {
    /// No timer in the slot is due before this tick; `u64::MAX` if the slot is empty. It is exact
    /// until the earliest timer leaves the slot or is reset to later.
    min: u64,
    /// Indices into the slab. Each entry knows its offset in this list.
    list: Vec<u32>,
    /// The number of indices at the front that have been popped.
    taken: u32,
}

impl Slot {
    const EMPTY: Slot = Slot {
        min: u64::MAX,
        list: Vec::new(),
        taken: 0,
    };

    /// Clears the list if all of it has been popped, and keeps its room unless that is large.
    /// Returns whether it did.
    #[inline]
    fn empty_if_taken(&mut self) -> bool {
        let emptied = self.list.len() == self.taken as usize;
        if emptied {
            self.list.clear();
            (self.min, self.taken) = (u64::MAX, 0);
            if self.list.capacity() > MAX_KEPT {
                self.free_room();
            }
        }
        emptied
    }

    /// Frees the room of an empty list.
    // Inlined it would cost 4 of 225 instructions per timer.
    #[cold]
    #[inline(never)]
    fn free_room(&mut self) {
        self.list = Vec::new();
    }
}

/// All slots, and a bit for each slot that is occupied.
#[derive(Debug)]
pub(super) struct Slots {
    occupied: [u64; ROWS],
    list: Box<[Slot; ROWS * SLOTS]>,
}

/// Returns the row of a slot. The remainder has no effect, but saves the bounds checks.
#[inline]
pub(super) fn row_of(slot: u16) -> usize {
    slot as usize / SLOTS % ROWS
}

/// Returns the bit of a slot in its row.
#[inline]
fn bit(slot: u16) -> u64 {
    1 << (slot as usize % SLOTS)
}

impl Slots {
    pub(super) fn new() -> Slots {
        // Made on the heap: as an array it would first be on the stack.
        let list: Box<[Slot]> = (0..ROWS * SLOTS).map(|_| Slot::EMPTY).collect();
        Slots {
            occupied: [0; ROWS],
            list: list.try_into().expect("it has this length"),
        }
    }

    /// Returns the set of occupied slots of a row.
    #[inline]
    pub(super) fn occupied(&self, row: usize) -> u64 {
        self.occupied[row]
    }

    /// Returns the occupied slot with the smallest number.
    #[inline]
    pub(super) fn first(&self) -> Option<u16> {
        let row = self.occupied.iter().position(|&bits| bits != 0)?;
        Some((row * SLOTS) as u16 + self.occupied[row].trailing_zeros() as u16)
    }

    /// Returns a slot. The remainder has no effect, but saves the bounds check.
    #[inline]
    fn slot(&self, slot: u16) -> &Slot {
        &self.list[slot as usize % (ROWS * SLOTS)]
    }

    #[inline]
    fn slot_mut(&mut self, slot: u16) -> &mut Slot {
        &mut self.list[slot as usize % (ROWS * SLOTS)]
    }

    /// Returns the indices in a slot that have not been popped.
    #[inline]
    pub(super) fn indices(&self, slot: u16) -> &[u32] {
        let slot = self.slot(slot);
        &slot.list[slot.taken as usize..]
    }

    /// Returns whether the first index begins a block of at least two.
    #[inline]
    pub(super) fn begins_block(&self, slot: u16) -> bool {
        let slot = self.slot(slot);
        slot.taken as usize % BLOCK == 0 && slot.list.len() > slot.taken as usize + 1
    }

    /// Returns a tick before which no timer in the slot is due.
    #[inline]
    pub(super) fn min(&self, slot: u16) -> u64 {
        self.slot(slot).min
    }

    /// Notes that a timer in the slot is now due at `deadline`.
    #[inline]
    pub(super) fn note_earlier(&mut self, slot: u16, deadline: u64) {
        let slot = self.slot_mut(slot);
        slot.min = slot.min.min(deadline);
    }

    /// Appends an index to a slot and returns its offset there.
    #[inline]
    pub(super) fn push(&mut self, slot: u16, index: u32, deadline: u64) -> u32 {
        self.occupied[row_of(slot)] |= bit(slot);
        let slot = self.slot_mut(slot);
        slot.min = slot.min.min(deadline);
        let offset = slot.list.len() as u32;
        slot.list.push(index);
        offset
    }

    /// Pops the first index of an occupied slot.
    #[inline]
    pub(super) fn pop_first(&mut self, number: u16) -> u32 {
        let slot = self.slot_mut(number);
        let index = slot.list[slot.taken as usize];
        slot.taken += 1;
        if slot.empty_if_taken() {
            self.occupied[row_of(number)] &= !bit(number);
        }
        index
    }

    /// Removes the index at an offset. The last index takes its place.
    #[inline]
    pub(super) fn remove<T: Copy>(&mut self, number: u16, offset: u32, entries: &mut Entries<T>) {
        let slot = self.slot_mut(number);
        slot.list.swap_remove(offset as usize);
        if let Some(&moved) = slot.list.get(offset as usize) {
            entries[moved].offset = offset;
        } else if slot.empty_if_taken() {
            self.occupied[row_of(number)] &= !bit(number);
        }
    }

    /// Gives back the room of the lists that is not used.
    pub(super) fn shrink(&mut self) {
        for slot in self.list.iter_mut() {
            slot.list.shrink_to_fit();
        }
    }

    /// Returns the number of indices that the lists have room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.list.iter().map(|slot| slot.list.capacity()).sum()
    }

    /// Empties a slot and returns its list.
    #[inline]
    pub(super) fn take(&mut self, slot: u16) -> Vec<u32> {
        self.occupied[row_of(slot)] &= !bit(slot);
        let slot = std::mem::replace(self.slot_mut(slot), Slot::EMPTY);
        debug_assert!(
            slot.taken == 0,
            "only slots of the lowest level are popped one by one"
        );
        slot.list
    }

    /// Returns to a slot the list that was taken from it, for its room, unless the slot has a new
    /// list or this is large.
    #[inline]
    pub(super) fn give_back(&mut self, slot: u16, mut room: Vec<u32>) {
        let list = &mut self.slot_mut(slot).list;
        if list.capacity() == 0 && room.capacity() <= MAX_KEPT {
            room.clear();
            *list = room;
        }
    }
}
