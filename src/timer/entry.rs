//! [`Entries`]: the slab of timers. [`TimerKey`]: identifies a timer.
//!
//! Outside of this module a key identifies a timer: an index and a generation. Inside, the index is
//! enough: the lists of the [slots](super::slots) contain indices, and an entry knows its offset in
//! its list, so there are no pointers. The [`wheel`](super::wheel) decides in which slot an entry
//! is filed.

#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroU32;

/// The index of no entry: it ends a list.
pub(super) const NIL: u32 = u32::MAX;

/// Identifies one timer: its index in the slab and the generation of that index.
///
/// A key is stale as soon as its timer has fired or was cancelled. No two timers ever have the same
/// key: an index whose generations are used up is not used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey {
    /// Counts the timers of this index, from 1, so that a packed key is never 0.
    generation: NonZeroU32,
    /// The place in the slab.
    index: u32,
}

/// The first index that the slab does not use: keys with such indices name timers that are not in
/// the slab.
const OUTSIDE: u32 = 0xF000_0000;

impl TimerKey {
    /// Returns the `n`th key that no slab uses, for a timer that is not in a slab. The keys are
    /// unique up to 2^60.
    pub(crate) const fn outside(n: u64) -> TimerKey {
        let generation = (n / (u32::MAX - OUTSIDE + 1) as u64) as u32;
        TimerKey {
            generation: NonZeroU32::MIN.saturating_add(generation),
            index: OUTSIDE | n as u32,
        }
    }

    /// Returns the place in the slab.
    #[inline]
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    /// Returns the key as one word, which is never 0, so that 0 can mean "no timer".
    #[inline]
    pub(crate) const fn to_u64(self) -> u64 {
        (self.generation.get() as u64) << 32 | self.index as u64
    }
}

impl fmt::Debug for TimerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerKey({}v{})", self.index, self.generation)
    }
}

/// One place of the slab.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// The tick to fire at. It may be later than the ticks of its slot: see
    /// [`Timers::reset`](super::Timers::reset).
    pub(super) deadline: u64,
    /// In a free entry, the value of its last timer.
    value: T,
    /// The offset of this entry's index in the list of its slot. In a free entry, the next free
    /// index.
    pub(super) offset: u32,
    /// The generation of the armed timer, or of the next one. [`SPENT`] when there will be none.
    generation: NonZeroU32,
    /// The slot the timer is filed in, or `NOWHERE` in a free entry.
    pub(super) slot: u16,
}

// Two entries per cache line: the cost of a cascade is the lines that it touches. (Less where a u64
// is aligned to 4.)
const _: () = assert!(size_of::<Entry<u64>>() <= 32);

/// The slot of a free entry.
const NOWHERE: u16 = u16::MAX;

/// The generation of an index that is not used again. This costs 32 bytes per 2^32 timers, and
/// keeps an old key from ever naming another timer.
const SPENT: NonZeroU32 = NonZeroU32::MAX;

/// A free entry with a later generation is not removed, because new entries begin with the latest
/// generation of the removed ones, and each of them is to have many left.
const LATE: u32 = u32::MAX / 2;

/// So many entries stay in the cache, no matter in which order they are used.
const CACHED: u32 = 64;

impl<T> Entry<T> {
    /// Turns a free entry into an armed timer.
    #[inline]
    pub(super) fn fill(&mut self, deadline: u64, slot: u16, offset: u32, value: T) {
        self.deadline = deadline;
        self.value = value;
        self.offset = offset;
        self.slot = slot;
    }

    /// Returns the timer's key. The caller knows the index of the entry.
    #[inline]
    pub(super) fn key(&self, index: u32) -> TimerKey {
        TimerKey {
            generation: self.generation,
            index,
        }
    }
}

/// The contents of an entry that has been freed.
pub(super) struct Released<T> {
    /// Its key, which is stale now.
    pub(super) key: TimerKey,
    /// The slot it was filed in.
    pub(super) slot: u16,
    /// The offset that its index had in the list of the slot.
    pub(super) offset: u32,
    pub(super) value: T,
}

/// The slab: all entries, armed or free, in one allocation.
#[derive(Debug)]
pub(super) struct Entries<T> {
    list: Vec<Entry<T>>,
    /// The free entry to use next: the last one freed, which is most likely in the cache.
    free: u32,
    /// From this index on, no entry is armed or in the chain of free ones.
    unused: u32,
    /// How many are armed.
    armed: u32,
    /// The generation of a new entry: later than all that removed entries had.
    first_generation: NonZeroU32,
}

impl<T: Copy> Entries<T> {
    /// Makes an empty slab. Allocates nothing.
    pub(super) const fn new() -> Entries<T> {
        Entries {
            list: Vec::new(),
            free: NIL,
            unused: 0,
            armed: 0,
            first_generation: NonZeroU32::MIN,
        }
    }

