//! Wakers as packed keys: what a task's `Waker` points to is no memory but a number.
//!
//! | bits, 64-bit targets | 32-bit targets | |
//! |---|---|---|
//! | 63..48 | 31..22 | the runtime's place in the registry, never 0 |
//! | 47..28 | none | the low bits of the slot's generation |
//! | 27..0 | 21..0 | the slot's index |
//!
//! So a clone is a copy, a drop does nothing, and nothing is kept alive by a forgotten waker. A key whose task is gone
//! finds another generation and does nothing; one that collides (the generation has gone round, or there is none) wakes
//! a task that did not ask for it, which the contract of `Future` allows.
//!
//! Every key is at least [`MIN_KEY`]: whoever stores a waker as one word may use smaller numbers for something else.

use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::registry;
use super::tasks::CURRENT;

/// Names a task within its runtime: index and full generation of its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    /// No task's key: no index is that large.
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

/// No index is as large as this.
pub(super) const MAX_INDEX: u32 = (1 << INDEX_BITS) - 1;
/// The largest place a runtime may have.
pub(super) const MAX_PLACE: usize = usize::MAX >> PLACE_SHIFT;
/// No key is smaller, so numbers below are free for those who store a waker as one word.
pub(crate) const MIN_KEY: usize = 1 << PLACE_SHIFT;

/// A runtime's place as it stands in its packed keys.
#[inline]
pub(super) const fn pack_place(place: u16) -> usize {
    (place as usize) << PLACE_SHIFT
}

/// A key as a number; `place` comes from [`pack_place`].
#[inline]
pub(super) fn pack(place: usize, key: Key) -> usize {
    debug_assert!(place >= MIN_KEY && key.index <= MAX_INDEX);
    place | ((key.generation & GENERATION_MASK) as usize) << INDEX_BITS | key.index as usize
}

/// The runtime's place in a packed key.
#[inline]
pub(super) fn place_of(data: usize) -> u16 {
    (data >> PLACE_SHIFT) as u16
}

/// The slot's index in a packed key.
#[inline]
pub(super) fn index_of(data: usize) -> u32 {
    data as u32 & MAX_INDEX
}

/// Wakes the task behind a packed key, from any thread.
///
/// On the thread and inside the runtime it belongs to: finds the slot and queues it. Elsewhere: leaves word with the
/// runtime, if there still is one.
#[inline]
pub(crate) fn wake_key(data: usize) {
    CURRENT.with(|tasks| match tasks {
        Some(tasks) if tasks.wake_local(data) => {}
        _ => wake_elsewhere(data),
    });
}

/// Wakes behind a packed key that the current runtime, if there is one, does not know: leaves word with another one. A
/// stale key of the current runtime wakes nobody.
#[cold]
#[inline(never)]
pub(super) fn wake_elsewhere(data: usize) {
    let place = place_of(data);
    if CURRENT.with(|tasks| tasks.is_some_and(|tasks| tasks.id().place() == place)) {
        return;
    }
    if let Some(remote) = registry::at(place) {
        remote.wake(index_of(data));
    }
}

/// The one vtable of all task wakers: who finds it in a waker may keep `Waker::data` as a number instead.
#[inline]
pub(crate) fn vtable() -> &'static RawWakerVTable {
    &VTABLE
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop);

// The four functions are unsafe by their type only: any number is a fine `data`.

unsafe fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    wake_key(data.addr());
}

unsafe fn drop(_: *const ()) {}

/// The waker of a packed key.
#[inline]
pub(crate) fn waker_of(data: usize) -> Waker {
    // SAFETY: the functions of `VTABLE` take any `data`, use it as a number alone, and may be called on any thread:
    // `wake_key` goes through a thread-local or a lock. A copy is as good as the original and nothing needs a drop.
    unsafe { Waker::from_raw(RawWaker::new(ptr::without_provenance(data), &VTABLE)) }
}

/// The packed key of a waker that is one of ours: waking, cloning or dropping such a one runs no foreign code.
#[inline]
pub(crate) fn key_of(waker: &Waker) -> Option<usize> {
    ptr::eq(waker.vtable(), &VTABLE).then(|| waker.data().addr())
}
