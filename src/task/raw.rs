//! The type-erased task: one allocation that holds a header and, one after the other, the future and its output.
//!
//! [`Raw`] is a plain copyable pointer. It knows neither whether the memory is alive nor what is in the stage: the
//! slot's state says so, and each `unsafe fn` here names what the caller must have read out of it.

use std::any::Any;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use super::blocks::{Blocks, Size};
use super::error::JoinError;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// What every task's memory begins with: what the type of the future decides. All else is in the slot.
struct Header {
    vtable: &'static VTable,
}

/// What the code for one type of future looks like to the rest.
struct VTable {
    poll: unsafe fn(Raw, &mut Context<'_>) -> Polled,
    cancel: unsafe fn(Raw, JoinError),
    drop_output: unsafe fn(Raw) -> Option<Payload>,
    /// Of the whole allocation.
    size: Size,
    /// Where the stage begins in it.
    stage: usize,
}

/// The memory of one task.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: Stage<F>,
}

/// The future until it ends, then its output. In C's layout, where both begin with the union: Rust's own promises that to
/// nobody, and a handle finds the output without knowing the future's type.
#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    #[allow(
        dead_code,
        reason = "written and read through pointers; gives the stage its size and alignment"
    )]
    output: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// What one poll came to.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Polled {
    /// The future waits.
    Pending,
    /// The future has been dropped and its output, or its panic, stored.
    Ended,
}

/// Points to the memory of a task.
#[derive(Clone, Copy)]
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
    pub(super) fn new<F: Future + 'static>(future: F, blocks: &Blocks) -> Raw {
        let cell = blocks.allocate::<TaskCell<F>>();
        let vtable = &TaskCell::<F>::VTABLE;
        let stage = Stage {
            future: ManuallyDrop::new(future),
        };
        // SAFETY: the memory was allocated for a `TaskCell<F>` and nobody else knows it.
        unsafe {
            cell.write(TaskCell {
                header: Header { vtable },
                stage,
            });
        }
        Raw(cell.cast())
    }

    /// # Safety
    ///
    /// The memory is alive. (The table is `'static` and never changes.)
    #[inline]
    unsafe fn vtable(self) -> &'static VTable {
        // SAFETY: the caller keeps the memory alive, and nobody writes this field.
        unsafe { (*self.0.as_ptr()).vtable }
    }

    /// Polls the future. When it ends or panics, drops it and stores its output or the panic.
    ///
    /// # Safety
    ///
    /// The stage holds the future, and nobody else touches the stage during the call.
    #[inline]
    pub(super) unsafe fn poll(self, cx: &mut Context<'_>) -> Polled {
        // SAFETY: the caller's promise is the one `poll::<F>` asks for; the table is that of this memory.
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

    /// Drops the output. Returns the panic it stood for, or the one that dropping it caused.
    ///
    /// # Safety
    ///
    /// The stage holds the output, which nobody else touches any more. The stage is empty afterwards.
    pub(super) unsafe fn drop_output(self) -> Option<Payload> {
        // SAFETY: as in `poll`.
        unsafe { (self.vtable().drop_output)(self) }
    }

    /// Where the output is.
    ///
    /// # Safety
    ///
    /// The memory is alive.
    #[inline]
    pub(super) unsafe fn output(self) -> NonNull<()> {
        // SAFETY: `stage` is the offset of a field within the allocation that `self` points to, with the provenance
        // of all of it.
        unsafe { self.0.cast::<()>().byte_add(self.vtable().stage) }
    }

    /// Gives the memory back, without dropping what may be in the stage.
    ///
    /// # Safety
    ///
    /// The memory is alive and nobody uses it after this.
    #[inline]
    pub(super) unsafe fn free(self, blocks: &Blocks) {
        // SAFETY: `Raw::new` got the memory from `Blocks` for a type of the size that is kept in the table.
        unsafe { blocks.release(self.0.cast(), &self.vtable().size) }
    }

    /// Takes the output out and gives the memory back.
    ///
    /// # Safety
    ///
    /// The stage holds the output, `T` is the future's `Output`, and nobody uses the memory after this.
    #[inline]
    pub(super) unsafe fn take_output<T>(self, blocks: &Blocks) -> Result<T, JoinError> {
        // SAFETY: the stage holds a `Result<T, JoinError>` that is read once; the memory is not used afterwards.
        unsafe {
            let output = self.output().cast::<Result<T, JoinError>>().read();
            self.free(blocks);
            output
        }
    }
}

