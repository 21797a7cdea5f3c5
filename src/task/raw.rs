//! The type-erased task: one allocation that holds a header and, one after the other, the future and its output.
//!
//! [`Raw`] is a plain copyable pointer. It knows neither whether the memory is alive nor what is in the stage: the
//! slot's state says so, and each `unsafe fn` here names what the caller must have read out of it.

use std::alloc::{self, Layout};
use std::any::Any;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, Waker};

use super::error::JoinError;
use super::reply::ReplyTo;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// What every task's memory begins with.
struct Header {
    /// What the type of the future decides.
    vtable: &'static VTable,
    /// Who wants to know the output.
    join: Join,
}

/// Who wants to know the output: a waker if somebody polled the `JoinHandle` on the owner's thread, a reply if the
/// handle waits on another thread. The slot's bit `REPLY` says which of the two is stored.
union Join {
    waker: ManuallyDrop<Option<Waker>>,
    reply: ManuallyDrop<ReplyTo>,
}

/// What the code for one type of future looks like to the rest.
struct VTable {
    poll: unsafe fn(Raw, &mut Context<'_>) -> Polled,
    drop_future: unsafe fn(Raw) -> Result<(), Payload>,
    put_error: unsafe fn(Raw, JoinError),
    drop_output: unsafe fn(Raw) -> Option<Payload>,
    /// Of the whole allocation.
    layout: Layout,
    /// Where the stage begins in it.
    stage: usize,
}

/// The memory of one task.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: Stage<F>,
}

/// The future until it ends, then its output.
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// What one poll came to.
#[must_use]
pub(super) enum Polled {
    /// The future waits.
    Pending,
    /// The future has been dropped and its output stored.
    Ready,
    /// The future has been dropped; the stage is empty.
    Panicked(Payload),
}

/// Points to the memory of a task.
#[derive(Clone, Copy)]
pub(super) struct Raw(NonNull<Header>);

impl<F: Future> TaskCell<F> {
    const VTABLE: VTable = VTable {
        poll: poll::<F>,
        drop_future: drop_future::<F>,
        put_error: put_error::<F>,
        drop_output: drop_output::<F>,
        layout: Layout::new::<TaskCell<F>>(),
        stage: mem::offset_of!(TaskCell<F>, stage),
    };
}

