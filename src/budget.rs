//! The budget of a poll: how many operations of sockets, timers and handles may still succeed in
//! it.
//!
//! The runtime fills the budget before each poll. A *leaf*, the future of one such operation, takes
//! one unit with [`charge`] when it is about to succeed. If none is left, `charge` wakes the task
//! and returns `Pending`, so a task whose sockets are always ready still lets the others run.
//!
//! Only polls by the runtime have a budget. Outside of a runtime and between polls it is
//! [`UNLIMITED`]. [`unbound`] lifts it while a poll calls code that is not part of the task, such
//! as another executor's waker.
//!
//! The wake for a used-up budget is *kept* until the poll has returned; see [`Polling`].

#![forbid(unsafe_code)]

use crate::panics::drop_caught;
use crate::sys::scoped::{Published, scoped};
use crate::token::BuildKeyHasher;
use std::cell::Cell;
use std::collections::HashSet;
use std::task::{Context, Poll, RawWakerVTable, Waker};

/// The budget outside of polls: it lasts for centuries.
pub(crate) const UNLIMITED: i64 = i64::MAX;

thread_local! {
    /// Never less than 0, except within [`take`].
    static LEFT: Cell<i64> = const { Cell::new(UNLIMITED) };
}

/// Sets the units that are left and returns the former number, which a nested caller restores.
#[inline]
pub(crate) fn refill(units: i64) -> i64 {
    LEFT.with(|left| left.replace(units))
}

/// Lifts the budget until it is dropped, then restores the units that were left before.
#[derive(Debug)]
#[must_use = "the budget applies again when this is dropped"]
pub(crate) struct Unbound {
    before: i64,
}

/// Lifts the budget for code that is not part of the poll, so that it takes no units of the poll.
pub(crate) fn unbound() -> Unbound {
    Unbound {
        before: refill(UNLIMITED),
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        refill(self.before);
    }
}

/// Takes one unit. If none is left, wakes the task and returns `Pending`. For leaves that are sure
/// to succeed.
#[inline]
pub(crate) fn charge(cx: &Context<'_>) -> Poll<()> {
    if take() { Poll::Ready(()) } else { used_up(cx) }
}

/// Takes one unit, in two instructions. Returns false if none is left; the caller then returns
/// [`used_up`].
#[inline]
#[must_use]
pub(crate) fn take() -> bool {
    LEFT.with(|left| {
        let after = left.get() - 1;
        left.set(after);
        after >= 0 || none_left()
    })
}

/// Repairs the count after [`take`] has found no unit. Returns false.
#[cold]
fn none_left() -> bool {
    LEFT.with(|left| left.set(0));
    false
}

/// Gives back the unit that [`take`] took for an operation that has to wait after all.
pub(crate) fn put_back() {
    LEFT.with(|left| left.set(left.get().saturating_add(1)));
}

/// Wakes the task, which has no unit left, after its poll. May run foreign code.
#[cold]
pub(crate) fn used_up<T>(cx: &Context<'_>) -> Poll<T> {
    wake_after_poll(cx.waker());
    Poll::Pending
}

/// Returns `Ready` if a unit is left; otherwise wakes the task. For a leaf that may turn out not to
/// be ready: it calls [`spend`] once it has succeeded, so waiting costs no budget.
#[inline]
pub(crate) fn check(cx: &Context<'_>) -> Poll<()> {
    if is_spent() {
        return used_up(cx);
    }
    Poll::Ready(())
}

/// Returns whether the budget is used up.
#[inline]
pub(crate) fn is_spent() -> bool {
    LEFT.with(Cell::get) == 0
}

/// Takes the unit that [`check`] has found, unless code that ran in between has taken it.
#[inline]
pub(crate) fn spend() {
    // It is never less than 0 here, and unsigned arithmetic takes fewer instructions.
    LEFT.with(|left| left.set((left.get() as u64).saturating_sub(1) as i64));
}

/// Wakes after the runtime's poll has returned, or at once if the runtime is making none.
///
/// A combinator may poll its child again whenever it is woken during the poll. If the wake came
/// within the poll, the combinator would never return.
#[inline]
pub(crate) fn wake_after_poll(waker: &Waker) {
    CURRENT.with(|polling| match polling {
        Some(polling) if polling.is_itself(waker) => polling.kept.set(polling.kept.get() | ITSELF),
        Some(polling) if polling.key.get() != 0 => polling.keep(waker),
        _ => waker.wake_by_ref(),
    });
}

scoped! {
    /// The poll state of the runtime that this thread is inside of, if any.
    pub(crate) const CURRENT: Polling
}

impl Published for Polling {}

/// Kept: a wake of the polled task itself.
pub(crate) const ITSELF: u8 = 1;

