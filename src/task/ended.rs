//! [`Ended`]: the unique owner of a task that has ended and left its slot.

use super::error::JoinError;
use super::id::Id;
use super::key::Key;
use super::pool::Pool;
use super::raw::Raw;
use super::reply::ReplyTo;
use super::unobserved::Unobserved;
use crate::panics::Payload;

/// The memory of an ended task, with its output. No slot refers to it any more.
///
/// Each method consumes it: it takes the output out and frees the memory. Dropping it instead leaks
/// both.
#[must_use = "the output and the memory of the task are leaked"]
pub(super) struct Ended {
    task: Raw,
    /// The key that the task had.
    key: Key,
}

impl Ended {
    /// # Safety
    ///
    /// The stage holds the output, and no other code uses the memory from now on.
    #[inline]
    pub(super) unsafe fn new(task: Raw, key: Key) -> Ended {
        Ended { task, key }
    }

    /// Takes the output for a `JoinHandle`.
    ///
    /// # Safety
    ///
    /// `T` is the `Output` of the task's future.
    #[inline]
    pub(super) unsafe fn take<T>(self, pool: &Pool) -> Result<T, JoinError> {
        // SAFETY: by the contract of `new` the stage holds the output and no other code uses the
        // memory. The caller guarantees that the output is a `Result<T, JoinError>`. `self` is
        // consumed, so it is read and freed once.
        unsafe {
            let output = self.task.output().cast::<Result<T, JoinError>>().read();
            self.task.free(pool);
            output
        }
    }

    /// Returns the key that the task had.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Moves the output into the reply. Returns a panic that no handle will report.
    ///
    /// # Safety
    ///
    /// The reply's `T` is the `Output` of the task's future.
    pub(super) unsafe fn answer(self, reply: ReplyTo, pool: &Pool) -> Option<Unobserved> {
        // SAFETY: as in `take`.
        unsafe {
            let panic = reply.complete(self.task.output());
            self.task.free(pool);
            panic
        }
    }

    /// Drops the output, under the id of the task. Returns the panic of the task or of the drop.
    pub(super) fn discard(self, pool: &Pool) -> Option<Payload> {
        // SAFETY: as in `take`. The table in the memory has the functions for its type.
        unsafe {
            let panic = self.task.drop_output(Id::local(self.key));
            self.task.free(pool);
            panic
        }
    }
}
