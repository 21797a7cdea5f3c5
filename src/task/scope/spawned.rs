//! [`Spawned`] and [`TrySpawned`]: the futures of children. They give the output to the handle and
//! the failure to the scope.

use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::handle::Promise;
use crate::panics::{catch, drop_caught};

pin_project! {
    /// A child that cannot fail.
    ///
    /// Its future is dropped before its handle is answered. So what it has borrowed is free again
    /// when the waiter continues.
    pub(super) struct Spawned<F: Future> {
        #[pin]
        future: Option<F>,
        promise: Promise<F::Output>,
    }
}

impl<F: Future> Spawned<F> {
    pub(super) fn new(future: F, promise: Promise<F::Output>) -> Spawned<F> {
        let future = Some(future);
        Spawned { future, promise }
    }
}

impl<F: Future> Future for Spawned<F> {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let output = ready!(future.poll(cx));
            let output = after_drop(output, || this.future.set(None));
            this.promise.settle(Ok(output));
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns the output after the drop of its future. If that panics, the output is dropped here,
/// because its drop by the unwinding could end the process.
fn after_drop<T>(output: T, drop: impl FnOnce()) -> T {
    if let Err(payload) = catch(drop) {
        drop_caught(output);
        resume_unwind(payload);
    }
    output
}

pin_project! {
    /// A child whose failure ends the scope; otherwise as [`Spawned`].
    pub(super) struct TrySpawned<F, T> {
        #[pin]
        future: Option<F>,
        promise: Promise<T>,
    }
}

impl<F, T> TrySpawned<F, T> {
    pub(super) fn new(future: F, promise: Promise<T>) -> TrySpawned<F, T> {
        let future = Some(future);
        TrySpawned { future, promise }
    }
}

impl<F: Future<Output = Result<T, E>>, T, E> Future for TrySpawned<F, T> {
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let output = ready!(future.poll(cx))?;
            let output = after_drop(output, || this.future.set(None));
            this.promise.settle(Ok(output));
        }
        Poll::Ready(Ok(()))
    }
}

pin_project! {
    /// The body of a scope that cannot fail.
    pub(super) struct Body<B> {
        #[pin]
        future: B,
    }
}

impl<B> Body<B> {
    pub(super) fn new(future: B) -> Body<B> {
        Body { future }
    }
}

impl<B: Future> Future for Body<B> {
    type Output = Result<B::Output, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}
