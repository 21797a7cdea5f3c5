//! Timers: a hierarchical wheel that counts `u64` ticks and returns values when their tick has
//! come.
//!
//! It is a pure data structure. It has no clock and no unit of time, and it wakes no task. The
//! reactor converts instants to ticks: deadlines are rounded up and the present is rounded down, so
//! that no timer is early. It stores wakers as the values, and sleeps until
//! [`next_deadline`](Timers::next_deadline).
//!
//! # The levels
//!
//! A tick consists of digits of six bits. A timer is filed by the highest digit in which its
//! deadline differs from the wheel's position, so near deadlines are in fine slots and far ones in
//! coarse slots:
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
//! | level | ticks per slot | ticks per level | with ticks of 16.384 us |
//! |---|---|---|---|
//! | 0 | 1 | 64 | 1 ms |
//! | 1 | 64 | 2^12 | 67 ms |
//! | 2 | 2^12 | 2^18 | 4.3 s |
//! | 3 | 2^18 | 2^24 | 4.6 min |
//! | 4 | 2^24 | 2^30 | 4.9 h |
//! | 5 | 2^30 | 2^36 | 13 days |
//! | 6 | 2^36 | 2^42 | 2.3 years |
//! | beyond | one list | the last tick | all later deadlines, including "never" (`u64::MAX`) |
//!
//! When the position enters a slot above level 0, its timers are filed again in lower levels (a
//! cascade). When it reaches a slot of level 0, they fire. Empty slots cost nothing, no matter how
//! many the position passes at once.
//!
//! Read on: `wheel.rs` (placing and moving), `slots.rs` (the slots), `entry.rs` (the slab).
//!
//! # Two shortcuts
//!
//! - A reset to a later tick is one store. The timer stays in its slot and moves when that slot is
//!   visited. The slot is never later than the deadline, so no timer is late, however often it is
//!   reset.
//! - A slot's minimum stays when the timer that set it is cancelled or reset. So the loop may wake
//!   once without need; that visit files the timers of the slot again and corrects the minimum.

#![forbid(unsafe_code)]

mod entry;
mod slots;
mod wheel;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use entry::TimerKey;

use entry::{Entries, Released};
use wheel::{NEXT, Wheel};

/// Timers over ticks. Each has a value, which is returned when the deadline has passed.
///
/// Time passes only in [`begin_expiry`](Timers::begin_expiry), which starts a pass, and in
/// [`pop_expired`](Timers::pop_expired), which returns the due timers of the pass one by one.
/// Between two pops any timer may be inserted, reset or cancelled, including timers that are due.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    /// The tick of the latest pass. Deadlines up to it are due.
    now: u64,
    entries: Entries<T>,
    wheel: Wheel,
}

impl<T: Copy> Timers<T> {
    /// Makes an empty set at tick 0.
    pub(crate) fn new() -> Timers<T> {
        Timers {
            now: 0,
            entries: Entries::new(),
            wheel: Wheel::new(),
        }
    }