    /// Returns the number of armed timers.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.armed as usize
    }

    /// Takes a free entry out of the chain, to be filled.
    #[inline]
    pub(super) fn claim(&mut self) -> Option<(u32, &mut Entry<T>)> {
        let index = self.free;
        let entry = self.list.get_mut(index as usize)?;
        self.free = entry.offset;
        self.armed += 1;
        Some((index, entry))
    }

    /// Takes an entry that is not in the chain, because the chain is empty. A new entry contains
    /// `value` until it is filled.
    pub(super) fn claim_unused(&mut self, value: T) -> u32 {
        self.armed += 1;
        loop {
            let index = self.unused;
            assert!(
                index < OUTSIDE,
                "too many timers: 4 * 10^9 of them would need 120 GiB"
            );
            self.unused += 1;
            match self.list.get(index as usize) {
                Some(entry) if entry.generation == SPENT => {}
                Some(_) => return index,
                None => {
                    self.list.push(Entry {
                        deadline: 0,
                        value,
                        offset: NIL,
                        generation: self.first_generation,
                        slot: NOWHERE,
                    });
                    return index;
                }
            }
        }
    }

    /// Frees the entry of an armed timer. Its key is stale afterwards.
    #[inline]
    pub(super) fn release(&mut self, index: u32) -> Released<T> {
        let entry = &mut self.list[index as usize];
        let released = Released {
            key: entry.key(index),
            slot: entry.slot,
            offset: entry.offset,
            value: entry.value,
        };
        debug_assert!(entry.slot != NOWHERE, "only an armed entry is released");
        entry.slot = NOWHERE;
        match NonZeroU32::new(entry.generation.get() + 1) {
            Some(next) if next < SPENT => {
                entry.generation = next;
                entry.offset = self.free;
                self.free = index;
            }
            _ => entry.generation = SPENT,
        }
        self.armed -= 1;
        released
    }

    /// If no timer is armed, starts again in the order of memory, because the chain is in the order
    /// in which timers fired.
    #[inline]
    pub(super) fn tidy(&mut self) {
        if self.armed == 0 && self.unused > CACHED {
            self.free = NIL;
            self.unused = 0;
        }
    }

    /// Gives back the memory of the free entries after the last one in use.
    pub(super) fn shrink(&mut self) {
        // An index that is not used again (`SPENT`) keeps its entry, so that none of its keys comes
        // back.
        let stays = |entry: &Entry<T>| entry.slot != NOWHERE || entry.generation.get() > LATE;
        let len = self.list.iter().rposition(stays).map_or(0, |at| at + 1);
        let removed = self.list[len..].iter().map(|entry| entry.generation);
        self.first_generation = removed.fold(self.first_generation, NonZeroU32::max);
        self.list.truncate(len);
        self.list.shrink_to_fit();
        (self.free, self.unused) = (NIL, len as u32);
        for (index, entry) in (0..len as u32).zip(&mut self.list).rev() {
            if entry.slot == NOWHERE && entry.generation != SPENT {
                entry.offset = std::mem::replace(&mut self.free, index);
            }
        }
    }

    /// Returns the entry of a key, or `None` if the key is stale.
    #[inline]
    pub(super) fn find(&self, key: TimerKey) -> Option<&Entry<T>> {
        // A free entry has the generation of its next timer, which is in no key yet.
        self.list
            .get(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
    }

    /// Returns the entry of a key for a change, or `None` if the key is stale.
    #[inline]
    pub(super) fn find_mut(&mut self, key: TimerKey) -> Option<&mut Entry<T>> {
        self.list
            .get_mut(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
    }

    /// Returns the value of a key's timer, or `None` if the key is stale.
    #[inline]
    pub(super) fn value_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        Some(&mut self.find_mut(key)?.value)
    }

    /// Returns every armed timer, in the order of memory.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TimerKey, u64, &T)> {
        let armed = (0..)
            .zip(&self.list)
            .filter(|(_, entry)| entry.slot != NOWHERE);
        armed.map(|(index, entry)| {
            let generation = entry.generation;
            (TimerKey { generation, index }, entry.deadline, &entry.value)
        })
    }

    /// Returns the number of entries, armed or not.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.list.len()
    }

    /// Uses up all but the last two generations of an index.
    #[cfg(test)]
    pub(super) fn age(&mut self, index: u32) {
        self.list[index as usize].generation = NonZeroU32::new(u32::MAX - 1).unwrap();
    }
}

impl<T: Copy> std::ops::Index<u32> for Entries<T> {
    type Output = Entry<T>;

    #[inline]
    fn index(&self, index: u32) -> &Entry<T> {
        &self.list[index as usize]
    }
}

impl<T: Copy> std::ops::IndexMut<u32> for Entries<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.list[index as usize]
    }
}
