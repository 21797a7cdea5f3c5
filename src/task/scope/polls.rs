//! [`Polls`] and [`OwnBudget`]: how much the poll of a scope may do.

use std::cell::Cell;

use super::super::current::CURRENT;
use crate::budget;

/// How many children one poll of a scope may poll. A poll of the task then completes at most 32
/// times its budget, some milliseconds of cheap system calls, before other tasks run.
const MAX_POLLS: u32 = 32;

thread_local! {
    /// The polls that are left to the innermost scope that is being polled, if there is one.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The polls of children that are left to one poll of a scope.
///
/// A scope inside of a child takes them from the outer scope, so that scopes within scopes do not
/// multiply them. It may always poll one child, so that it makes progress.
pub(super) struct Polls {
    /// The number when this poll began; `None` for an outermost scope.
    outer: Option<u32>,
}

impl Polls {
    /// Begins a poll of a scope.
    pub(super) fn begin() -> Polls {
        let outer = LEFT.get();
        LEFT.set(Some(outer.map_or(MAX_POLLS, |left| left.max(1))));
        Polls { outer }
    }

    /// Takes one poll. Returns false if none is left.
    pub(super) fn take(&self) -> bool {
        let left = LEFT.get().unwrap_or(0);
        LEFT.set(Some(left.saturating_sub(1)));
        left != 0
    }

    /// Gives one poll back that was not made.
    pub(super) fn put_back(&self) {
        LEFT.set(LEFT.get().map(|left| left + 1));
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        if self.outer.is_none() {
            LEFT.set(None);
        }
    }
}

/// A budget of operations for the poll of one child, until it is dropped. Then the poll of the
/// scope has again what was left to it.
#[must_use = "the budget ends when this is dropped"]
pub(super) struct OwnBudget {
    before: i64,
}

impl OwnBudget {
    /// Begins with the runtime's budget of a poll, or without any limit where the scope has none:
    /// outside of a runtime and in [`unconstrained`](fn@crate::task::unconstrained).
    pub(super) fn begin() -> OwnBudget {
        let before = budget::refill(budget::UNLIMITED);
        if before <= i64::from(u32::MAX) {
            let units = CURRENT.with(|tasks| tasks.map(|tasks| i64::from(tasks.poll_budget)));
            budget::refill(units.unwrap_or(budget::UNLIMITED));
        }
        OwnBudget { before }
    }
}

impl Drop for OwnBudget {
    fn drop(&mut self) {
        budget::refill(self.before);
    }
}
