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
pub(crate) const UNLIMITED: i64 = i64::MAX;

thread_local! {
    /// Never less than 0, except within [`take`].
    static LEFT: Cell<i64> = const { Cell::new(UNLIMITED) };
}

/// Sets what is left and returns what was left before, to be put back by whoever nests.
#[inline]
pub(crate) fn refill(units: i64) -> i64 {
    LEFT.with(|left| left.replace(units))
}

/// Takes one unit; when none is left, wakes the task and says `Pending`. For leaves that know they will succeed.
#[inline]
pub(crate) fn charge(cx: &Context<'_>) -> Poll<()> {
    if take() { Poll::Ready(()) } else { used_up(cx) }
}

/// Takes one unit, or says that there is none: two instructions. What is then owed to the task is [`used_up`].
#[inline]
#[must_use]
pub(crate) fn take() -> bool {
    LEFT.with(|left| {
        let after = left.get() - 1;
        left.set(after);
        after >= 0 || nothing()
    })
}

#[cold]
#[inline(never)]
fn nothing() -> bool {
    LEFT.with(|left| left.set(0));
    false
}

/// Gives back the unit that [`take`] has taken for what had to wait after all.
pub(crate) fn put_back() {
    LEFT.with(|left| left.set(left.get().saturating_add(1)));
}

/// Wakes a task that found no unit left. May run foreign code.
#[cold]
#[inline(never)]
pub(crate) fn used_up<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Whether a unit is left; when none is, wakes the task. A leaf that may still find itself not ready asks this first
/// and calls [`spend`] once it has succeeded, so that waiting for many things costs no budget.
#[inline]
pub(crate) fn check(cx: &Context<'_>) -> Poll<()> {
    if is_spent() {
        return used_up(cx);
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
    // Never less than 0 here, and this is shorter than what a signed number takes.
    LEFT.with(|left| left.set((left.get() as u64).saturating_sub(1) as i64));
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
