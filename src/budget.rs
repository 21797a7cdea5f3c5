//! How many leaf operations the task that is being polled may still make.
//!
//! The runtime fills the budget before each poll; every leaf future that is about to succeed takes one unit from it
//! with [`charge`]. When it is used up, `charge` wakes the task and answers `Pending`, so a task whose sockets are
//! always ready still lets the others run. Off a runtime the cell holds [`UNLIMITED`], which no thread counts down to the
//! end of.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::task::{Context, Poll};

/// What a thread has that runs no runtime: centuries of operations.
pub(crate) const UNLIMITED: u64 = u64::MAX;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(UNLIMITED) };
}

/// Sets what is left and returns what was left before, to be put back by whoever nests.
#[inline]
pub(crate) fn refill(units: u64) -> u64 {
    LEFT.with(|left| left.replace(units))
}

/// Takes one unit; when none is left, wakes the task and says `Pending`. For leaves that know they will succeed.
#[inline]
pub(crate) fn charge(cx: &Context<'_>) -> Poll<()> {
    let left = check(cx);
    if left.is_ready() {
        spend_checked();
    }
    left
}

/// Whether a unit is left; when none is, wakes the task. A leaf that may still find itself not ready asks this first
/// and calls [`spend`] once it has succeeded, so that waiting for many things costs no budget.
#[inline]
pub(crate) fn check(cx: &Context<'_>) -> Poll<()> {
    if LEFT.with(Cell::get) == 0 {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(())
}

/// Whether the budget is used up, for who only wants to know.
#[inline]
pub(crate) fn is_spent() -> bool {
    LEFT.with(Cell::get) == 0
}

/// Takes the unit that [`check`] saw, unless what ran in between has taken it.
#[inline]
pub(crate) fn spend() {
    LEFT.with(|left| left.set(left.get().saturating_sub(1)));
}

/// Takes the unit that [`check`] saw, when nothing in between can have taken it: one instruction.
#[inline]
pub(crate) fn spend_checked() {
    LEFT.with(|left| {
        debug_assert!(left.get() != 0);
        left.set(left.get().wrapping_sub(1));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn charge_answers_pending_when_used_up() {
        let before = refill(2);
        let cx = Context::from_waker(Waker::noop());
        assert!(charge(&cx).is_ready());
        assert!(charge(&cx).is_ready());
        assert!(charge(&cx).is_pending());
        assert_eq!(refill(before), 0);
    }
}
