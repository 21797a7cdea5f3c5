//! [`Raw`]: a pointer to the memory of a task of any type.
//!
//! A task is one allocation with a header and the *stage*, which holds first the future, then its
//! output. `Raw` is a copyable pointer. Whether the memory is alive and what the stage holds is
//! known from the slot's state: each `unsafe fn` here names what its caller must have checked.

use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use super::error::JoinError;
use super::id::{Id, as_task};
use super::pool::{Pool, Size};
use crate::budget;
use crate::panics::{Payload, catch, drop_caught};

/// The beginning of every task's memory: the table for the type of its future. All other data is in
/// the slot.
struct Header {
    vtable: &'static VTable,
}

/// The functions and the layout for one type of future.
struct VTable {
    poll: unsafe fn(Raw, &mut Context<'_>) -> Polled,
    cancel: unsafe fn(Raw, JoinError),
    drop_output: unsafe fn(Raw, Id) -> Option<Payload>,
    /// The size of the allocation.
    size: Size,
    /// The offset of the stage in it.
    stage: usize,
}

/// The memory of one task.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: Stage<F>,
}

/// The future until it ends, then its output. `repr(C)` guarantees that both begin at the start of
/// the union: a handle finds the output without knowing the type of the future.
#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    #[allow(
        dead_code,
        reason = "written and read through pointers; gives the stage its size and alignment"
    )]
    output: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// The result of one poll.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Polled {
    /// The future has returned `Pending`.
    Pending,
    /// The future was dropped, and its output or its panic is stored.
    Ended,
}

/// Points to the memory of a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw(NonNull<Header>);

impl<F: Future> TaskCell<F> {
    const VTABLE: VTable = VTable {
        poll: poll::<F>,
        cancel: cancel::<F>,
        drop_output: drop_output::<F>,
        size: Size::of::<TaskCell<F>>(),
        stage: mem::offset_of!(TaskCell<F>, stage),
    };
}

impl Raw {
    /// Allocates a task. Its stage holds the future.
    #[inline]
    pub(super) fn new<F: Future + 'static>(future: F, pool: &Pool) -> Raw {
        let cell = pool.allocate::<TaskCell<F>>();
        let vtable = &TaskCell::<F>::VTABLE;
        let stage = Stage {
            future: ManuallyDrop::new(future),
        };
        // SAFETY: the memory was allocated for a `TaskCell<F>`, and no other code has a pointer to
        // it.
        unsafe {
            cell.write(TaskCell {
                header: Header { vtable },
                stage,
            });
        }
        Raw(cell.cast())
    }

    /// Returns the table for the type of the task's future. It is `'static` and never changes.
    ///
    /// # Safety
    ///
    /// The memory is alive.
    #[inline]
    unsafe fn vtable(self) -> &'static VTable {
        // SAFETY: the caller keeps the memory alive, and no code writes this field.
        unsafe { (*self.0.as_ptr()).vtable }
    }

    /// Polls the future. If it ends or panics, drops it and stores its output or the panic.
    ///
    /// # Safety
    ///
    /// The stage holds the future, and no other code uses the stage during the call.
    #[inline]
    pub(super) unsafe fn poll(self, cx: &mut Context<'_>) -> Polled {
        // SAFETY: the caller guarantees what `poll::<F>` requires, and the table belongs to this
        // memory.
        unsafe { (self.vtable().poll)(self, cx) }
    }

    /// Drops the future and stores the error, or the panic of that drop.
    ///
    /// # Safety
    ///
    /// As [`poll`](Raw::poll).
    pub(super) unsafe fn cancel(self, error: JoinError) {
        // SAFETY: as in `poll`.
        unsafe { (self.vtable().cancel)(self, error) }
    }

    /// Drops the output under the id of its task. Returns the panic of the task, or that of the
    /// drop.
    ///
    /// # Safety
    ///
    /// The stage holds the output, and no other code uses it from now on. The stage is empty
    /// afterwards.
    pub(super) unsafe fn drop_output(self, id: Id) -> Option<Payload> {
        // SAFETY: as in `poll`.
        unsafe { (self.vtable().drop_output)(self, id) }
    }

    /// Returns a pointer to the output.
    ///
    /// # Safety
    ///
    /// The memory is alive.
    #[inline]
    pub(super) unsafe fn output(self) -> NonNull<()> {
        // SAFETY: `stage` is the offset of a field in the allocation, and `self` has the provenance
        // of all of it.
        unsafe { self.0.cast::<()>().byte_add(self.vtable().stage) }
    }

    /// Frees the memory and does not drop the content of the stage.
    ///
    /// # Safety
    ///
    /// The memory is alive, and no code uses it after this call.
    #[inline]
    pub(super) unsafe fn free(self, pool: &Pool) {
        // SAFETY: `Raw::new` got the memory from a `Pool`, for a type of the size in the table.
        unsafe { pool.release(self.0.cast(), &self.vtable().size) }
    }
}

