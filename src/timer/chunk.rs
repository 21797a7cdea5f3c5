//! Queues of indices, cut into chunks of a cache line's size that come from one pool.
//!
//! A slot of the wheel could be a list threaded through the entries, but then a walk along it waits for one entry's
//! memory before it knows the next one, and a cascade of a hundred thousand timers is a hundred thousand such waits.
//! In a chunk the next fourteen indices lie side by side, so that the processor fetches their entries at once.
//!
//! ```text
//!  Queue { first, end }          cell = chunk * 16 + offset
//!            |     |
//!    chunk 5 |     |    chunk 9
//!   [prev next . . i i i i ...] <-> [prev next i i i . . ...]
//!                  first ^                           ^ end, one behind the last
//! ```
//!
//! Entries know the cell they are in, so one is taken out by moving the last one into its place. A queue that becomes
//! empty keeps its chunk: the slots near the position fill and empty all the time.

#![forbid(unsafe_code)]

use super::entry::Entries;

/// Cells of a chunk, header included: 64 bytes.
const CELLS: u32 = 16;

/// The header cells of a chunk: the numbers of the chunk before it and of the one behind it.
const PREV: u32 = 0;
const NEXT: u32 = 1;

/// The first cell with an index in it.
const HEADER: u32 = 2;

/// Indices in a chunk.
pub(super) const ITEMS: usize = (CELLS - HEADER) as usize;

/// A queue of indices; the pool is lent to every call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// The cell of the first index.
    first: u32,
    /// The cell behind the last index; a multiple of [`CELLS`] when that is the last of its chunk.
    end: u32,
}

impl Queue {
    /// No index and no chunk. Chunk 0 is never given out, so cell 0 is no queue's.
    pub(super) const EMPTY: Queue = Queue { first: 0, end: 0 };

    /// Whether no index is in the queue.
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.first == self.end
    }

    /// Whether one index is in the queue.
    #[inline]
    pub(super) fn is_single(self) -> bool {
        self.end == self.first + 1
    }

    /// Whether the first index begins a chunk and is not alone in it.
    #[inline]
    pub(super) fn begins_chunk(self) -> bool {
        self.first % CELLS == HEADER && self.end > self.first + 1
    }

    /// The number of the chunk the last index is in, or was in when the queue is empty.
    #[inline]
    fn last_chunk(self) -> u32 {
        (self.end - 1) / CELLS
    }

    /// The cells of the first chunk that hold indices of this queue.
    #[inline]
    fn in_first_chunk(self) -> std::ops::Range<u32> {
        let stop = (self.first / CELLS + 1) * CELLS;
        let last = self.last_chunk() == self.first / CELLS;
        self.first..if last { self.end } else { stop }
    }
}

/// As many cells as a line has. Not aligned to one: the allocator has no way to let a block of such an alignment grow where
/// it is, so each doubling of the pool was a copy into fresh pages; to begin in the middle of a line costs nothing that
/// can be measured.
#[derive(Clone, Copy, Debug)]
struct Chunk([u32; CELLS as usize]);

/// The pool of chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    list: Vec<Chunk>,
    /// The chunk to use next, chained by the `NEXT` cell; 0 when there is none.
    free: u32,
}

impl Chunks {
    /// An empty pool; allocates nothing.
    pub(super) const fn new() -> Chunks {
        Chunks {
            list: Vec::new(),
            free: 0,
        }
    }

    /// Puts an index at the end of a queue and gives back its cell.
    #[inline]
    pub(super) fn push(&mut self, queue: &mut Queue, index: u32) -> u32 {
        if queue.end % CELLS == 0 {
            self.extend(queue);
        }
        let cell = queue.end;
        *self.cell_mut(cell) = index;
        queue.end = cell + 1;
        cell
    }

    /// The first index of a queue that is not empty.
    #[inline]
    pub(super) fn first(&self, queue: Queue) -> u32 {
        self.cell(queue.first)
    }

    /// Takes the first index off a queue that is not empty.
    #[inline]
    pub(super) fn pop_first(&mut self, queue: &mut Queue) {
        let chunk = queue.first / CELLS;
        queue.first += 1;
        if queue.first != queue.end && queue.first % CELLS == 0 {
            queue.first = self.cell(chunk * CELLS + NEXT) * CELLS + HEADER;
            self.release(chunk);
        }
    }