impl Raw {
    /// Allocates a task. Its stage holds the future; its join field is an empty waker.
    #[inline]
    pub(super) fn new<F: Future + 'static>(future: F) -> Raw {
        let cell = Box::new(TaskCell {
            header: Header {
                vtable: &TaskCell::<F>::VTABLE,
                join: Join {
                    waker: ManuallyDrop::new(None),
                },
            },
            stage: Stage {
                future: ManuallyDrop::new(future),
            },
        });
        Raw(NonNull::from(Box::leak(cell)).cast())
    }

    /// # Safety
    ///
    /// The memory is alive. (The table is `'static` and never changes.)
    #[inline]
    unsafe fn vtable(self) -> &'static VTable {
        // SAFETY: the caller keeps the memory alive, and nobody writes this field.
        unsafe { (*self.0.as_ptr()).vtable }
    }

    /// Polls the future, catches its panic, and if it ends drops it and stores the output.
    ///
    /// # Safety
    ///
    /// The stage holds the future, and nobody else touches the stage during the call.
    #[inline]
    pub(super) unsafe fn poll(self, cx: &mut Context<'_>) -> Polled {
        // SAFETY: the caller's promise is the one `poll::<F>` asks for; the table is that of this memory.
        unsafe { (self.vtable().poll)(self, cx) }
    }

    /// Drops the future and catches its panic. The stage is empty afterwards.
    ///
    /// # Safety
    ///
    /// As [`poll`](Raw::poll).
    pub(super) unsafe fn drop_future(self) -> Result<(), Payload> {
        // SAFETY: as in `poll`.
        unsafe { (self.vtable().drop_future)(self) }
    }

    /// Stores an error as the output.
    ///
    /// # Safety
    ///
    /// The stage is empty, and nobody else touches it during the call.
    pub(super) unsafe fn put_error(self, error: JoinError) {
        // SAFETY: as in `poll`.
        unsafe { (self.vtable().put_error)(self, error) }
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

    /// Gives the memory back, without dropping what may be in the stage or the join field.
    ///
    /// # Safety
    ///
    /// The memory is alive and nobody uses it after this.
    #[inline]
    pub(super) unsafe fn free(self) {
        // SAFETY: `Raw::new` got the memory from `Box`, which allocates with the layout of the type, kept in the table;
        // `TaskCell` is never of size 0.
        unsafe { alloc::dealloc(self.0.as_ptr().cast(), self.vtable().layout) }
    }

    /// Takes the output out and gives the memory back.
    ///
    /// # Safety
    ///
    /// The stage holds the output, `T` is the future's `Output`, and nobody uses the memory after this.
    #[inline]
    pub(super) unsafe fn take_output<T>(self) -> Result<T, JoinError> {
        // SAFETY: the stage holds a `Result<T, JoinError>` that is read once; the memory is not used afterwards.
        unsafe {
            let output = self.output().cast::<Result<T, JoinError>>().read();
            self.free();
            output
        }
    }

    /// The join waker's place.
    ///
    /// # Safety
    ///
    /// The memory is alive, the slot's `REPLY` is not set, and what is returned is not held across foreign code.
    #[inline]
    pub(super) unsafe fn waker<'a>(self) -> &'a mut Option<Waker> {
        // SAFETY: without REPLY the field holds the waker; only the owner's thread gets here, and the caller lets go of
        // the reference before anything else could make a second one.
        unsafe { &mut *ptr::from_mut(&mut (*self.0.as_ptr()).join.waker).cast::<Option<Waker>>() }
    }

    /// Puts a reply in the place of the waker, which is returned to be dropped.
    ///
    /// # Safety
    ///
    /// The memory is alive and `REPLY` was not set before; it is from now on.
    pub(super) unsafe fn put_reply(self, reply: ReplyTo) -> Option<Waker> {
        let reply = ManuallyDrop::new(reply);
        // SAFETY: the field holds the waker, which is moved out before it is overwritten.
        unsafe {
            let waker = mem::take(self.waker());
            (*self.0.as_ptr()).join.reply = reply;
            waker
        }
    }

    /// Takes the reply out.
    ///
    /// # Safety
    ///
    /// The memory is alive, `REPLY` is set, and the join field is not read again.
    pub(super) unsafe fn take_reply(self) -> ReplyTo {
        // SAFETY: with REPLY the field holds a reply, which is read once.
        unsafe { ManuallyDrop::take(&mut (*self.0.as_ptr()).join.reply) }
    }

    /// The reply's name for the task.
    ///
    /// # Safety
    ///
    /// The memory is alive and `REPLY` is set.
    pub(super) unsafe fn reply_id(self) -> super::Id {
        // SAFETY: with REPLY the field holds a reply; asking for its id runs no foreign code.
        unsafe { (*self.0.as_ptr()).join.reply.id() }
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
    match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(Poll::Pending) => Polled::Pending,
        Ok(Poll::Ready(output)) => {
            // SAFETY: the stage still holds the future; when it is gone the stage is empty and takes the output.
            unsafe {
                if let Err(payload) = drop_future::<F>(task) {
                    drop_caught(output);
                    return Polled::Panicked(payload);
                }
                stage::<F>(task)
                    .cast::<Result<F::Output, JoinError>>()
                    .write(Ok(output));
            }
            Polled::Ready
        }
        Err(payload) => {
            // SAFETY: the stage still holds the future.
            if let Err(second) = unsafe { drop_future::<F>(task) } {
                drop_caught(second);
            }
            Polled::Panicked(payload)
        }
    }
}

/// # Safety
///
/// As [`Raw::drop_future`], and the memory was made by `Raw::new::<F>`.
#[inline]
unsafe fn drop_future<F: Future>(task: Raw) -> Result<(), Payload> {
    if !mem::needs_drop::<F>() {
        return Ok(());
    }
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the stage holds an `F` in place, ours alone; it counts as gone also if its drop panics.
        unsafe { ptr::drop_in_place(stage::<F>(task).cast::<F>()) }
    }))
}

/// # Safety
///
/// As [`Raw::put_error`], and the memory was made by `Raw::new::<F>`.
unsafe fn put_error<F: Future>(task: Raw, error: JoinError) {
    // SAFETY: the stage is empty and has room for the output.
    unsafe {
        stage::<F>(task)
            .cast::<Result<F::Output, JoinError>>()
            .write(Err(error));
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

/// Drops what came second after a panic: a further panic is swallowed, and what that carries is leaked rather than
/// dropped, for its drop could go on like this.
pub(super) fn drop_caught<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        mem::forget(payload);
    }
}

/// For the test of sizes.
#[cfg(test)]
pub(super) fn size_of_task<F: Future>(_: &F) -> usize {
    size_of::<TaskCell<F>>()
}
