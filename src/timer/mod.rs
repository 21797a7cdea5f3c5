//! Timers: a hierarchical wheel that counts `u64` ticks and gives values back when their tick has come.
//!
//! It is a pure structure. It has no clock, knows no unit of time and wakes nobody: the reactor turns instants into
//! ticks (deadlines rounded up, now rounded down, so that nothing is early), stores what it will wake as the value,
//! and asks [`next_deadline`](Timers::next_deadline) how long it may sleep.
//!
//! # The levels
//!
//! A tick is read as digits of six bits. A timer is filed by the highest digit in which its deadline differs from the
//! wheel's position, so near ones lie in fine slots and far ones in coarse slots:
//!
//! ```text
//!  bits 63..42   41..36   35..30   29..24   23..18   17..12   11..6    5..0
//!      beyond  | level 6  level 5  level 4  level 3  level 2  level 1  level 0
//!              |                                        |
//!              |          64 slots, a bit each in `occupied`, a minimum deadline each
//!              |                                        |
//!              |                       a slot: 7 4 9 ...   (indices into one slab of entries)
//! ```
//!
//! | level | a slot is, in ticks | the level reaches | with ticks of 16.384 us |
//! |---|---|---|---|
//! | 0 | 1 | 64 | 1 ms |
//! | 1 | 64 | 2^12 | 67 ms |
//! | 2 | 2^12 | 2^18 | 4.3 s |
//! | 3 | 2^18 | 2^24 | 4.6 min |
//! | 4 | 2^24 | 2^30 | 4.9 h |
//! | 5 | 2^30 | 2^36 | 13 days |
//! | 6 | 2^36 | 2^42 | 2.3 years |
//! | beyond | one list | the last tick | all the rest, "never" (`u64::MAX`) with it |
//!
//! When the position enters a slot above level 0, its timers are filed again, further down (a cascade); when it
//! comes to a slot of level 0, they fire. Empty slots cost nothing, however many the position passes at once. Where
//! to read on: `wheel.rs` for placing and moving, `slots.rs` for the slots, `chunk.rs` for
//! what a slot is made of, `entry.rs` for the slab.
//!
//! # Two liberties
//!
//! - A reset to a later tick is one store: the timer stays where it is filed, and moves when that slot is visited.
//!   The slot is never later than the deadline, so nothing is lost, however often this happens.
//! - A slot's minimum stays when the timer it came from is cancelled or reset. The loop may so wake once for
//!   nothing; that visit files the slot again and puts the minimum right.

#![forbid(unsafe_code)]

mod chunk;
mod entry;
mod slots;
mod wheel;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use entry::TimerKey;

use entry::{Entries, Released};
use wheel::{NEXT, Wheel};

/// Timers over ticks: armed with a value, which comes back when the deadline has passed.
///
/// Time passes only by [`begin_expiry`](Timers::begin_expiry), which starts a pass, and
/// [`pop_expired`](Timers::pop_expired), which hands out what is due in it one timer after the other. Between two
/// pops every timer may be reset, cancelled or inserted, those included that are about to come.
#[derive(Debug)]
pub struct Timers<T> {
    /// The tick of the last pass that was begun. A deadline up to it is due.
    now: u64,
    entries: Entries<T>,
    wheel: Wheel,
}

impl<T: Copy> Timers<T> {
    /// Makes an empty set at tick 0. Nothing is allocated before the first timer.
    pub const fn new() -> Timers<T> {
        Timers {
            now: 0,
            entries: Entries::new(),
            wheel: Wheel::new(),
        }
    }

