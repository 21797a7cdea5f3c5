//! [`SlabCell`]: a cell that borrows the slab of tasks for one call of one of its methods.
//!
//! A `RefCell` would count borrows in each poll, wake and join, although nested borrows are
//! impossible: during a borrow only a method of [`Slab`] runs, and the slab has no access to the
//! cell. For this to stay true, no public function here may take a closure or return a reference
//! into the slab. The methods are documented at `Slab`.

use std::cell::UnsafeCell;

use super::ended::Ended;
use super::id::Id;
use super::inspect::{Name, Origin, TaskInfo};
use super::key::Key;
use super::raw::Raw;
use super::slab::{Finished, Joined, Slab, Work};
use super::state::State;

/// A cell that owns the slab. It is not `Sync`.
pub(super) struct SlabCell(UnsafeCell<Slab>);

impl SlabCell {
    pub(super) fn new(slab: Slab) -> SlabCell {
        SlabCell(UnsafeCell::new(slab))
    }

    /// Borrows the slab for `f`. Each `f` in this file is one call of a method of `Slab`.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Slab) -> R) -> R {
        // SAFETY: the cell is not Sync, so only one thread calls this. This function is private,
        // and each `f` in this file is a method of `Slab`. None of them runs foreign code or has
        // access to a cell, so no second reference exists meanwhile. None of them returns a
        // reference.
        f(unsafe { &mut *self.0.get() })
    }

    #[inline]
    pub(super) fn insert(&self, task: Option<Raw>, state: State) -> Option<Key> {
        self.with(|slab| slab.insert(task, state))
    }

    pub(super) fn note_origin(&self, index: u32, origin: Origin) {
        self.with(|slab| slab.note_origin(index, origin));
    }

    #[inline]
    #[must_use]
    pub(super) fn wake_packed(&self, key: usize) -> bool {
        self.with(|slab| slab.wake_packed(key))
    }

    #[inline]
    pub(super) fn wake_index(&self, index: u32) {
        self.with(|slab| slab.wake_index(index))
    }

    pub(super) fn abort(&self, key: Key) {
        self.with(|slab| slab.abort(key))
    }

    #[inline]
    pub(super) fn join(&self, key: Key, waiter: usize) -> Joined {
        self.with(|slab| slab.join(key, waiter))
    }

    pub(super) fn swap_join(&self, key: Key, join: usize) -> Option<usize> {
        self.with(|slab| slab.swap_join(key, join))
    }

    #[inline]
    pub(super) fn detach(&self, key: Key) -> Joined {
        self.with(|slab| slab.detach(key))
    }

    pub(super) fn attach_reply(&self, key: Key, reply: usize) -> usize {
        self.with(|slab| slab.attach_reply(key, reply))
    }

    pub(super) fn is_finished(&self, key: Key) -> bool {
        self.with(|slab| slab.is_finished(key))
    }

    #[inline]
    pub(super) fn next(&self) -> Work {
        self.with(|slab| slab.next())
    }

    pub(super) fn next_other(&self, index: u32) -> Option<Raw> {
        self.with(|slab| slab.next_other(index))
    }

    #[inline]
    pub(super) fn finish(&self, index: u32, task: Raw) -> Finished {
        self.with(|slab| slab.finish(index, task))
    }

    pub(super) fn start_shutdown(&self, index: u32) -> Option<Raw> {
        self.with(|slab| slab.start_shutdown(index))
    }

    pub(super) fn finish_shutdown(&self, index: u32, task: Raw) -> (Ended, usize, bool) {
        self.with(|slab| slab.finish_shutdown(index, task))
    }

    pub(super) fn take_done(&self, index: u32) -> Option<Ended> {
        self.with(|slab| slab.take_done(index))
    }

    pub(super) fn release_root(&self, index: u32) {
        self.with(|slab| slab.release_root(index))
    }

    pub(super) fn next_unfinished(&self, from: u32) -> Option<u32> {
        self.with(|slab| slab.next_unfinished(from))
    }

    pub(super) fn is_root(&self, index: u32) -> bool {
        self.with(|slab| slab.is_root(index))
    }

    pub(super) fn key_and_reply(&self, index: u32) -> Option<(Key, Option<usize>)> {
        self.with(|slab| slab.key_and_reply(index))
    }

    pub(super) fn info(&self, index: u32, id: Id, name: Option<Name>) -> TaskInfo {
        self.with(|slab| slab.info(index, id, name))
    }

    pub(super) fn origin(&self, index: u32) -> Origin {
        self.with(|slab| slab.origin(index))
    }

    pub(super) fn shrink(&self) {
        self.with(|slab| slab.shrink());
    }

    pub(super) fn len(&self) -> u32 {
        self.with(|slab| slab.len())
    }

    pub(super) fn live(&self) -> u32 {
        self.with(|slab| slab.live())
    }

    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.with(|slab| slab.queued())
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn set_generation(&self, index: u32, generation: u32) {
        self.with(|slab| slab.set_generation(index, generation));
    }
}
