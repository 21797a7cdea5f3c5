//! [`Key`]: identifies a task within its runtime. Packed, it is one word that a `Waker` can hold.
//!
//! | bits, 64-bit targets | 32-bit targets | |
//! |---|---|---|
//! | 63..48 | 31..22 | the runtime's place in the registry, never 0 |
//! | 47..28 | none | the low bits of the slot's generation |
//! | 27..0 | 21..0 | the slot's index |
//!
//! Every packed key is at least [`MIN_KEY`]: code that stores a waker as one word may use smaller
//! numbers for other purposes. This file is pure arithmetic and imports nothing of `task/`.

/// Identifies a task within its runtime: the index and the full generation of its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    /// A key of no task, because no index is that large.
    pub(super) const NONE: Key = Key {
        index: u32::MAX,
        generation: 0,
    };
}

#[cfg(target_pointer_width = "64")]
const INDEX_BITS: u32 = 28;
#[cfg(target_pointer_width = "64")]
const GENERATION_BITS: u32 = 20;

#[cfg(not(target_pointer_width = "64"))]
const INDEX_BITS: u32 = 22;
#[cfg(not(target_pointer_width = "64"))]
const GENERATION_BITS: u32 = 0;

const PLACE_SHIFT: u32 = INDEX_BITS + GENERATION_BITS;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// All indices are smaller than this.
pub(super) const MAX_INDEX: u32 = (1 << INDEX_BITS) - 1;
/// The largest place a runtime may have.
pub(super) const MAX_PLACE: u16 = (usize::MAX >> PLACE_SHIFT) as u16;
/// The smallest packed key. Smaller numbers are free for other uses of a word that stores a waker.
pub(crate) const MIN_KEY: usize = 1 << PLACE_SHIFT;

/// Returns the place of a runtime, shifted to where it stands in packed keys.
#[inline]
pub(super) const fn pack_place(place: u16) -> usize {
    (place as usize) << PLACE_SHIFT
}

/// Packs a key; `place` comes from [`pack_place`].
#[inline]
pub(super) fn pack(place: usize, key: Key) -> usize {
    debug_assert!(place >= MIN_KEY && key.index <= MAX_INDEX);
    place | ((key.generation & GENERATION_MASK) as usize) << INDEX_BITS | key.index as usize
}

/// Returns the runtime's place in a packed key.
#[inline]
pub(super) fn place_of(data: usize) -> u16 {
    (data >> PLACE_SHIFT) as u16
}

/// Returns the slot's index in a packed key.
#[inline]
pub(super) fn index_of(data: usize) -> u32 {
    data as u32 & MAX_INDEX
}
