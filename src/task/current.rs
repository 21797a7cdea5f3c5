//! [`CURRENT`]: the tasks of the runtime that a thread is inside of, and which of them it runs.

use std::num::NonZeroU32;

use super::id::{Id, dropping};
use super::tasks::Tasks;
use crate::sys::scoped::{Published, scoped};
use crate::token::RuntimeId;

scoped! {
    /// The tasks of the runtime that this thread is inside of. The runtime sets it around every
    /// call into this module.
    pub(crate) const CURRENT: Tasks
}

/// Runs `f` with the tasks of `runtime` if this thread is inside that runtime.
#[inline]
pub(super) fn on_owner<R>(runtime: RuntimeId, f: impl FnOnce(&Tasks) -> R) -> Option<R> {
    CURRENT.with_named(runtime.number(), |tasks| tasks.map(f))
}

/// Returns the id of the task that this thread runs, or `None` if it runs none.
///
/// A thread runs a task while it polls the task, drops its future, or drops its output because no
/// handle has taken it. The last may happen on any thread, when the
/// [`JoinHandle`](super::JoinHandle) is dropped there.
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     assert_eq!(reveille::task::try_id(), None, "the future of `block_on` is no task");
///     let task = reveille::spawn(async { reveille::task::try_id() });
///     let name = task.id();
///     assert_eq!(task.await.unwrap(), Some(name));
/// });
/// ```
pub fn try_id() -> Option<Id> {
    dropping().or_else(|| CURRENT.with(|tasks| tasks?.current_id()))
}

/// Returns the id of the task that this thread runs; see [`try_id`].
///
/// # Panics
///
/// If this thread runs no task. The future of `block_on` is not a task.
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     let task = reveille::spawn(async { reveille::task::id() });
///     let name = task.id();
///     assert_eq!(task.await.unwrap(), name);
/// });
/// ```
#[track_caller]
pub fn id() -> Id {
    match try_id() {
        Some(id) => id,
        None => panic!(
            "`task::id` was called outside a task: call it in a spawned future, or use `try_id`"
        ),
    }
}

/// Handles find the tasks by the id of the runtime.
impl Published for Tasks {
    fn name(&self) -> Option<NonZeroU32> {
        Some(self.id().number())
    }
}