/// Kept: other wakers.
const OTHERS: u8 = 2;

/// The task that a runtime is polling, and the wakes that are kept until that poll has returned.
pub(crate) struct Polling {
    /// The wakers of the runtime's tasks have this vtable, and a key as their data.
    vtable: &'static RawWakerVTable,
    /// The key of the task or root that is being polled, or 0, which is no key.
    key: Cell<usize>,
    /// Which wakes are kept: [`ITSELF`], [`OTHERS`], both or none.
    kept: Cell<u8>,
    /// The other wakers that are kept, such as those of combinators and of other runtimes.
    others: Cell<Vec<Waker>>,
}

impl Polling {
    pub(crate) fn new(vtable: &'static RawWakerVTable) -> Polling {
        Polling {
            vtable,
            key: Cell::new(0),
            kept: Cell::new(0),
            others: Cell::default(),
        }
    }

    /// Begins a poll of the task or root with this key.
    #[inline]
    pub(crate) fn begin(&self, key: usize) {
        self.key.set(key);
    }

    /// Ends the poll.
    #[inline]
    pub(crate) fn end(&self) {
        self.key.set(0);
    }

    /// Returns the key of what is polled, or 0.
    #[inline]
    pub(crate) fn key(&self) -> usize {
        self.key.get()
    }

    /// Returns which wakes are kept: 0 for none, [`ITSELF`] if only that of the polled task is. The
    /// caller takes them after the poll.
    #[inline]
    pub(crate) fn kept(&self) -> u8 {
        self.kept.get()
    }

    /// Takes the wake of the task itself. Returns whether it was kept.
    #[inline]
    pub(crate) fn take_itself(&self) -> bool {
        let kept = self.kept.get();
        self.kept.set(kept & !ITSELF);
        kept & ITSELF != 0
    }

    /// Takes the other wakers.
    pub(crate) fn take_others(&self) -> Vec<Waker> {
        self.kept.set(self.kept.get() & !OTHERS);
        self.others.take()
    }

    /// Returns whether this is the waker of the task that is being polled.
    #[inline]
    fn is_itself(&self, waker: &Waker) -> bool {
        waker.data().addr() == self.key.get() && std::ptr::eq(waker.vtable(), self.vtable)
    }

    /// Keeps another waker.
    #[cold]
    fn keep(&self, waker: &Waker) {
        let mut others = self.others.take();
        // The same child may be polled again and again. Only the last waker is compared, because
        // there may be a thousand; `make_room` finds the rest.
        let known = others.last().is_some_and(|known| known.will_wake(waker));
        self.others.set(others);
        if known {
            return;
        }
        // The clone is foreign code and may keep another waker.
        let lifted = unbound();
        let waker = waker.clone();
        drop(lifted);
        others = self.others.take();
        let repeated = make_room(&mut others);
        others.push(waker);
        self.others.set(others);
        self.kept.set(self.kept.get() | OTHERS);
        // Each drop is foreign code as well.
        let _unbound = unbound();
        repeated.into_iter().for_each(drop_caught);
    }
}

/// Shorter lists of wakers are not searched for repeated ones.
const MIN_SEARCHED: usize = 64;

/// Makes room for one more waker. If the list is full, removes and returns the repeated wakers, so
/// that wakers that are kept in turns do not grow it without limit.
///
/// The list then has room for as many wakers again as it has left, so each waker takes part in a
/// few searches at most.
fn make_room(wakers: &mut Vec<Waker>) -> Vec<Waker> {
    if wakers.len() < wakers.capacity().max(MIN_SEARCHED) {
        return Vec::new();
    }
    let mut known = HashSet::with_hasher(BuildKeyHasher::default());
    let is_new = |waker: &Waker| {
        // `will_wake` compares the same two addresses.
        known.insert((
            waker.data().addr(),
            std::ptr::from_ref(waker.vtable()).addr(),
        ))
    };
    let all = std::mem::take(wakers);
    let (kept, repeated) = all.into_iter().partition(is_new);
    *wakers = kept;
    wakers.reserve(wakers.len().max(MIN_SEARCHED));
    repeated
}

impl std::fmt::Debug for Polling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Polling")
            .field("key", &self.key)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn charge_returns_pending_when_used_up() {
        let before = refill(2);
        let cx = Context::from_waker(Waker::noop());
        assert!(charge(&cx).is_ready());
        assert!(charge(&cx).is_ready());
        assert!(charge(&cx).is_pending());
        assert_eq!(refill(before), 0);
    }

    #[test]
    fn unbound_restores_the_units_that_were_left() {
        let before = refill(0);
        {
            let _unbound = unbound();
            assert!(take() && take());
        }
        assert_eq!(refill(before), 0);
    }
}
