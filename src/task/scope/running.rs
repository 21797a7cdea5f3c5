//! [`Running`]: the future of a scope, which owns the body and the children and polls them.

use pin_project_lite::pin_project;
use std::future::Future;
use std::mem;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::super::unobserved_panics::report_panic;
use super::children::{Child, Children, Taken};
use super::handle::discard;
use super::polls::{OwnBudget, Polls};
use super::ready::{ChildWaker, Place};
use crate::budget;
use crate::panics::{FirstPanic, drop_caught};

pin_project! {
    /// A scope: ready when the body and all children have ended, or when one of them has failed.
    ///
    /// It alone owns them. Its drop drops them, and if it is leaked, so are they.
    pub(super) struct Running<'env, B, T, E>
    where
        E: 'env,
    {
        // `None` once it has ended.
        #[pin]
        body: Option<B>,
        body_state: Arc<ChildWaker>,
        body_waker: Waker,
        // The output of the body, until the children have ended.
        output: Option<T>,
        children: Rc<Children<'env, E>>,
        // The number of this poll.
        poll: u64,
        // The number of the last poll that has polled the body.
        body_polled_in: u64,
        // It has returned its output, or was dropped.
        ended: bool,
    }

    impl<'env, B, T, E> PinnedDrop for Running<'env, B, T, E>
    where
        E: 'env,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut panics = FirstPanic::default();
            this.close(&mut panics);
            if thread::panicking() {
                // A second panic would end the process.
                if let Some(payload) = panics.into_payload() {
                    report_panic(payload);
                }
            } else {
                panics.resume();
            }
        }
    }
}

/// The result of polling a woken child or the body.
enum Step<E> {
    /// It was polled, or dropped.
    Done,
    /// It had ended before.
    Gone,
    /// It was polled in this poll of the scope already. It and all after it wait for the next poll.
    Again,
    /// The scope has failed.
    Fail(E),
}

impl<'env, B, T, E: 'env> Running<'env, B, T, E> {
    /// Creates a scope whose body is polled first. `children` has no children yet.
    pub(super) fn new(body: B, children: Rc<Children<'env, E>>) -> Running<'env, B, T, E> {
        let state = ChildWaker::new(Place::BODY, children.ready.clone());
        state.add();
        Running {
            body: Some(body),
            body_waker: Waker::from(state.clone()),
            body_state: state,
            output: None,
            children,
            poll: 0,
            body_polled_in: 0,
            ended: false,
        }
    }

    pub(super) fn children(&self) -> &Children<'env, E> {
        &self.children
    }

    /// Drops the body, the children and an output that is left. Further spawns are refused and
    /// further wakes do nothing.
    fn close(self: Pin<&mut Self>, panics: &mut FirstPanic) {
        let mut this = self.project();
        if mem::replace(this.ended, true) {
            return;
        }
        let children = this.children.close();
        let task = this.children.ready.close();
        discard(task);
        panics.call(|| this.body.set(None));
        for child in children {
            drop_child(child, panics);
        }
        let output = this.output.take();
        panics.call(|| drop(output));
    }

    /// Drops the children that `abort_all` has aborted.
    fn drop_aborted(&self, panics: &mut FirstPanic) {
        for child in self.children.take_aborted() {
            drop_child(child, panics);
        }
    }
}

/// Calls the function that makes the body of a scope. If it panics, drops the children that it has
/// spawned: they may hold a `Scope`, and so each other.
pub(super) fn make_body<'env, B, E: 'env>(
    children: &Children<'env, E>,
    make: impl FnOnce() -> B,
) -> B {
    struct Unwinding<'a, 'env, E: 'env>(&'a Children<'env, E>);
    impl<'env, E: 'env> Drop for Unwinding<'_, 'env, E> {
        fn drop(&mut self) {
            let mut panics = FirstPanic::default();
            for child in self.0.close() {
                drop_child(child, &mut panics);
            }
            // A second panic would end the process.
            if let Some(payload) = panics.into_payload() {
                report_panic(payload);
            }
        }
    }
    let unwinding = Unwinding(children);
    let body = make();
    mem::forget(unwinding);
    body
}

/// Drops a child that has no place in the table.
fn drop_child<E>(child: Child<'_, E>, panics: &mut FirstPanic) {
    child.state.end();
    panics.call(|| drop(child));
}

