//! [`TimerPlaces`]: where in the source each armed timer was created, for reports.
//!
//! A column beside the slab of timers, and allocated only by a runtime that tracks places. An entry
//! stays until the next timer with a known place at its index, and its key shows whether it is that
//! of the present one.

#![forbid(unsafe_code)]

use crate::place::{Place, Tracking};
use crate::timer::TimerKey;

/// The places of timers, by the index of the timer.
#[derive(Debug)]
pub(super) struct TimerPlaces {
    list: Vec<Option<(TimerKey, Place)>>,
    /// Makes timers and registrations note their places.
    _tracking: Tracking,
}

impl TimerPlaces {
    pub(super) fn new() -> TimerPlaces {
        TimerPlaces {
            list: Vec::new(),
            _tracking: Tracking::begin(),
        }
    }

    /// Stores where an armed timer was created.
    pub(super) fn set(&mut self, key: TimerKey, place: Place) {
        let index = key.index() as usize;
        if self.list.len() <= index {
            self.list.resize(index + 1, None);
        }
        self.list[index] = Some((key, place));
    }

    /// Returns where an armed timer was created.
    pub(super) fn get(&self, key: TimerKey) -> Option<Place> {
        let (found, place) = (*self.list.get(key.index() as usize)?)?;
        (found == key).then_some(place)
    }

    /// Drops the entries of timers that are not armed, and frees memory that is not used.
    pub(super) fn shrink(&mut self, is_armed: impl Fn(TimerKey) -> bool) {
        for entry in &mut self.list {
            entry.take_if(|(key, _)| !is_armed(*key));
        }
        let len = self.list.iter().rposition(Option::is_some);
        self.list.truncate(len.map_or(0, |at| at + 1));
        self.list.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::Timers;

    #[test]
    fn place_of_a_timer_is_not_that_of_the_next_one_at_its_index() {
        let (mut timers, mut places) = (Timers::new(), TimerPlaces::new());
        let first = timers.insert(5, 'a');
        places.set(first, Place::here());
        assert_eq!(
            places.get(first).unwrap().location().unwrap().file(),
            file!()
        );
        timers.cancel(first);
        let second = timers.insert(5, 'b');
        assert_eq!(first.index(), second.index());
        // The second timer has no place.
        assert_eq!(places.get(second), None);
        places.shrink(|key| key == second);
        assert_eq!(places.get(first), None);
        assert_eq!(places.list.capacity(), 0);
    }

    /// The number is in the documentation of `Builder::track_spawn_locations`.
    #[test]
    fn entry_takes_12_bytes() {
        assert_eq!(size_of::<Option<(TimerKey, Place)>>(), 12);
    }
}
