//! Wakers for tests of the layers above: keys, which own nothing, and foreign wakers that report
//! each use.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// The smallest key.
pub(crate) const MIN_KEY: usize = 1 << 16;

thread_local! {
    static WOKEN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Notes that `number` was woken.
pub(crate) fn note(number: usize) {
    WOKEN.with_borrow_mut(|woken| woken.push(number));
}

/// Returns what was noted on this thread since the last call, in order.
pub(crate) fn woken() -> Vec<usize> {
    WOKEN.take()
}

/// The vtable of [`key`].
pub(crate) static KEYS: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &KEYS),
    |data| note(data.addr() - MIN_KEY),
    |data| note(data.addr() - MIN_KEY),
    |_| {},
);

/// Wakes by the data of a [`key`].
pub(crate) fn wake_key(data: usize) {
    note(data - MIN_KEY);
}

/// Makes a waker that is a key and notes `number`.
pub(crate) fn key(number: usize) -> Waker {
    let data = ptr::without_provenance(MIN_KEY + number);
    // SAFETY: the functions of `KEYS` use the data as a number alone and touch nothing but a
    // thread-local.
    unsafe { Waker::new(data, &KEYS) }
}

/// What happened to a foreign waker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    Clone,
    Wake,
    Drop,
}

type Hook = Box<dyn Fn(Use) + Send + Sync>;

/// Makes a foreign waker that calls `hook` at each use. `Arc::strong_count` of what it owns counts
/// the living clones.
pub(crate) fn hooked(hook: impl Fn(Use) + Send + Sync + 'static) -> Waker {
    let hook: Hook = Box::new(hook);
    // SAFETY: the data is an `Arc<Hook>`'s, as every function of `HOOKED` expects, and `Hook` is
    // Send and Sync.
    unsafe { Waker::new(Arc::into_raw(Arc::new(hook)).cast(), &HOOKED) }
}

/// Makes a foreign waker that notes `number` when it is woken.
pub(crate) fn foreign(number: usize) -> Waker {
    hooked(move |used| {
        if used == Use::Wake {
            note(number);
        }
    })
}

static HOOKED: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the data is that of an `Arc<Hook>` which the waker keeps.
    let hook = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Hook>())) };
    hook(Use::Clone);
    RawWaker::new(Arc::into_raw(Arc::clone(&hook)).cast(), &HOOKED)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the data is that of an `Arc<Hook>` which the waker gives up.
    let hook = unsafe { Arc::from_raw(data.cast::<Hook>()) };
    hook(Use::Wake);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the data is that of an `Arc<Hook>` which the waker keeps.
    let hook = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Hook>())) };
    hook(Use::Wake);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the data is that of an `Arc<Hook>` which the waker gives up.
    let hook = unsafe { Arc::from_raw(data.cast::<Hook>()) };
    hook(Use::Drop);
}
