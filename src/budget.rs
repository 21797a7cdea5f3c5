//! How many leaf operations the task that is being polled may still make.
//!
//! The runtime fills the budget before each poll; every leaf future that is about to succeed takes one unit from it
//! with [`charge`]. When it is used up, `charge` wakes the task and answers `Pending`, so a task whose sockets are
//! always ready still lets the others run. Off a runtime the cell holds [`UNLIMITED`], which is not counted down.

use std::cell::Cell;
use std::task::{Context, Poll};

/// Never counted down: what a thread has that runs no runtime.
pub(crate) const UNLIMITED: u32 = u32::MAX;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(UNLIMITED) };
}

/// Sets what is left and returns what was left before, to be put back by whoever nests.
#[inline]
pub(crate) fn refill(units: u32) -> u32 {
    LEFT.with(|left| left.replace(units))
}

/// Takes one unit; when none is left, wakes the task and says `Pending`.
#[inline]
pub(crate) fn charge(cx: &Context<'_>) -> Poll<()> {
    LEFT.with(|left| match left.get() {
        0 => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        units => {
            left.set(units - u32::from(units != UNLIMITED));
            Poll::Ready(())
        }
    })
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