    /// Takes out the index in `cell`, which the last one of the queue replaces. Whether the queue is empty now.
    #[inline]
    pub(super) fn remove<T: Copy>(
        &mut self,
        queue: &mut Queue,
        cell: u32,
        entries: &mut Entries<T>,
    ) -> bool {
        let last = queue.end - 1;
        if cell != last {
            self.move_last(last, cell, entries);
        }
        queue.end = last;
        let emptied = queue.first == last;
        if !emptied && last % CELLS == HEADER {
            self.retreat(queue);
        }
        emptied
    }

    /// Moves the index in the cell `last` to `cell`. Out of line, for it is rare to cancel any but the newest of a
    /// slot and the usual way is shorter without its registers.
    #[inline(never)]
    fn move_last<T: Copy>(&mut self, last: u32, cell: u32, entries: &mut Entries<T>) {
        let moved = self.cell(last);
        *self.cell_mut(cell) = moved;
        entries[moved].cell = cell;
    }

    /// Gives back the last chunk of a queue, which has become empty and is not the only one.
    #[cold]
    fn retreat(&mut self, queue: &mut Queue) {
        let chunk = queue.end / CELLS;
        queue.end = (self.cell(chunk * CELLS + PREV) + 1) * CELLS;
        self.release(chunk);
    }

    /// Takes the first chunk off a queue: its indices and how many they are. The queue is one that was taken from
    /// its slot: it is given up for good, and 0 indices are its end.
    #[inline]
    pub(super) fn take_chunk(&mut self, queue: &mut Queue) -> ([u32; ITEMS], usize) {
        let mut items = [0; ITEMS];
        if queue.is_empty() {
            return (items, 0);
        }
        let cells = queue.in_first_chunk();
        let chunk = queue.first / CELLS;
        let line = self.list[chunk as usize].0;
        let from = (cells.start % CELLS) as usize;
        let taken = &line[from..from + cells.len()];
        items[..taken.len()].copy_from_slice(taken);
        let last = queue.last_chunk() == chunk;
        *queue = if last {
            Queue::EMPTY
        } else {
            Queue {
                first: line[NEXT as usize] * CELLS + HEADER,
                ..*queue
            }
        };
        self.release(chunk);
        (items, cells.len())
    }

    /// The indices in the first chunk of a queue that is not empty.
    #[inline]
    pub(super) fn first_chunk(&self, queue: Queue) -> &[u32] {
        let cells = queue.in_first_chunk();
        let from = (cells.start % CELLS) as usize;
        &self.list[(cells.start / CELLS) as usize].0[from..from + cells.len()]
    }

    /// Makes room at the end of a queue: it has no chunk, or its last one is full, or was and all of it has been read.
    #[cold]
    fn extend(&mut self, queue: &mut Queue) {
        if queue.is_empty() && queue.end != 0 {
            queue.first = queue.last_chunk() * CELLS + HEADER;
            queue.end = queue.first;
            return;
        }
        let chunk = self.claim();
        let start = chunk * CELLS + HEADER;
        if queue.is_empty() {
            queue.first = start;
        } else {
            let last = queue.last_chunk();
            *self.cell_mut(last * CELLS + NEXT) = chunk;
            *self.cell_mut(chunk * CELLS + PREV) = last;
        }
        queue.end = start;
    }

    /// Takes a chunk out of the pool.
    fn claim(&mut self) -> u32 {
        if self.free != 0 {
            let chunk = self.free;
            self.free = self.cell(chunk * CELLS + NEXT);
            return chunk;
        }
        if self.list.is_empty() {
            // Chunk 0, which only keeps its number from being used.
            self.list.push(Chunk([0; CELLS as usize]));
        }
        let chunk = u32::try_from(self.list.len())
            .ok()
            .filter(|&chunk| chunk < u32::MAX / CELLS);
        self.list.push(Chunk([0; CELLS as usize]));
        chunk.expect("timers are fewer than 3 * 10^9, which would be 96 GiB of them")
    }

    /// Gives a chunk back to the pool.
    #[inline]
    fn release(&mut self, chunk: u32) {
        *self.cell_mut(chunk * CELLS + NEXT) = self.free;
        self.free = chunk;
    }

    #[inline]
    fn cell(&self, cell: u32) -> u32 {
        self.list[(cell / CELLS) as usize].0[(cell % CELLS) as usize]
    }

    #[inline]
    fn cell_mut(&mut self, cell: u32) -> &mut u32 {
        &mut self.list[(cell / CELLS) as usize].0[(cell % CELLS) as usize]
    }
}
