//! The run queue of the owner's thread: a ring of slot indices.
//!
//! An index is in it at most once (the bit `QUEUED` says so), hence it never holds more entries than there are slots,
//! and grows only when the slab does: a push needs no test for room. The queue for other threads is in `remote.rs`.

/// How many entries there is room for at first.
const SMALLEST: usize = 8;

/// First in, first out. One entry is never used, so that a full ring differs from an empty one.
pub(super) struct RunQueue {
    /// Its length is a power of two, and `mask + 1`.
    ring: Box<[u32]>,
    mask: u32,
    /// Both at most `mask`.
    head: u32,
    tail: u32,
}

impl RunQueue {
    pub(super) fn new() -> RunQueue {
        RunQueue {
            ring: vec![0; SMALLEST].into_boxed_slice(),
            mask: SMALLEST as u32 - 1,
            head: 0,
            tail: 0,
        }
    }

    /// Makes room for `slots` entries in all.
    #[inline]
    pub(super) fn reserve(&mut self, slots: usize) {
        if slots >= self.ring.len() {
            self.grow(slots);
        }
    }

    #[cold]
    fn grow(&mut self, slots: usize) {
        let len = self.len();
        let size = (slots + 1).next_power_of_two();
        let mut ring = Vec::with_capacity(size);
        ring.extend(std::iter::from_fn(|| self.pop()));
        ring.resize(size, 0);
        self.ring = ring.into_boxed_slice();
        self.mask = size as u32 - 1;
        self.head = 0;
        self.tail = len as u32;
    }

    /// The entry at `head` or `tail`.
    #[inline]
    fn entry(&mut self, position: u32) -> &mut u32 {
        debug_assert!(position <= self.mask && self.ring.len() == self.mask as usize + 1);
        // SAFETY: `new` and `grow`, the only ones that set them, keep `mask` below the length of the ring, and both
        // positions at most `mask`, to which all others cut them. (Measured: the checks of a push and a pop are 5 of 100
        // instructions per switch of tasks.)
        unsafe { self.ring.get_unchecked_mut(position as usize) }
    }

    /// How many entries wait.
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
