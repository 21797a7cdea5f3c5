//! The memory of tasks that have ended, kept for the next ones.
//!
//! `malloc` and `free` are a quarter of the cost of a task that does nothing. A runtime spawns tasks of the same few
//! types over and over, on one thread, so it keeps some freed blocks of each small size and hands them out again: a load
//! and two stores. What it keeps is bounded ([`KEEP`] blocks of each of [`CLASSES`] sizes, 68 KiB in all), the rest goes back
//! to the allocator, and larger tasks always do.
//!
//! Builds with debug assertions keep nothing, so that a sanitizer sees every use of a task's memory after its end.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ptr::NonNull;

/// Block sizes are multiples of this, which is also their alignment.
const GRAIN: usize = 16;
/// Sizes that are kept: 16, 32, ... 256 bytes.
const CLASSES: usize = 16;
/// How many free blocks of each size are kept.
const KEEP: u8 = 32;
/// Off where a sanitizer or a debugger should see each task's own memory.
const RECYCLE: bool = !cfg!(debug_assertions);

/// What a kept block holds: the next one.
type Link = Option<NonNull<Free>>;

/// A kept block: its first word is the link, the rest is nothing.
struct Free(Link);

/// Free blocks by size. Owned by one thread.
pub(super) struct Blocks {
    lists: [Cell<Link>; CLASSES],
    counts: [Cell<u8>; CLASSES],
}

/// The layout in which a `T` is allocated: rounded up to a size that is kept, if it is small enough.
const fn layout_of<T>() -> Layout {
    let exact = Layout::new::<T>();
    if exact.size() > GRAIN * CLASSES || exact.align() > GRAIN {
        return exact;
    }
    match Layout::from_size_align(exact.size().next_multiple_of(GRAIN), GRAIN) {
        Ok(layout) => layout,
        Err(_) => exact,
    }
}

/// What [`Blocks::release`] has to know of memory: its layout and, worked out when the program is compiled, its list.
pub(super) struct Size {
    layout: Layout,
    /// `CLASSES` for what is not kept.
    class: usize,
}

impl Size {
    /// Of the memory for a `T`.
    pub(super) const fn of<T>() -> Size {
        let layout = layout_of::<T>();
        let kept = RECYCLE && layout.align() == GRAIN && layout.size() <= GRAIN * CLASSES;
        let class = if kept {
            layout.size() / GRAIN - 1
        } else {
            CLASSES
        };
        Size { layout, class }
    }
}

impl Blocks {
    pub(super) const fn new() -> Blocks {
        Blocks {
            lists: [const { Cell::new(None) }; CLASSES],
            counts: [const { Cell::new(0) }; CLASSES],
        }
    }

    /// Memory for a `T`, in the layout of [`layout_of`].
    #[inline]
    pub(super) fn allocate<T>(&self) -> NonNull<T> {
        const { assert!(size_of::<T>() != 0) };
        let class = const { Size::of::<T>().class };
        if class < CLASSES {
            if let Some(block) = self.lists[class].get() {
                // SAFETY: a block in a list is at least one grain large, belongs to the list alone and begins with the
                // link that `release` wrote.
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
    /// It came from [`allocate`](Blocks::allocate), of these or of other blocks, for a type of this size, and nobody uses
    /// it any more.
    #[inline]
    pub(super) unsafe fn release(&self, block: NonNull<u8>, size: &Size) {
        let class = size.class;
        if class < CLASSES {
            let count = self.counts[class].get();
            if count < KEEP {
                let block = block.cast::<Free>();
                // SAFETY: the block is at least one grain large and aligned to it, and the caller gives it to us.
                unsafe { block.write(Free(self.lists[class].get())) };
                self.lists[class].set(Some(block));
                self.counts[class].set(count + 1);
                return;
            }
        }
        // SAFETY: the caller says that `allocate` gave the memory out, which gets it from `alloc` in this layout.
        unsafe { alloc::dealloc(block.as_ptr(), size.layout) };
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for (class, list) in self.lists.iter().enumerate() {
            let size = (class + 1) * GRAIN;
            while let Some(block) = list.get() {
                // SAFETY: as in `allocate`: the block is the list's own.
                list.set(unsafe { block.read().0 });
                // SAFETY: all blocks of a list were allocated with this size and alignment.
                unsafe {
                    let layout = Layout::from_size_align_unchecked(size, GRAIN);
                    alloc::dealloc(block.cast().as_ptr(), layout);
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn round_trip<T>(blocks: &Blocks, value: T) {
        let memory = blocks.allocate::<T>();
        assert_eq!(memory.addr().get() % align_of::<T>(), 0);
        // SAFETY: the memory is for a `T`, ours until it is released, and the value is read once.
        unsafe {
            memory.write(value);
            drop(memory.read());
            blocks.release(memory.cast(), &Size::of::<T>());
        }
    }

    #[test]
    fn every_size_and_alignment_comes_and_goes() {
        #[repr(align(64))]
        struct Wide(#[allow(dead_code, reason = "only its layout counts")] [u8; 64]);
        let blocks = Blocks::new();
        for round in 0..3u8 {
            round_trip(&blocks, round);
            round_trip(&blocks, [u64::from(round); 2]);
            round_trip(&blocks, [0u8; 255]);
            round_trip(&blocks, [0u8; 256]);
            round_trip(&blocks, [0u8; 257]);
            round_trip(&blocks, [0u8; 100_000]);
            round_trip(&blocks, Wide([round; 64]));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_used_again() {
        let blocks = Blocks::new();
        let many: Vec<_> = (0..100).map(|_| blocks.allocate::<[u64; 5]>()).collect();
        for memory in &many {
            // SAFETY: each was just allocated in this layout and is not used again.
            unsafe { blocks.release(memory.cast(), &Size::of::<[u64; 5]>()) };
        }
        let kept = usize::from(blocks.counts[2].get());
        assert_eq!(kept, if RECYCLE { usize::from(KEEP) } else { 0 });
        if RECYCLE {
            let again = blocks.allocate::<[u64; 6]>();
            assert!(
                many.iter().any(|memory| memory.addr() == again.addr()),
                "48 bytes are one size"
            );
            // SAFETY: it was just allocated in this layout and is not used again.
            unsafe { blocks.release(again.cast(), &Size::of::<[u64; 6]>()) };
        }
    }
}
