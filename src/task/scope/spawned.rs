//! [`Spawned`] and [`TrySpawned`]: the futures of children. They give the output to the handle and
//! the failure to the scope. The scope drops them as soon as they are ready.

use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::handle::Promise;

pin_project! {
    /// A child that cannot fail.
    pub(super) struct Spawned<F: Future> {
        #[pin]
        future: F,
        promise: Promise<F::Output>,
    }
}

impl<F: Future> Spawned<F> {
    pub(super) fn new(future: F, promise: Promise<F::Output>) -> Spawned<F> {
        Spawned { future, promise }
    }
}

impl<F: Future> Future for Spawned<F> {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        this.promise.settle(Ok(output));
        Poll::Ready(Ok(()))
    }
}

pin_project! {
    /// A child whose failure ends the scope.
    pub(super) struct TrySpawned<F, T> {
        #[pin]
        future: F,
        promise: Promise<T>,
    }
}

impl<F, T> TrySpawned<F, T> {
    pub(super) fn new(future: F, promise: Promise<T>) -> TrySpawned<F, T> {
        TrySpawned { future, promise }
    }
}

impl<F: Future<Output = Result<T, E>>, T, E> Future for TrySpawned<F, T> {
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let output = ready!(this.future.poll(cx))?;
        this.promise.settle(Ok(output));
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
