//! [`RunQueue`]: the run queue of the owner's thread, a ring of slot indices.
//!
//! Each index is in it at most once, as the bit `QUEUED` of its slot ensures. So it has at most as
//! many entries as there are slots and grows and shrinks only together with the slab, and a push
//! needs no check for room. The queue for wakes from other threads is in `remote.rs`.

/// The length of a new ring.
const FIRST_LENGTH: usize = 8;

/// Returns the length of a ring for so many entries.
fn length_for(slots: usize) -> usize {
    (slots + 1).next_power_of_two().max(FIRST_LENGTH)
}

/// First in, first out. One entry stays unused, so that a full ring differs from an empty one.
pub(super) struct RunQueue {
    /// Its length is a power of two, and `mask + 1`.
    ring: Box<[u32]>,
    mask: u32,
    /// The position of the first entry, at most `mask`.
    head: u32,
    /// The position after the last entry, at most `mask`.
    tail: u32,
}

impl RunQueue {
    pub(super) fn new() -> RunQueue {
        RunQueue {
            ring: vec![0; FIRST_LENGTH].into_boxed_slice(),
            mask: FIRST_LENGTH as u32 - 1,
            head: 0,
            tail: 0,
        }
    }

    /// Makes room for `slots` entries in total.
    #[inline]
    pub(super) fn reserve(&mut self, slots: usize) {
        if slots >= self.ring.len() {
            self.resize(slots);
        }
    }

    /// Gives back the memory that is not needed for `slots` entries.
    pub(super) fn shrink(&mut self, slots: usize) {
        if length_for(slots) < self.ring.len() {
            self.resize(slots);
        }
    }

    #[cold]
    fn resize(&mut self, slots: usize) {
        let len = self.len();
        let size = length_for(slots);
        let mut ring = Vec::with_capacity(size);
        ring.extend(std::iter::from_fn(|| self.pop()));
        ring.resize(size, 0);
        self.ring = ring.into_boxed_slice();
        self.mask = size as u32 - 1;
        self.head = 0;
        self.tail = len as u32;
    }

    /// Returns the entry at `head` or `tail`.
    #[inline]
    fn entry(&mut self, position: u32) -> &mut u32 {
        debug_assert!(position <= self.mask && self.ring.len() == self.mask as usize + 1);
        // SAFETY: `mask` is less than the length of the ring, as `new` and `resize` set it, and
        // both positions are at most `mask`, as all methods keep them. (Measured: the checks of a
        // push and a pop cost 5 of 100 instructions per switch of tasks.)
        unsafe { self.ring.get_unchecked_mut(position as usize) }
    }

    /// Returns the number of entries.
    #[inline]
    pub(super) fn len(&self) -> usize {
        (self.tail.wrapping_sub(self.head) & self.mask) as usize
    }

    /// Appends an index that is not in the queue yet.
    #[inline]
    pub(super) fn push(&mut self, index: u32) {
        debug_assert!(self.len() < self.mask as usize);
        *self.entry(self.tail) = index;
        self.tail = (self.tail + 1) & self.mask;
    }

    /// Removes and returns the first index.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        if self.head == self.tail {
            return None;
        }
        let index = *self.entry(self.head);
        self.head = (self.head + 1) & self.mask;
        Some(index)
    }
}
