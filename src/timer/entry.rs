//! One armed timer, and the slab all of them live in.
//!
//! An entry is named from outside by a [`TimerKey`] (index and generation), from inside by its bare index: the queues
//! of the [slots](super::slots) hold indices, and an entry knows the cell that holds its own, so nothing here is a
//! pointer. The slab knows nothing of time; where an entry is filed is the business of the [`wheel`](super::wheel).

#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroU32;

/// No entry: the end of a list.
pub(super) const NIL: u32 = u32::MAX;

/// Names one armed timer: its index in the slab and the generation of that index.
///
/// A key is stale as soon as its timer has fired or was cancelled, and no key is ever handed out twice: an index
/// whose generations are used up is not used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerKey {
    /// How often the index has been handed out; from 1, which makes the packed form different from 0.
    generation: NonZeroU32,
    /// The place in the slab.
    index: u32,
}

impl TimerKey {
    /// The place in the slab.
    #[inline]
    pub(super) const fn index(self) -> u32 {
        self.index
    }

    /// The key as one word, which is never 0: a 0 may stand for "no timer".
    #[inline]
    pub const fn to_u64(self) -> u64 {
        (self.generation.get() as u64) << 32 | self.index as u64
    }

    /// The key behind a word made by [`to_u64`](TimerKey::to_u64); `None` for 0 and other words no key packs to.
    #[inline]
    pub const fn from_u64(raw: u64) -> Option<TimerKey> {
        match NonZeroU32::new((raw >> 32) as u32) {
            Some(generation) => Some(TimerKey {
                generation,
                index: raw as u32,
            }),
            None => None,
        }
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
    /// The tick to fire at. May be later than the slot it is filed in: see [`Timers::reset`](super::Timers::reset).
    pub(super) deadline: u64,
    /// What a free entry held last means nothing.
    value: T,
    /// The cell of the slot's queue that holds this entry's index; in a free entry the next free one.
    pub(super) cell: u32,
    /// The generation of the armed timer, or of the next one. [`SPENT`] when there will be none.
    generation: NonZeroU32,
    /// The slot the timer is filed in, or `NOWHERE` in a free entry.
    pub(super) slot: u16,
}

// Two entries to a cache line: what a cascade costs is the lines it touches. (Where a u64 is aligned to 4 it is less.)
const _: () = assert!(size_of::<Entry<u64>>() <= 32);

/// No slot: the entry is free.
const NOWHERE: u16 = u16::MAX;

/// The generation of an index that is used no more: 32 bytes for every 2^32 timers, and a key kept for ever can
/// still not reach another's timer.
const SPENT: NonZeroU32 = NonZeroU32::MAX;

/// So many entries are warm in whatever order they are used.
const FEW: u32 = 64;

impl<T> Entry<T> {
    /// Arms the timer.
    #[inline]
    pub(super) fn fill(&mut self, deadline: u64, slot: u16, cell: u32, value: T) {
        self.deadline = deadline;
        self.value = value;
        self.cell = cell;
        self.slot = slot;
    }

    /// The timer's key; the entry's index is known to who found it.
    #[inline]
    pub(super) fn key(&self, index: u32) -> TimerKey {
        TimerKey {
            generation: self.generation,
            index,
        }
    }
}

/// What an armed entry held.
pub(super) struct Released<T> {
    /// Its key, which is stale now.
    pub(super) key: TimerKey,
    /// The slot it was filed in.
    pub(super) slot: u16,
    /// The cell of the slot's queue that held its index.
    pub(super) cell: u32,
    pub(super) value: T,
}

/// The slab: every entry, armed or free, in one allocation.
#[derive(Debug)]
pub(super) struct Entries<T> {
    list: Vec<Entry<T>>,
    /// The free entry to use next; the last one freed, whose cache line is the warmest.
    free: u32,
    /// The first entry that is in use neither by a timer nor by the chain of free ones; all behind it are so too.
    unused: u32,
    /// How many are armed.
    armed: u32,
}

impl<T: Copy> Entries<T> {
    /// An empty slab; allocates nothing.
    pub(super) const fn new() -> Entries<T> {
        Entries {
            list: Vec::new(),
            free: NIL,
            unused: 0,
            armed: 0,
        }
    }

    /// How many are armed.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.armed as usize
    }

    /// Takes a place that has become free, to be filled.
    #[inline]
    pub(super) fn claim(&mut self) -> Option<(u32, &mut Entry<T>)> {
        let index = self.free;
        let entry = self.list.get_mut(index as usize)?;
        self.free = entry.cell;
        self.armed += 1;
        Some((index, entry))
    }

    /// The same when there is none; a new one holds `value` until it is filled.
    pub(super) fn claim_unused(&mut self, value: T) -> u32 {
        self.armed += 1;
        loop {
            let index = self.unused;
            assert!(
                index != NIL,
                "timers are fewer than 2^32 - 1, which would be 128 GiB of them"
            );
            self.unused += 1;
            match self.list.get(index as usize) {
                Some(entry) if entry.generation == SPENT => {}
                Some(_) => return index,
                None => {
                    self.list.push(Entry {
                        deadline: 0,
                        value,
                        cell: NIL,
                        generation: NonZeroU32::MIN,
                        slot: NOWHERE,
                    });
                    return index;
                }
            }
        }
    }

    /// Gives back the place of an armed timer; its keys are stale from here on.
    #[inline]
    pub(super) fn release(&mut self, index: u32) -> Released<T> {
        let entry = &mut self.list[index as usize];
        let released = Released {
            key: entry.key(index),
            slot: entry.slot,
            cell: entry.cell,
            value: entry.value,
        };
        debug_assert!(entry.slot != NOWHERE, "only an armed entry is released");
        entry.slot = NOWHERE;
        match NonZeroU32::new(entry.generation.get() + 1) {
            Some(next) if next < SPENT => {
                entry.generation = next;
                entry.cell = self.free;
                self.free = index;
            }
            _ => entry.generation = SPENT,
        }
        self.armed -= 1;
        released
    }

    /// When none is armed: starts over in the order of memory, for the chain has become the order in which timers fired.
    #[inline]
    pub(super) fn tidy(&mut self) {
        if self.armed == 0 && self.unused > FEW {
            self.free = NIL;
            self.unused = 0;
        }
    }

    /// The entry behind a key; `None` when the key is stale.
    #[inline]
    pub(super) fn find(&self, key: TimerKey) -> Option<&Entry<T>> {
        // A free entry has the generation of its next timer, and no key has that yet.
        self.list
            .get(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn find_mut(&mut self, key: TimerKey) -> Option<&mut Entry<T>> {
        self.list
            .get_mut(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
    }

    /// The value behind a key; `None` when the key is stale.
    #[inline]
    pub(super) fn value_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        Some(&mut self.find_mut(key)?.value)
    }

    /// Every armed timer, in no order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TimerKey, u64, &T)> {
        let armed = (0..)
            .zip(&self.list)
            .filter(|(_, entry)| entry.slot != NOWHERE);
        armed.map(|(index, entry)| {
            let generation = entry.generation;
            (TimerKey { generation, index }, entry.deadline, &entry.value)
        })
    }

    /// Uses up the generations of an index but the last two.
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
