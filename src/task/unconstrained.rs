//! [`consume_budget`] and [`unconstrained`]: take from the budget of operations per poll, and lift
//! it.

use crate::budget;
use pin_project_lite::pin_project;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Takes one operation from the budget of the task, as a read that succeeds does. If none is left,
/// the other tasks run first.
///
/// Call it once for each part of a long computation, so that other tasks run in between. It has no
/// effect outside of a runtime. [`yield_now`](fn@super::yield_now) lets the other tasks run every
/// time.
///
/// # Cancel safety
///
/// If the future is dropped, nothing is taken from the budget.
///
/// # Examples
///
/// ```
/// use reveille::task::consume_budget;
///
/// async fn sum(numbers: &[u64]) -> u64 {
///     let mut sum = 0;
///     for part in numbers.chunks(1000) {
///         sum += part.iter().sum::<u64>();
///         consume_budget().await;
///     }
///     sum
/// }
///
/// assert_eq!(reveille::block_on(sum(&[1; 10_000])), 10_000);
/// ```
pub async fn consume_budget() {
    poll_fn(|cx| budget::charge(cx)).await;
}

/// Lifts the budget of operations per poll for a future.
///
/// Sockets, timers and join handles that are ready then return ready, however many operations the
/// task has made. While one of them is always ready, no other task runs. Use this only for a future
/// that limits itself.
///
/// # Examples
///
/// A thousand operations in one poll:
///
/// ```
/// use reveille::task::unconstrained;
/// use reveille::time::{Duration, sleep};
///
/// reveille::block_on(unconstrained(async {
///     for _ in 0..1000 {
///         sleep(Duration::ZERO).await; // never pending
///     }
/// }));
/// ```
pub fn unconstrained<F>(inner: F) -> Unconstrained<F> {
    Unconstrained { inner }
}

pin_project! {
    /// A future without a budget of operations; returned by [`unconstrained`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Unconstrained<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for Unconstrained<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _unbound = budget::unbound();
        self.project().inner.poll(cx)
    }
}
