//! Foreign code: the places that call it, and wakers whose functions may call anything and may
//! panic.

use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Where foreign code is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Poll,
    FutureDrop,
    OutputDrop,
    WakerClone,
    WakerWake,
    WakerDrop,
    Hook,
    PanicHandler,
    /// Outside of every runtime, on the thread of the runtimes or on another one.
    Outside,
}

/// The foreign code of one seed.
pub(crate) trait Foreign: Send + Sync {
    /// Does a random thing, and may panic.
    fn enter(self: Arc<Self>, place: Place);

    /// Records a fault at a place that must not panic.
    fn fault(&self, what: &str);
}

/// The target of foreign wakers. The world keeps it until the seed ends, so a waker that is dropped
/// or woken once too often shows in the count, and touches no freed memory.
pub(crate) struct Flag {
    world: Weak<dyn Foreign>,
    /// The number of wakers: never below 0, and 0 at the end.
    wakers: AtomicIsize,
    woken: AtomicBool,
}

impl Flag {
    pub(crate) fn new(world: Weak<dyn Foreign>) -> Flag {
        Flag {
            world,
            wakers: AtomicIsize::new(0),
            woken: AtomicBool::new(false),
        }
    }

    /// Makes a waker that sets this flag.
    pub(crate) fn waker(&self) -> Waker {
        self.wakers.fetch_add(1, SeqCst);
        // SAFETY: the functions below take a pointer to a flag, which the world keeps until all
        // values of the seed are dropped. They use only fields that any thread may use.
        unsafe { Waker::from_raw(RawWaker::new((&raw const *self).cast(), &VTABLE)) }
    }

    /// Clears the flag.
    pub(crate) fn rest(&self) {
        self.woken.store(false, SeqCst);
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(SeqCst)
    }

    /// Returns the number of wakers.
    pub(crate) fn wakers(&self) -> isize {
        self.wakers.load(SeqCst)
    }

    fn enter(&self, place: Place) {
        if let Some(world) = self.world.upgrade() {
            if self.wakers() < 0 {
                world.fault("a waker was used after it was dropped");
            }
            world.enter(place);
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

/// # Safety
///
/// `data` comes from `Flag::waker`, whose flag is alive.
unsafe fn flag<'a>(data: *const ()) -> &'a Flag {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<Flag>() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: only `Flag::waker` uses this table.
    let flag = unsafe { flag(data) };
    // Before the count: if this panics, there is no clone.
    flag.enter(Place::WakerClone);
    flag.wakers.fetch_add(1, SeqCst);
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: as in `clone`.
    let flag = unsafe { flag(data) };
    flag.woken.store(true, SeqCst);
    flag.wakers.fetch_sub(1, SeqCst);
    flag.enter(Place::WakerWake);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `clone`.
    let flag = unsafe { flag(data) };
    flag.woken.store(true, SeqCst);
    flag.enter(Place::WakerWake);
}

unsafe fn drop(data: *const ()) {
    // SAFETY: as in `clone`.
    let flag = unsafe { flag(data) };
    flag.wakers.fetch_sub(1, SeqCst);
    flag.enter(Place::WakerDrop);
}
