//! [`Id`]: the name of a task.

use std::fmt;

use super::waker::Key;

/// The name of a task, unique among all tasks its runtime ever had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// Set in names that were given before the task had a slot. Above every index.
const FOREIGN: u64 = 1 << 31;

impl Id {
    /// Nobody's name.
    pub(super) const NONE: Id = Id(u64::MAX);

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
