//! [`Place`]: where in the source a timer or a registration was created, for reports.
//!
//! A place is noted only while a runtime exists that tracks places: each of them keeps a
//! [`Tracking`]. Otherwise [`Place::here`] is one comparison, and nothing is stored or allocated.
//!
//! A place is a number of 16 bits, because a `Sleep` has no room for a reference. The table that
//! the numbers refer to is process-wide, and entries are never removed, so a number keeps its
//! meaning. The table has buckets with a list in each. A number consists of the bucket's number and
//! the position in its list. Lists only grow at their ends, without locks, so the child of a fork
//! can use the table at once.

#![forbid(unsafe_code)]

use crate::sys::once_box::OnceBox;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many runtimes track places.
static TRACKERS: AtomicUsize = AtomicUsize::new(0);

/// The lists of places, by a hash of the address of the `Location`.
static BUCKETS: [OnceBox<Node>; 256] = [const { OnceBox::new() }; 256];

/// The last position in a list. Further places of that bucket are unknown; with a fair hash that
/// begins at some 50,000 places.
const LAST: u16 = 255;

/// An entry of a list.
struct Node {
    location: &'static Location<'static>,
    next: OnceBox<Node>,
}

/// Returns whether any runtime tracks places.
#[inline(always)]
pub(crate) fn is_tracked() -> bool {
    // Relaxed: a thread that does not know of a new runtime yet may miss a few places.
    TRACKERS.load(Ordering::Relaxed) != 0
}

/// A place in the source, which may be unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u16);

impl Place {
    /// No place: nothing tracks places, or this crate itself is the creator.
    pub(crate) const UNKNOWN: Place = Place(0);

    /// Returns the place that calls the function which calls `here`. That function must have the
    /// attribute `track_caller`. The place is unknown if no runtime tracks places.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn here() -> Place {
        Place::at(Location::caller())
    }

    /// Returns the place of a location. It is unknown if no runtime tracks places.
    #[inline(always)]
    pub(crate) fn at(location: &'static Location<'static>) -> Place {
        if is_tracked() {
            Place::of(location)
        } else {
            Place::UNKNOWN
        }
    }

    /// Returns the number of a location, which is added to the table first if it is new.
    #[cold]
    #[inline(never)]
    pub(crate) fn of(location: &'static Location<'static>) -> Place {
        let bucket = bucket_of(location);
        let mut end = &BUCKETS[usize::from(bucket)];
        for position in 1..=LAST {
            let node = end.get_or_make(|| Node {
                location,
                next: OnceBox::new(),
            });
            if ptr::eq(node.location, location) {
                return Place(u16::from(bucket) << 8 | position);
            }
            end = &node.next;
        }
        Place::UNKNOWN
    }

    #[inline]
    pub(crate) fn is_known(self) -> bool {
        self != Place::UNKNOWN
    }

    /// Returns the location, unless the place is unknown.
    pub(crate) fn location(self) -> Option<&'static Location<'static>> {
        let [bucket, position] = self.0.to_be_bytes();
        let mut node = BUCKETS[usize::from(bucket)].get()?;
        for _ in 1..position {
            node = node.next.get()?;
        }
        (position != 0).then_some(node.location)
    }
}

/// Returns the number of the list in which a location is found.
fn bucket_of(location: &'static Location<'static>) -> u8 {
    // Fibonacci hashing: the highest bits depend on all bits of the address.
    let address = ptr::from_ref(location).addr() as u64;
    (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location() {
            Some(location) => location.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Makes functions note places for as long as it exists.
#[derive(Debug)]
pub(crate) struct Tracking(());

impl Tracking {
    pub(crate) fn begin() -> Tracking {
        TRACKERS.fetch_add(1, Ordering::Relaxed);
        Tracking(())
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        TRACKERS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn place_is_that_of_the_caller_and_the_same_each_time() {
        #[track_caller]
        fn made() -> Place {
            Place::here()
        }
        let _tracking = Tracking::begin();
        let both = [0, 1].map(|_| made());
        let other = made();
        assert_eq!(both[0], both[1]);
        assert_ne!(both[0], other);
        let line = other.location().unwrap().line();
        assert_eq!(both[0].location().unwrap().line() + 1, line);
        assert_eq!(other.location().unwrap().file(), file!());
        assert_eq!(format!("{:?}", Place::UNKNOWN), "unknown");
        assert_eq!(Place::UNKNOWN.location(), None);
    }

    /// More locations than a bucket has room for, noted by two threads at once.
    #[test]
    fn bucket_that_is_full_knows_no_more_places() {
        let here = Location::caller();
        // Copies of a location are other locations. They are searched for one bucket that no
        // location of a test of this crate is likely to be in.
        let copies: Vec<Location<'static>> = vec![*here; 300 * 256];
        let copies: &'static [Location<'static>] = copies.leak();
        let bucket = bucket_of(here).wrapping_add(1);
        let same: Vec<_> = copies
            .iter()
            .filter(|copy| bucket_of(copy) == bucket)
            .collect();
        assert!(same.len() > usize::from(LAST), "{}", same.len());
        let places = thread::scope(|scope| {
            let threads = [0, 1].map(|_| {
                scope.spawn(|| same.iter().map(|copy| Place::of(copy)).collect::<Vec<_>>())
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(places[0], places[1]);
        let known = places[0].iter().filter(|place| place.is_known());
        assert!((1..=usize::from(LAST)).contains(&known.count()));
        for (place, location) in places[0].iter().zip(&same) {
            if let Some(found) = place.location() {
                assert!(ptr::eq(found, *location));
            }
        }
        assert!(places[0].iter().any(|place| !place.is_known()));
    }
}