/// The stage of a task whose future is an `F`.
///
/// # Safety
///
/// The memory is alive and was made by `Raw::new::<F>`.
#[inline]
unsafe fn stage<F: Future>(task: Raw) -> *mut Stage<F> {
    // SAFETY: the pointer has the provenance of the whole `TaskCell<F>`.
    unsafe { &raw mut (*task.0.as_ptr().cast::<TaskCell<F>>()).stage }
}

/// # Safety
///
/// As [`Raw::poll`], and the memory was made by `Raw::new::<F>`.
unsafe fn poll<F: Future>(task: Raw, cx: &mut Context<'_>) -> Polled {
    // SAFETY: the caller says that the stage holds an `F`, ours alone for the call. It is pinned: it stays in this
    // memory until it is dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut *stage::<F>(task).cast::<F>()) };
    let output = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(Poll::Pending) => return Polled::Pending,
        Ok(Poll::Ready(output)) => Ok(output),
        Err(payload) => Err(JoinError::panic(payload)),
    };
    // SAFETY: the stage still holds the future.
    unsafe { replace::<F>(task, output) };
    Polled::Ended
}

/// # Safety
///
/// As [`Raw::cancel`], and the memory was made by `Raw::new::<F>`.
unsafe fn cancel<F: Future>(task: Raw, error: JoinError) {
    // SAFETY: the stage holds the future.
    unsafe { replace::<F>(task, Err(error)) };
}

/// Drops the future and stores the output; of several panics the first one.
///
/// # Safety
///
/// The stage holds an `F`, and nobody else touches the stage during the call.
#[inline]
unsafe fn replace<F: Future>(task: Raw, mut output: Result<F::Output, JoinError>) {
    if mem::needs_drop::<F>() {
        // SAFETY: the caller says what is there. It counts as gone also if its drop panics.
        if let Err(payload) = unsafe { drop_future::<F>(task) } {
            output = worse(output, payload);
        }
    }
    // SAFETY: the stage is empty now, and has room for the output.
    unsafe {
        stage::<F>(task)
            .cast::<Result<F::Output, JoinError>>()
            .write(output);
    }
}

/// Drops the future. A call of its own, so that a poll that is pending need not save what only a drop uses.
///
/// # Safety
///
/// The stage holds an `F`, and nobody else touches it any more.
#[inline(never)]
unsafe fn drop_future<F: Future>(task: Raw) -> Result<(), Payload> {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller says what is there.
        unsafe { ptr::drop_in_place(stage::<F>(task).cast::<F>()) }
    }))
}

/// The drop of a future has panicked: that is the task's result, unless it had panicked before.
#[cold]
fn worse<T>(output: Result<T, JoinError>, payload: Payload) -> Result<T, JoinError> {
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

/// # Safety
///
/// As [`Raw::drop_output`], and the memory was made by `Raw::new::<F>`.
unsafe fn drop_output<F: Future>(task: Raw) -> Option<Payload> {
    // SAFETY: the stage holds the output, which is read once.
    let output = unsafe {
        stage::<F>(task)
            .cast::<Result<F::Output, JoinError>>()
            .read()
    };
    discard(output)
}

/// Drops an output that nobody wants. Returns the panic it stood for, or the one that dropping it caused.
pub(super) fn discard<T>(output: Result<T, JoinError>) -> Option<Payload> {
    match output {
        Ok(value) if !mem::needs_drop::<T>() => {
            mem::forget(value);
            None
        }
        Ok(value) => catch_unwind(AssertUnwindSafe(|| drop(value))).err(),
        Err(error) => error.try_into_panic().ok(),
    }
}

/// Drops what came second after a panic. If that panics the payload is dropped in turn, and so on; what still panics
/// after a few rounds is leaked, for this could go on for ever.
pub(super) fn drop_caught<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        drop_payload(payload);
    }
}

#[cold]
fn drop_payload(mut payload: Payload) {
    for _ in 0..3 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

/// For the test of sizes.
#[cfg(test)]
pub(super) fn size_of_task<F: Future>(_: &F) -> usize {
    size_of::<TaskCell<F>>()
}
