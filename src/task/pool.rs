//! [`Pool`]: keeps the memory of ended tasks for new ones.
//!
//! `malloc` and `free` are a quarter of the cost of a task that does nothing. A runtime spawns
//! tasks of the same few types again and again, on one thread. So the pool keeps some freed blocks
//! of each small size and returns them to new tasks, which takes a load and two stores. It keeps at
//! most [`MAX_KEPT`] bytes of each size: a thousand tasks of the smallest size, and 744 KiB in all
//! after bursts of each of the [`CLASSES`] sizes. Other blocks, and all larger ones, go back to the
//! allocator.
//!
//! The size of a task is usually a multiple of 8 bytes, and so are the block sizes, so little
//! memory is lost.
//!
//! Builds with debug assertions keep nothing, so that a sanitizer finds every use of a task's
//! memory after its end.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ptr::NonNull;

/// The step from one block size to the next.
const GRAIN: usize = 8;
/// The alignment of all blocks.
const ALIGN: usize = 16;
/// The smallest block size, which is also the smallest one that glibc allocates.
const MIN_SIZE: usize = 24;
/// The number of sizes that are kept: 24, 32, ... 264 bytes.
const CLASSES: usize = 31;
/// The largest number of bytes of each size that are kept.
const MAX_KEPT: usize = 24 << 10;
/// Whether blocks are kept at all.
const RECYCLE: bool = !cfg!(debug_assertions);

/// The next block of a list.
type Link = Option<NonNull<Free>>;

/// A kept block: its first word is the link, the rest is unused.
struct Free(Link);

/// Free blocks by size, owned by one thread.
pub(super) struct Pool {
    lists: [Cell<Link>; CLASSES],
    counts: [Cell<u16>; CLASSES],
}

/// Returns the size of the blocks of a class.
const fn size_of_class(class: usize) -> usize {
    MIN_SIZE + class * GRAIN
}

/// Returns the class of the smallest blocks that hold this many bytes; `CLASSES` or more if there
/// is none.
const fn class_of(size: usize) -> usize {
    size.saturating_sub(MIN_SIZE).div_ceil(GRAIN)
}

/// Returns the layout in which a `T` is allocated: its own, or rounded up to a size that is kept.
const fn layout_of<T>() -> Layout {
    let exact = Layout::new::<T>();
    let class = class_of(exact.size());
    if class >= CLASSES || exact.align() > ALIGN {
        return exact;
    }
    match Layout::from_size_align(size_of_class(class), ALIGN) {
        Ok(layout) => layout,
        Err(_) => exact,
    }
}

/// The layout and the list of a block, computed at compile time for [`Pool::release`].
pub(super) struct Size {
    layout: Layout,
    /// `CLASSES` for blocks that are not kept.
    class: u16,
    /// The maximum number of these blocks in the pool.
    max: u16,
}

impl Size {
    /// The size of the memory for a `T`.
    pub(super) const fn of<T>() -> Size {
        let layout = layout_of::<T>();
        let class = class_of(layout.size());
        let kept = RECYCLE && layout.align() == ALIGN && class < CLASSES;
        Size {
            layout,
            class: if kept { class as u16 } else { CLASSES as u16 },
            max: if kept {
                (MAX_KEPT / layout.size()) as u16
            } else {
                0
            },
        }
    }
}

impl Pool {
    pub(super) const fn new() -> Pool {
        Pool {
            lists: [const { Cell::new(None) }; CLASSES],
            counts: [const { Cell::new(0) }; CLASSES],
        }
    }

