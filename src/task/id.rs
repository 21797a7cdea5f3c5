//! [`Id`]: the name of a task.

use std::fmt;

use super::tasks::CURRENT;
use super::waker::Key;

/// The name of a task, unique among all tasks its runtime ever had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// Set in names that were given before the task had a slot. Above every index.
const FOREIGN: u64 = 1 << 31;

impl Id {
    /// The name of a task that was spawned inside its runtime: its slot and generation.
    #[inline]
    pub(super) fn local(key: Key) -> Id {
        Id(u64::from(key.generation) << 32 | u64::from(key.index))
    }

    /// The slot in a local name.
    #[cfg(test)]
    pub(super) fn index(self) -> u64 {
        self.0 & (FOREIGN - 1)
    }

    /// The name of the `n`th task that came from another thread.
    pub(super) fn foreign(n: u64) -> Id {
        Id((n >> 31) << 32 | FOREIGN | n & (FOREIGN - 1))
    }
}

/// Returns the name of the task that is being polled on this thread, if one is.
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
    CURRENT.with(|tasks| tasks?.current_id())
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
