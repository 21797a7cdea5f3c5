//! One armed timer, and the slab all of them live in.
//!
//! An entry is named from outside by a [`TimerKey`] (index and generation), from inside by its bare index: the lists
//! of the [`level`](super::level)s are threaded through the slab by index, so nothing here is a pointer. The slab
//! knows nothing of time; where an entry is filed is the business of the [`wheel`](super::wheel).

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

/// What an index of the slab holds.
#[derive(Debug)]
enum State<T> {
    /// Nothing; the next timer here will have this generation.
    Free { generation: NonZeroU32 },
    /// An armed timer and the slot whose list it is in.
    Armed {
        generation: NonZeroU32,
        slot: u16,
        value: T,
    },
}

/// One place of the slab.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// The tick to fire at. May be later than the slot it is filed in: see [`Timers::reset`](super::Timers::reset).
    pub(super) deadline: u64,
    /// The entry behind this one in its slot's list; in a free entry the next free one.
    pub(super) next: u32,
    /// The entry before this one in its slot's list.
    pub(super) prev: u32,
    state: State<T>,
}

// Two entries to a cache line: what a cascade costs is the lines it touches.
const _: () = assert!(size_of::<Entry<u64>>() == 32);

impl<T> Entry<T> {
    /// The slot whose list the entry is in.
    #[inline]
    pub(super) fn slot(&self) -> u16 {
        match self.state {
            State::Armed { slot, .. } => slot,
            State::Free { .. } => unreachable!("a free entry is in no slot"),
        }
    }

    /// Notes the slot the entry is put into.
    #[inline]
    pub(super) fn set_slot(&mut self, filed: u16) {
        match &mut self.state {
            State::Armed { slot, .. } => *slot = filed,
            State::Free { .. } => unreachable!("a free entry is filed nowhere"),
        }
    }
}

/// The slab: every entry, armed or free, in one allocation.
#[derive(Debug)]
pub(super) struct Entries<T> {
    list: Vec<Entry<T>>,
    /// The free entry to use next; the last one freed, whose cache line is the warmest.
    free: u32,
    /// How many are armed.
    armed: u32,
}

impl<T> Entries<T> {
    /// An empty slab; allocates nothing.
    pub(super) const fn new() -> Entries<T> {
        Entries {
            list: Vec::new(),
            free: NIL,
            armed: 0,
        }
    }

    /// How many are armed.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.armed as usize
    }

    /// Takes a place for a new timer. It is in no list yet.
    #[inline]
    pub(super) fn claim(&mut self, deadline: u64, value: T) -> TimerKey {
        let index = self.free;
        let Some(entry) = self.list.get_mut(index as usize) else {
            return self.grow(deadline, value);
        };
        let State::Free { generation } = entry.state else {
            unreachable!("an armed entry is not in the free list");
        };
        self.free = entry.next;
        self.armed += 1;
        entry.deadline = deadline;
        entry.state = State::Armed {
            generation,
            slot: 0,
            value,
        };
        TimerKey { generation, index }
    }

    /// The same when no place is free.
    #[inline]
    fn grow(&mut self, deadline: u64, value: T) -> TimerKey {
        let generation = NonZeroU32::MIN;
        let index = u32::try_from(self.list.len())
            .ok()
            .filter(|&index| index != NIL);
        let index = index.expect("timers are fewer than 2^32 - 1, which would be 128 GiB of them");
        self.armed += 1;
        let state = State::Armed {
            generation,
            slot: 0,
            value,
        };
        self.list.push(Entry {
            deadline,
            next: NIL,
            prev: NIL,
            state,
        });
        TimerKey { generation, index }
    }

    /// Gives back the place of an armed timer that is in no list any more; its keys are stale from here on.
    #[inline]
    pub(super) fn release(&mut self, index: u32) -> (TimerKey, T) {
        let entry = &mut self.list[index as usize];
        let State::Armed { generation, .. } = entry.state else {
            unreachable!("only an armed entry is released");
        };
        let next = generation.checked_add(1);
        let free = State::Free {
            generation: next.unwrap_or(generation),
        };
        let State::Armed { value, .. } = std::mem::replace(&mut entry.state, free) else {
            unreachable!("the entry was armed three lines above");
        };
        self.armed -= 1;
        // An index whose generations are used up stays out of the free list: 32 bytes for every 2^32 timers, and
        // a key kept for ever can still not reach another's timer.
        if next.is_some() {
            entry.next = self.free;
            self.free = index;
        }
        (TimerKey { generation, index }, value)
    }

    /// The index behind a key; `None` when the key is stale.
    #[inline]
    pub(super) fn find(&self, key: TimerKey) -> Option<u32> {
        match self.list.get(key.index as usize)?.state {
            State::Armed { generation, .. } if generation == key.generation => Some(key.index),
            _ => None,
        }
    }

    /// The value behind a key; `None` when the key is stale.
    #[inline]
    pub(super) fn value_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        match &mut self.list.get_mut(key.index as usize)?.state {
            State::Armed {
                generation, value, ..
            } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Every armed timer, in no order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TimerKey, u64, &T)> {
        (0..)
            .zip(&self.list)
            .filter_map(|(index, entry)| match &entry.state {
                State::Armed {
                    generation, value, ..
                } => Some((
                    TimerKey {
                        generation: *generation,
                        index,
                    },
                    entry.deadline,
                    value,
                )),
                State::Free { .. } => None,
            })
    }

    /// Uses up the generations of a free index but the last.
    #[cfg(test)]
    pub(super) fn age(&mut self, index: u32) {
        self.list[index as usize].state = State::Free {
            generation: NonZeroU32::MAX,
        };
    }
}

impl<T> std::ops::Index<u32> for Entries<T> {
    type Output = Entry<T>;

    #[inline]
    fn index(&self, index: u32) -> &Entry<T> {
        &self.list[index as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Entries<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.list[index as usize]
    }
}