impl<'env, B, T, E> Running<'env, B, T, E>
where
    B: Future<Output = Result<T, E>>,
    E: 'env,
{
    /// Polls the body.
    fn poll_body(self: Pin<&mut Self>, panics: &mut FirstPanic) -> Step<E> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Step::Gone;
        };
        if mem::replace(this.body_polled_in, *this.poll) == *this.poll {
            return Step::Again;
        }
        this.body_state.begin_poll();
        let polled = poll_with(this.body_waker, panics, |cx| body.poll(cx));
        let Some(Poll::Ready(result)) = polled else {
            return Step::Done;
        };
        this.body_state.end();
        panics.call(|| this.body.set(None));
        match result {
            Ok(output) => *this.output = Some(output),
            Err(error) => return Step::Fail(error),
        }
        Step::Done
    }

    /// Polls a child, or drops it if it was aborted.
    fn poll_child(&self, place: Place, panics: &mut FirstPanic) -> Step<E> {
        let mut child = match self.children.take(place, self.poll) {
            Taken::Child(child) => child,
            Taken::Polled => return Step::Again,
            Taken::Gone => return Step::Gone,
        };
        let mut polled = None;
        if !child.state.is_aborted() {
            child.state.begin_poll();
            polled = poll_with(&child.waker, panics, |cx| child.future.as_mut().poll(cx));
        }
        if let Some(Poll::Pending) = polled {
            self.children.put_back(child);
            return Step::Done;
        }
        self.children.remove(place);
        drop_child(child, panics);
        match polled {
            Some(Poll::Ready(Err(error))) => Step::Fail(error),
            _ => Step::Done,
        }
    }

    /// Polls the children that were woken and the body, each at most once. Returns the error if one
    /// has failed.
    fn poll_woken(mut self: Pin<&mut Self>, panics: &mut FirstPanic) -> Option<E> {
        let polls = Polls::begin();
        self.drop_aborted(panics);
        while !panics.is_panic() {
            let place = self.children.ready.pop()?;
            if !polls.take() {
                self.children.ready.put_back(place);
                return None;
            }
            let step = match place {
                Place::BODY => self.as_mut().poll_body(panics),
                _ => self.poll_child(place, panics),
            };
            self.drop_aborted(panics);
            match step {
                Step::Done => {}
                Step::Gone => polls.put_back(),
                Step::Again => {
                    self.children.ready.put_back(place);
                    return None;
                }
                Step::Fail(error) => return Some(error),
            }
        }
        None
    }

    /// Ends the scope: drops all that is left, then resumes a panic or returns the result.
    fn end(mut self: Pin<&mut Self>, error: Option<E>, mut panics: FirstPanic) -> Result<T, E> {
        let is_output = error.is_none() && !panics.is_panic();
        let output = match is_output {
            true => self.as_mut().project().output.take(),
            false => None,
        };
        self.close(&mut panics);
        if let Some(payload) = panics.into_payload() {
            // There is no output. The drop of the error by the unwinding could end the process.
            drop_caught(error);
            resume_unwind(payload);
        }
        match (error, output) {
            (Some(error), _) => Err(error),
            (None, Some(output)) => Ok(output),
            (None, None) => unreachable!("a body that has ended without an error has an output"),
        }
    }

    /// Waits for the next wake of a child, or wakes the task if there was one during this poll.
    /// `unused` is the waker of the previous poll, if no wake has used it.
    fn wait(&self, unused: Option<Waker>, cx: &Context<'_>) {
        let ready = &self.children.ready;
        if !ready.is_empty() {
            discard(unused);
            return budget::wake_after_poll(cx.waker());
        }
        let task = match unused {
            Some(unused) if unused.will_wake(cx.waker()) => unused,
            unused => {
                discard(unused);
                let _unbound = budget::unbound();
                cx.waker().clone()
            }
        };
        // The clone is foreign code, and may have woken a child.
        if let Err(task) = ready.end_poll(task) {
            discard(task);
            budget::wake_after_poll(cx.waker());
        }
    }
}

/// Polls a future with a waker and a budget of its own. Returns `None` if it has panicked.
fn poll_with<R>(
    waker: &Waker,
    panics: &mut FirstPanic,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<R>,
) -> Option<Poll<R>> {
    let _budget = OwnBudget::begin();
    panics.call(|| poll(&mut Context::from_waker(waker)))
}

impl<'env, B, T, E> Future for Running<'env, B, T, E>
where
    B: Future<Output = Result<T, E>>,
    E: 'env,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(
            !self.ended,
            "scope polled after it returned its output: poll it no more after `Ready`"
        );
        let unused = self.children.ready.begin_poll();
        *self.as_mut().project().poll += 1;
        let mut panics = FirstPanic::default();
        let error = self.as_mut().poll_woken(&mut panics);
        let has_ended = self.body.is_none() && self.children.is_empty();
        if error.is_some() || panics.is_panic() || has_ended {
            discard(unused);
            return Poll::Ready(self.end(error, panics));
        }
        self.wait(unused, cx);
        Poll::Pending
    }
}
