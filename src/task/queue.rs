//! The run queue of the owner's thread: a ring of slot indices.
//!
//! An index is in it at most once (the bit `QUEUED` says so), hence it never holds more entries than there are slots,
//! and grows only when the slab does: a push needs no test for room. The queue for other threads is in `remote.rs`.

/// First in, first out; the capacity is a power of two, positions run freely and are masked.
pub(super) struct RunQueue {
    ring: Box<[u32]>,
    head: u32,
    tail: u32,
}

impl RunQueue {
    pub(super) fn new() -> RunQueue {
        RunQueue {
            ring: Box::default(),
            head: 0,
            tail: 0,
        }
    }

    /// Makes room for `slots` entries in all.
    #[inline]
    pub(super) fn reserve(&mut self, slots: usize) {
        if slots > self.ring.len() {
            self.grow(slots);
        }
    }

    #[cold]
    fn grow(&mut self, slots: usize) {
        let mut ring = vec![0; slots.next_power_of_two().max(8)].into_boxed_slice();
        let len = self.len();
        for entry in ring.iter_mut().take(len) {
            *entry = self.ring[self.place(self.head)];
            self.head = self.head.wrapping_add(1);
        }
        self.ring = ring;
        self.head = 0;
        self.tail = len as u32;
    }

    #[inline]
    fn place(&self, position: u32) -> usize {
        position as usize & self.ring.len().wrapping_sub(1)
    }

    /// How many entries wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Appends an index that is not in the queue yet.
    #[inline]
    pub(super) fn push(&mut self, index: u32) {
        debug_assert!(self.len() < self.ring.len());
        let place = self.place(self.tail);
        self.ring[place] = index;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let index = self.ring[self.place(self.head)];
        self.head = self.head.wrapping_add(1);
        Some(index)
    }
}