    /// Arms a timer for the tick `deadline`.
    ///
    /// A deadline that is not after the last pass's tick is due in the next pass, never in the one that runs:
    /// timers that arm timers cannot hold the loop.
    ///
    /// # Panics
    ///
    /// When 2^32 - 1 timers are armed already.
    // Always inlined, as `cancel`: a timer is mostly armed and disarmed without more, each in one call.
    #[inline(always)]
    pub fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        let slot = self.slot_for(deadline);
        let Some((index, entry)) = self.entries.claim() else {
            return self.insert_unused(deadline, slot, value);
        };
        let cell = self.wheel.push(slot, index, deadline);
        entry.fill(deadline, slot, cell, value);
        entry.key(index)
    }

    /// The same where no place has become free.
    #[cold]
    #[inline(never)]
    fn insert_unused(&mut self, deadline: u64, slot: u16, value: T) -> TimerKey {
        let index = self.entries.claim_unused(value);
        let cell = self.wheel.push(slot, index, deadline);
        let entry = &mut self.entries[index];
        entry.fill(deadline, slot, cell, value);
        entry.key(index)
    }

    /// Moves a timer to another tick; `false` when the key is stale, because it fired or was cancelled.
    ///
    /// To a later tick this is one store, within the same slot two, and otherwise a removal and an
    /// [`insert`](Timers::insert), with the same promise for a deadline that has passed. A timer that is due but was not yet handed out does not fire in
    /// the running pass when the new tick is after it.
    #[inline]
    pub fn reset(&mut self, key: TimerKey, deadline: u64) -> bool {
        let Some(entry) = self.entries.find_mut(key) else {
            return false;
        };
        let (slot, lazily) = (entry.slot, deadline >= entry.deadline && entry.slot < NEXT);
        entry.deadline = deadline;
        if !lazily {
            if self.slot_for(deadline) == slot {
                self.wheel.note_earlier(slot, deadline);
            } else {
                self.file_again(key.index());
            }
        }
        true
    }

    /// Disarms a timer and gives its value back; `None` when the key is stale.
    #[inline(always)]
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.entries.find(key)?;
        let Released {
            slot, cell, value, ..
        } = self.entries.release(key.index());
        self.wheel.remove(slot, cell, &mut self.entries);
        Some(value)
    }

    /// The value of an armed timer, to be read or replaced; `None` when the key is stale.
    #[inline]
    pub fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        self.entries.value_mut(key)
    }

    /// The deadline of an armed timer; `None` when the key is stale.
    #[inline]
    pub fn deadline(&self, key: TimerKey) -> Option<u64> {
        self.entries.find(key).map(|entry| entry.deadline)
    }

    /// The earliest tick at which something may be due; `None` when no timer is armed.
    ///
    /// Never later than the earliest deadline. It is that very deadline unless the timer that was earliest has been
    /// cancelled or reset; a pass at the tick it names then puts it right, so that the loop wakes at most once for
    /// nothing. Never the time of a cascade. After a pass that was popped to its end it is after the pass's tick,
    /// except for what was armed too late during that pass.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        self.wheel.earliest()
    }

    /// Begins a pass at the tick `now`: [`pop_expired`](Timers::pop_expired) then hands out what is due up to it.
    ///
    /// What is armed from here on, even for a tick that has passed, belongs to the next pass. A pass need not be
    /// popped to its end; what is left comes in the next one. Time does not go back: an earlier `now` is taken for
    /// the last one.
    #[inline]
    pub fn begin_expiry(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.wheel.take_up_next(&mut self.entries);
    }

    /// Takes the next due timer out of the set, in non-decreasing order of deadlines; `None` ends the pass.
    ///
    /// The key that comes with the value is stale already. Among timers of one tick the order is unspecified; those
    /// that were armed after their tick had been dealt with come first.
    #[inline]
    pub fn pop_expired(&mut self) -> Option<(TimerKey, T)> {
        let index = self.wheel.advance(&mut self.entries, self.now)?;
        let Released { key, value, .. } = self.entries.release(index);
        self.entries.tidy();
        Some((key, value))
    }

    /// How many timers are armed.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every armed timer with its deadline and value, in no particular order. Walks the whole slab.
    pub fn iter(&self) -> impl Iterator<Item = (TimerKey, u64, &T)> {
        self.entries.iter()
    }

    /// Cancels every timer and gives the values back, in no particular order.
    pub fn drain(&mut self) -> Vec<T> {
        let keys: Vec<TimerKey> = self.iter().map(|(key, ..)| key).collect();
        keys.into_iter()
            .filter_map(|key| self.cancel(key))
            .collect()
    }

    /// Moves an entry to the slot its deadline belongs in. Out of line, so that the reset to later stays short.
    #[inline(never)]
    fn file_again(&mut self, index: u32) {
        let entry = &self.entries[index];
        let (slot, cell, deadline) = (entry.slot, entry.cell, entry.deadline);
        self.wheel.remove(slot, cell, &mut self.entries);
        let slot = self.slot_for(deadline);
        self.wheel.file(&mut self.entries, index, slot);
    }

    /// The slot for a timer that is armed now.
    #[inline]
    fn slot_for(&self, deadline: u64) -> u16 {
        if deadline <= self.now {
            NEXT
        } else {
            self.wheel.place(deadline)
        }
    }
}

impl<T: Copy> Default for Timers<T> {
    fn default() -> Timers<T> {
        Timers::new()
    }
}
