//! [`ScopedJoinHandle`]: a future of the output of a child. [`Promise`]: the child's end, which
//! shares its cells with the handle.

use futures_core::FusedFuture;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::error::JoinError;
use super::super::unobserved_panics::report_panic;
use super::ready::ChildWaker;
use crate::budget;
use crate::panics::catch;

/// Shared by a child and its handle, which are on one thread.
struct Answer<T> {
    /// The answer, until the handle returns it.
    result: Cell<Option<Result<T, JoinError>>>,
    /// There has been an answer.
    finished: Cell<bool>,
    /// Woken by the answer.
    waiter: Cell<Option<Waker>>,
}

/// Answers the handle of a child, with "aborted" if it is dropped before.
pub(super) struct Promise<T> {
    answer: Rc<Answer<T>>,
}

impl<T> Promise<T> {
    pub(super) fn new() -> Promise<T> {
        let answer = Answer {
            result: Cell::new(None),
            finished: Cell::new(false),
            waiter: Cell::new(None),
        };
        Promise {
            answer: Rc::new(answer),
        }
    }

    /// Returns the handle that this promise answers.
    pub(super) fn handle(&self) -> ScopedJoinHandle<T> {
        ScopedJoinHandle {
            answer: self.answer.clone(),
            child: None,
            taken: false,
        }
    }

    /// Answers, the first time it is called. A panic of the waiter's waker, or of the drop of an
    /// output that no handle wants, goes to the policy of the runtime.
    pub(super) fn settle(&self, result: Result<T, JoinError>) {
        let answer = &*self.answer;
        if answer.finished.replace(true) {
            return;
        }
        if Rc::strong_count(&self.answer) == 1 {
            // The handle was dropped.
            return discard(result);
        }
        answer.result.set(Some(result));
        if let Some(waiter) = answer.waiter.take() {
            let _unbound = budget::unbound();
            catch(|| waiter.wake()).unwrap_or_else(report_panic);
        }
    }
}

/// Drops a waker or an output. Its panic goes to the policy of the runtime.
pub(super) fn discard<T>(value: T) {
    let _unbound = budget::unbound();
    catch(|| drop(value)).unwrap_or_else(report_panic);
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Err(JoinError::cancelled()));
    }
}

/// Waits for a child of a scope and returns its output.
///
/// Returned by [`Scope::spawn`](super::Scope::spawn) and
/// [`TryScope::spawn`](super::TryScope::spawn). It is a future of `Result<T, JoinError>`. The error
/// always means that the child was dropped before it had an output: it was aborted, or its scope
/// has ended. A panic of a child ends the whole scope.
///
/// Dropping the handle does not stop the child. The scope waits for it all the same, and its output
/// is dropped. A panic in that drop goes to [`UnhandledPanic`](crate::runtime::UnhandledPanic). The
/// handle may be used after the end of the scope.
///
/// # Panics
///
/// If it is polled after it has returned the output.
///
/// # Cancel safety
///
/// The output stays in the handle until a poll returns it, so `&mut ScopedJoinHandle` can be
/// dropped and awaited again.
///
/// # Examples
///
/// ```
/// use reveille::task::scope;
///
/// let words = ["good".to_owned(), "morning".to_owned()];
/// let handles = reveille::block_on(scope(async |s| {
///     let lens = words.iter().map(|word| s.spawn(async move { word.len() }));
///     lens.collect::<Vec<_>>()
/// }));
/// reveille::block_on(async {
///     for (handle, len) in handles.into_iter().zip([4, 7]) {
///         assert_eq!(handle.await.unwrap(), len);
///     }
/// });
/// ```
pub struct ScopedJoinHandle<T> {
    answer: Rc<Answer<T>>,
    /// `None`: the scope had ended before the spawn.
    child: Option<Arc<ChildWaker>>,
    /// The output has been returned.
    taken: bool,
}

impl<T> UnwindSafe for ScopedJoinHandle<T> {}
impl<T> RefUnwindSafe for ScopedJoinHandle<T> {}

impl<T> ScopedJoinHandle<T> {
    /// Requests that the scope drop the child's future.
    ///
    /// The handle then returns an error, unless the child has already ended. The scope drops the
    /// future when the turn of the child comes, not this call: a child that aborts itself runs
    /// until its poll ends.
    pub fn abort(&self) {
        if let Some(child) = &self.child {
            child.abort();
        }
    }

    /// Returns whether the child has ended.
    pub fn is_finished(&self) -> bool {
        self.answer.finished.get()
    }

    /// Sets the child that `abort` aborts.
    pub(super) fn attach(&mut self, child: Arc<ChildWaker>) {
        self.child = Some(child);
    }

    /// Stores the waker of the waiter. Returns false if the child has ended meanwhile, because the
    /// clone and the drop of a waker are foreign code.
    fn store(&self, waker: &Waker) -> bool {
        let stored = self.answer.waiter.take();
        if stored.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.answer.waiter.set(stored);
            return true;
        }
        discard(stored);
        let unbound = budget::unbound();
        let waker = waker.clone();
        drop(unbound);
        if self.is_finished() {
            discard(waker);
            return false;
        }
        // The clone may have polled the handle with another waker.
        discard(self.answer.waiter.replace(Some(waker)));
        !self.is_finished()
    }
}

impl<T> Future for ScopedJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(
            !self.taken,
            "ScopedJoinHandle polled after it returned its output: poll it no more after `Ready`"
        );
        if !self.is_finished() && self.store(cx.waker()) {
            return Poll::Pending;
        }
        if budget::charge(cx).is_pending() {
            return Poll::Pending;
        }
        self.taken = true;
        let result = self.answer.result.take();
        Poll::Ready(result.expect("a child that has ended has answered, and nothing else takes it"))
    }
}

impl<T> Drop for ScopedJoinHandle<T> {
    fn drop(&mut self) {
        discard(self.answer.waiter.take());
        discard(self.answer.result.take());
    }
}

impl<T> FusedFuture for ScopedJoinHandle<T> {
    fn is_terminated(&self) -> bool {
        self.taken
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