    /// Returns memory for a `T`, in the layout of [`layout_of`].
    #[inline]
    pub(super) fn allocate<T>(&self) -> NonNull<T> {
        const { assert!(size_of::<T>() != 0) };
        let class = const { Size::of::<T>().class as usize };
        if class < CLASSES {
            if let Some(block) = self.lists[class].get() {
                // SAFETY: a block in a list is at least as large as a link, belongs only to the
                // list, and begins with the link that `release` wrote.
                self.lists[class].set(unsafe { block.read().0 });
                self.counts[class].set(self.counts[class].get() - 1);
                return block.cast();
            }
        }
        // SAFETY: the size is not zero, as asserted above.
        let block = unsafe { alloc::alloc(layout_of::<T>()) };
        NonNull::new(block.cast()).unwrap_or_else(|| alloc::handle_alloc_error(layout_of::<T>()))
    }

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// [`allocate`](Pool::allocate) of this or another pool has returned it for a type of this
    /// size, and no code uses it from now on.
    #[inline]
    pub(super) unsafe fn release(&self, block: NonNull<u8>, size: &Size) {
        let class = usize::from(size.class);
        if class < CLASSES {
            let count = self.counts[class].get();
            if count < size.max {
                let block = block.cast::<Free>();
                // SAFETY: `allocate` makes every block of a class at least as large and as aligned
                // as a `Free`, and the caller guarantees that no other code uses it.
                unsafe { block.write(Free(self.lists[class].get())) };
                self.lists[class].set(Some(block));
                self.counts[class].set(count + 1);
                return;
            }
        }
        // SAFETY: the caller guarantees that the memory came from `allocate`, which gets it from
        // `alloc` in this layout.
        unsafe { alloc::dealloc(block.as_ptr(), size.layout) };
    }
}

impl Pool {
    /// Gives all kept blocks back to the allocator.
    pub(super) fn clear(&self) {
        for (class, list) in self.lists.iter().enumerate() {
            let size = size_of_class(class);
            self.counts[class].set(0);
            while let Some(block) = list.get() {
                // SAFETY: as in `allocate`, the block belongs only to the list.
                list.set(unsafe { block.read().0 });
                // SAFETY: all blocks of a list were allocated with this size and alignment.
                unsafe {
                    let layout = Layout::from_size_align_unchecked(size, ALIGN);
                    alloc::dealloc(block.cast().as_ptr(), layout);
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn round_trip<T>(pool: &Pool, value: T) {
        let memory = pool.allocate::<T>();
        assert_eq!(memory.addr().get() % align_of::<T>(), 0);
        // SAFETY: `allocate` returned the memory for a `T`, no other code has it, and the value is
        // read once.
        unsafe {
            memory.write(value);
            drop(memory.read());
            pool.release(memory.cast(), &Size::of::<T>());
        }
    }

    #[test]
    fn pool_serves_every_size_and_alignment() {
        #[repr(align(64))]
        struct Wide(#[allow(dead_code, reason = "only its layout counts")] [u8; 64]);
        let pool = Pool::new();
        for round in 0..3u8 {
            round_trip(&pool, round);
            round_trip(&pool, [u64::from(round); 2]);
            round_trip(&pool, [u64::from(round); 3]);
            round_trip(&pool, [0u8; 25]);
            round_trip(&pool, [0u8; 263]);
            round_trip(&pool, [0u8; 264]);
            round_trip(&pool, [0u8; 265]);
            round_trip(&pool, [0u8; 100_000]);
            round_trip(&pool, Wide([round; 64]));
        }
    }

    #[test]
    fn layout_is_rounded_up_to_a_class() {
        assert_eq!(layout_of::<u8>().size(), 24);
        assert_eq!(layout_of::<[u64; 3]>().size(), 24);
        assert_eq!(layout_of::<[u8; 25]>().size(), 32);
        assert_eq!(layout_of::<[u64; 9]>().size(), 72);
        assert_eq!(layout_of::<[u64; 10]>().size(), 80);
        assert_eq!(layout_of::<[u64; 33]>().size(), 264);
        assert_eq!(layout_of::<[u8; 265]>().size(), 265);
    }

    #[test]
    fn pool_keeps_a_bounded_number_and_reuses_them() {
        let pool = Pool::new();
        let max = MAX_KEPT / 32;
        let many: Vec<_> = (0..2 * max).map(|_| pool.allocate::<[u64; 4]>()).collect();
        for memory in &many {
            // SAFETY: each was just allocated in this layout and is not used again.
            unsafe { pool.release(memory.cast(), &Size::of::<[u64; 4]>()) };
        }
        let kept = usize::from(pool.counts[1].get());
        assert_eq!(kept, if RECYCLE { max } else { 0 });
        if RECYCLE {
            let again = pool.allocate::<[u8; 25]>();
            assert!(
                many.iter().any(|memory| memory.addr() == again.addr()),
                "25 and 32 bytes are one size"
            );
            // SAFETY: it was just allocated in this layout and is not used again.
            unsafe { pool.release(again.cast(), &Size::of::<[u8; 25]>()) };
        }
        pool.clear();
        assert_eq!(pool.counts[1].get(), 0);
        assert!(pool.lists[1].get().is_none());
    }
}
