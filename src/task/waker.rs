//! Wakers as packed keys: the data of a task's `Waker` is a number and points to no memory.
//!
//! Therefore a clone is a copy, a drop does nothing, and a forgotten waker keeps nothing alive. A
//! key whose task is gone finds another generation and does nothing. If it collides, because the
//! generation has wrapped around or is not part of the key, it wakes another task once, which the
//! contract of `Future` allows. The layout of a key: `key.rs`.

use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::current::CURRENT;
use super::key::place_of;
use super::remote;
#[cfg(all(test, not(loom)))]
use super::tasks::RootKey;
use super::tasks::Tasks;
use super::unobserved_panics::report_panic;
use crate::panics::catch;

/// Wakes the task behind a packed key, from any thread.
///
/// Inside the task's runtime it queues the task. Elsewhere it puts the wake into the inbox of that
/// runtime, if it still exists. Then the notifier of that runtime may panic.
#[inline]
fn wake_task(data: usize) {
    CURRENT.with(|tasks| match tasks {
        Some(tasks) if tasks.wake_local(data) => {}
        _ => wake_elsewhere(data),
    });
}

/// As [`wake_task`], for the loop of the current runtime. Reports the panic of a notifier, because
/// the other wakes and events of the turn must not be lost.
#[inline]
pub(crate) fn wake_key(data: usize) {
    CURRENT.with(|tasks| match tasks {
        Some(tasks) if tasks.wake_local(data) => {}
        _ => wake_elsewhere_guarded(data),
    });
}

#[cold]
fn wake_elsewhere_guarded(data: usize) {
    catch(|| wake_elsewhere(data)).unwrap_or_else(report_panic);
}

/// Wakes the task behind a packed key that names no task of the current runtime: puts the wake into
/// the inbox of the key's runtime. A stale key of the current runtime has no effect.
#[cold]
fn wake_elsewhere(data: usize) {
    let place = place_of(data);
    if CURRENT.with(|tasks| tasks.is_some_and(|tasks| tasks.id().place() == place)) {
        return;
    }
    remote::wake(data);
}

impl Tasks {
    /// Wakes the waiter of a join word: a foreign waker, or a task of another runtime.
    #[cold]
    pub(super) fn wake_join(&self, join: usize) {
        match self.foreign_waiters.take_waker(join) {
            Some(waker) => self.guard(|| waker.wake()),
            None => wake_elsewhere_guarded(join),
        }
    }

    /// Returns a waker of a root.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn root_waker(&self, root: &RootKey) -> Waker {
        waker_of(self.pack(root.key()))
    }
}

/// The vtable of all task wakers. A waker with this vtable can be stored as its data, which is a
/// number.
#[inline]
pub(crate) fn vtable() -> &'static RawWakerVTable {
    &VTABLE
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop);

// Only the type of `RawWakerVTable` makes these functions unsafe: they accept any number as `data`.

unsafe fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    wake_task(data.addr());
}

unsafe fn drop(_: *const ()) {}

/// Returns the waker of a packed key.
#[inline]
pub(crate) fn waker_of(data: usize) -> Waker {
    // SAFETY: the functions of `VTABLE` accept any `data`, use it only as a number, and may be
    // called on any thread, because `wake_task` uses a thread-local or a lock. A copy equals the
    // original, and there is nothing to drop.
    unsafe { Waker::from_raw(RawWaker::new(ptr::without_provenance(data), &VTABLE)) }
}

/// Returns the packed key of a waker of this crate's tasks. Waking, cloning and dropping such a
/// waker run no foreign code.
#[inline]
pub(crate) fn key_of(waker: &Waker) -> Option<usize> {
    ptr::eq(waker.vtable(), &VTABLE).then(|| waker.data().addr())
}
