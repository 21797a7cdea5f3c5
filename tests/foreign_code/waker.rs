//! Wakers whose clone or drop is foreign code, which `std::task::Wake` cannot express.

use super::fixture::Fixture;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Returns a waker whose clone is the foreign code.
pub(crate) fn clones(fixture: Arc<Fixture>) -> Waker {
    new(fixture, &CLONES)
}

/// Returns a waker the drop of whose clones is the foreign code. The drop of the waker itself,
/// which stays in the test, is not.
pub(crate) fn drops(fixture: Arc<Fixture>) -> Waker {
    new(fixture, &FIRST)
}

fn new(fixture: Arc<Fixture>, vtable: &'static RawWakerVTable) -> Waker {
    // SAFETY: the data is an `Arc<Fixture>`, of which each waker owns one count; a fixture can be
    // used from any thread.
    unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(fixture).cast(), vtable)) }
}

static CLONES: RawWakerVTable = RawWakerVTable::new(clone_and_act, forget, nothing, forget);
static FIRST: RawWakerVTable = RawWakerVTable::new(clone, forget, nothing, forget);
static LATER: RawWakerVTable = RawWakerVTable::new(clone, forget, nothing, run_action);

/// # Safety
///
/// `data` is that of one of the tables' wakers.
unsafe fn fixture(data: *const ()) -> ManuallyDrop<Arc<Fixture>> {
    // SAFETY: the caller guarantees that the data came from `Arc::into_raw`. The waker keeps its
    // count.
    ManuallyDrop::new(unsafe { Arc::from_raw(data.cast()) })
}

unsafe fn clone_and_act(data: *const ()) -> RawWaker {
    // SAFETY: the table is that of such wakers alone.
    let fixture = unsafe { fixture(data) };
    fixture.run_action();
    RawWaker::new(Arc::into_raw(Arc::clone(&fixture)).cast(), &CLONES)
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: as above.
    let fixture = unsafe { fixture(data) };
    RawWaker::new(Arc::into_raw(Arc::clone(&fixture)).cast(), &LATER)
}

unsafe fn nothing(_: *const ()) {}

unsafe fn forget(data: *const ()) {
    // SAFETY: as above; the waker is consumed.
    drop(ManuallyDrop::into_inner(unsafe { fixture(data) }));
}

unsafe fn run_action(data: *const ()) {
    // SAFETY: as above; the waker is consumed.
    let fixture = ManuallyDrop::into_inner(unsafe { fixture(data) });
    fixture.run_action();
}