    /// Arms a timer for the tick `deadline`.
    ///
    /// A deadline that is not after the tick of the latest pass is due in the next pass, never in
    /// the current one, so timers that arm timers cannot hold up the loop.
    ///
    /// # Panics
    ///
    /// If 4 * 10^9 timers are armed already.
    // Inlined, see `Driver::arm_timer`.
    #[inline(always)]
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        let slot = self.slot_for(deadline);
        let Some((index, entry)) = self.entries.claim() else {
            return self.insert_unused(deadline, slot, value);
        };
        let offset = self.wheel.push(slot, index, deadline);
        entry.fill(deadline, slot, offset, value);
        entry.key(index)
    }

    /// Arms a timer as `insert` does, if the chain of free entries is empty.
    #[cold]
    fn insert_unused(&mut self, deadline: u64, slot: u16, value: T) -> TimerKey {
        let index = self.entries.claim_unused(value);
        let offset = self.wheel.push(slot, index, deadline);
        let entry = &mut self.entries[index];
        entry.fill(deadline, slot, offset, value);
        entry.key(index)
    }

    /// Moves a timer to another tick. Returns `false` if the key is stale, because the timer has
    /// fired or was cancelled.
    ///
    /// To a later tick this is one store, within the same slot two, and otherwise a removal and an
    /// [`insert`](Timers::insert), with the same rule for a deadline that has passed. A due timer
    /// that was not returned yet does not fire in the current pass if the new tick is after it.
    #[inline]
    pub(crate) fn reset(&mut self, key: TimerKey, deadline: u64) -> bool {
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

    /// Disarms a timer and returns its value, or `None` if the key is stale.
    #[inline(always)]
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.entries.find(key)?;
        let Released {
            slot,
            offset,
            value,
            ..
        } = self.entries.release(key.index());
        self.wheel.remove(slot, offset, &mut self.entries);
        Some(value)
    }

    /// Returns the value of an armed timer, to be read or replaced, or `None` if the key is stale.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        self.entries.value_mut(key)
    }

    /// Returns the deadline of an armed timer, or `None` if the key is stale.
    #[inline]
    pub(crate) fn deadline(&self, key: TimerKey) -> Option<u64> {
        self.entries.find(key).map(|entry| entry.deadline)
    }

    /// Returns the earliest tick at which a timer may be due, or `None` if no timer is armed.
    ///
    /// It is never later than the earliest deadline, and never the time of a cascade. It is exactly
    /// that deadline unless the earliest timer was cancelled or reset. A pass at the returned tick
    /// then corrects it, so the loop wakes at most once without need. After a pass that was popped
    /// to its end it is later than the tick of the pass, unless a timer was armed for a past tick
    /// during the pass.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.wheel.earliest()
    }

    /// Begins a pass at the tick `now`: [`pop_expired`](Timers::pop_expired) then returns the
    /// timers that are due.
    ///
    /// A timer that is armed after this call belongs to the next pass, even if its tick has passed.
    /// A pass need not be popped to its end; the next one returns the rest. Time does not go back:
    /// an earlier `now` counts as the latest one.
    #[inline]
    pub(crate) fn begin_expiry(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.wheel.file_next(&mut self.entries);
    }

    /// Removes the next due timer, in non-decreasing order of deadlines. `None` ends the pass.
    ///
    /// The returned key is stale already. The order of timers with the same tick is unspecified;
    /// timers that were armed after the pass of their tick come first.
    #[inline]
    pub(crate) fn pop_expired(&mut self) -> Option<(TimerKey, T)> {
        let index = self.wheel.advance(&mut self.entries, self.now)?;
        let Released { key, value, .. } = self.entries.release(index);
        self.entries.tidy();
        Some((key, value))
    }

    /// Returns the number of armed timers.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Gives back memory that is kept for new timers.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink();
        self.wheel.shrink();
    }

    /// Returns the number of timers that the slots have room for.
    #[cfg(test)]
    fn room(&self) -> usize {
        self.wheel.room()
    }

    /// Returns whether no timer is armed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes ticks shorter by a factor of `1 << bits`: every tick, past and future, gets another
    /// number. Keys stay valid.
    #[cfg(feature = "test-util")]
    pub(crate) fn refine(&mut self, bits: u32) {
        let timers: Vec<(u32, u64)> = self.iter().map(|(key, at, _)| (key.index(), at)).collect();
        for &(index, _) in &timers {
            let (slot, offset) = (self.entries[index].slot, self.entries[index].offset);
            self.wheel.remove(slot, offset, &mut self.entries);
        }
        self.now <<= bits;
        self.wheel.position <<= bits;
        for (index, deadline) in timers {
            // A tick that has no number any more never comes, and `u64::MAX` never came.
            let refined = match deadline.leading_zeros() >= bits {
                true => deadline << bits,
                false => u64::MAX,
            };
            self.entries[index].deadline = refined;
            let slot = self.slot_for(refined);
            self.wheel.file(&mut self.entries, index, slot);
        }
    }

    /// Returns every armed timer with its deadline and value, in no particular order. Walks the
    /// whole slab.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TimerKey, u64, &T)> {
        self.entries.iter()
    }

    /// Cancels every timer and returns the values, in no particular order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let keys: Vec<TimerKey> = self.iter().map(|(key, ..)| key).collect();
        keys.into_iter()
            .filter_map(|key| self.cancel(key))
            .collect()
    }

    /// Moves an entry to the slot of its deadline.
    // Inlined it would cost a reset to later, which does not call it, 4 of 126 instructions.
    #[inline(never)]
    fn file_again(&mut self, index: u32) {
        let entry = &self.entries[index];
        let (slot, offset, deadline) = (entry.slot, entry.offset, entry.deadline);
        self.wheel.remove(slot, offset, &mut self.entries);
        let slot = self.slot_for(deadline);
        self.wheel.file(&mut self.entries, index, slot);
    }

    /// Returns the slot for a timer that is armed now.
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