/// Returns the stage of a task whose future is an `F`.
///
/// # Safety
///
/// The memory is alive and was made by `Raw::new::<F>`.
#[inline]
unsafe fn stage<F: Future>(task: Raw) -> *mut Stage<F> {
    // SAFETY: the pointer has the provenance of the whole `TaskCell<F>`.
    unsafe { &raw mut (*task.0.as_ptr().cast::<TaskCell<F>>()).stage }
}

/// Polls a future of type `F`: see [`Raw::poll`].
///
/// # Safety
///
/// As [`Raw::poll`], and the memory was made by `Raw::new::<F>`.
unsafe fn poll<F: Future>(task: Raw, cx: &mut Context<'_>) -> Polled {
    // SAFETY: the caller guarantees that the stage holds an `F`, which no other code uses during
    // the call. It is pinned, because it stays in this memory until it is dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut *stage::<F>(task).cast::<F>()) };
    let output = match catch(|| future.poll(cx)) {
        Ok(Poll::Pending) => return Polled::Pending,
        Ok(Poll::Ready(output)) => Ok(output),
        Err(payload) => Err(JoinError::panic(payload)),
    };
    // SAFETY: the stage still holds the future.
    unsafe { replace::<F>(task, output) };
    Polled::Ended
}

/// Drops a future of type `F`: see [`Raw::cancel`].
///
/// # Safety
///
/// As [`Raw::cancel`], and the memory was made by `Raw::new::<F>`.
unsafe fn cancel<F: Future>(task: Raw, error: JoinError) {
    // SAFETY: the stage holds the future.
    unsafe { replace::<F>(task, Err(error)) };
}

/// Drops the future and stores the output, or the first panic.
///
/// # Safety
///
/// The stage holds an `F`, and no other code uses the stage during the call.
#[inline]
unsafe fn replace<F: Future>(task: Raw, mut output: Result<F::Output, JoinError>) {
    if mem::needs_drop::<F>() {
        // SAFETY: the caller guarantees that the stage holds an `F`. If its drop panics, it counts
        // as dropped.
        if let Err(payload) = unsafe { drop_future::<F>(task) } {
            output = merge_panic(output, payload);
        }
    }
    // SAFETY: the stage is empty and has room for the output.
    unsafe {
        stage::<F>(task)
            .cast::<Result<F::Output, JoinError>>()
            .write(output);
    }
}

/// Drops the future.
///
/// # Safety
///
/// The stage holds an `F`, and no other code uses it from now on.
unsafe fn drop_future<F: Future>(task: Raw) -> Result<(), Payload> {
    // The budget of the poll, which may be used up, does not apply to the drop.
    budget::refill(budget::UNLIMITED);
    catch(|| {
        // SAFETY: the caller guarantees that the stage holds an `F`.
        unsafe { ptr::drop_in_place(stage::<F>(task).cast::<F>()) }
    })
}

/// Returns the result of a task whose future has panicked in its drop: that panic, unless the task
/// had panicked before.
#[cold]
fn merge_panic<T>(output: Result<T, JoinError>, payload: Payload) -> Result<T, JoinError> {
    match output {
        Err(error) if error.is_panic() => {
            drop_caught(payload);
            Err(error)
        }
        output => {
            drop_caught(output);
            Err(JoinError::panic(payload))
        }
    }
}

/// Drops the output of a future of type `F`: see [`Raw::drop_output`].
///
/// # Safety
///
/// As [`Raw::drop_output`], and the memory was made by `Raw::new::<F>`.
unsafe fn drop_output<F: Future>(task: Raw, id: Id) -> Option<Payload> {
    // SAFETY: the stage holds the output, which is not read again.
    let output = unsafe {
        stage::<F>(task)
            .cast::<Result<F::Output, JoinError>>()
            .read()
    };
    discard(id, output)
}

/// Drops an output that no handle takes, under the id of its task. Returns the panic of the task,
/// or that of the drop.
pub(super) fn discard<T>(id: Id, output: Result<T, JoinError>) -> Option<Payload> {
    match output {
        Ok(value) if !mem::needs_drop::<T>() => {
            mem::forget(value);
            None
        }
        Ok(value) => {
            let _unbound = budget::unbound();
            as_task(id, || catch(|| drop(value))).err()
        }
        Err(error) => error.try_into_panic().ok(),
    }
}

/// For a test of sizes.
#[cfg(all(test, not(loom)))]
pub(super) fn size_of_task<F: Future>(_: &F) -> usize {
    size_of::<TaskCell<F>>()
}
