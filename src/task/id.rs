//! [`Id`]: identifies a task within its runtime.

use std::cell::Cell;
use std::fmt;
use std::ptr;

use super::key::Key;
use crate::budget::{self, Polling};

/// Identifies a task: unique among all tasks that its runtime has ever had. [`id`](fn@super::id)
/// has an example.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// Set in ids that were given before the task had a slot. It is larger than every index.
const REMOTE: u64 = 1 << 31;

impl Id {
    /// Returns the id of a task that was spawned inside its runtime: slot and generation.
    #[inline]
    pub(super) fn local(key: Key) -> Id {
        Id(u64::from(key.generation) << 32 | u64::from(key.index))
    }

    /// The slot in a local id.
    #[cfg(all(test, not(loom)))]
    pub(super) fn index(self) -> u64 {
        self.0 & (REMOTE - 1)
    }

    /// Returns the id of the `n`th task that was spawned from another thread.
    pub(super) fn remote(n: u64) -> Id {
        Id((n >> 31) << 32 | REMOTE | n & (REMOTE - 1))
    }
}

/// The poll that a thread is making: the address of the runtime's `Polling`, and the key of the
/// task or root, or 0. `None` if the thread runs no loop.
type CurrentPoll = Option<(*const Polling, usize)>;

thread_local! {
    /// The task whose output this thread is dropping, and the poll that it was making when the drop
    /// began. If it makes another poll now, the drop itself polls, for example by a hosted runtime.
    static DROPPING: Cell<Option<(Id, CurrentPoll)>> = const { Cell::new(None) };
}

fn current_poll() -> CurrentPoll {
    budget::CURRENT.with(|polling| polling.map(|polling| (ptr::from_ref(polling), polling.key())))
}

/// Runs `f`, which belongs to a task or job that is not being polled, under the id of that task or
/// job. `f` must not unwind.
pub(super) fn as_task<R>(id: Id, f: impl FnOnce() -> R) -> R {
    let outer = DROPPING.replace(Some((id, current_poll())));
    let result = f();
    DROPPING.set(outer);
    result
}

/// Returns the id of the task whose output this thread is dropping, unless that drop polls
/// something.
pub(super) fn dropping() -> Option<Id> {
    let (id, before) = DROPPING.get()?;
    (before == current_poll()).then_some(id)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}
