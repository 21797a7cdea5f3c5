//! [`AbortOnDropHandle`]: a [`JoinHandle`] that aborts its task when it is dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::abort::AbortHandle;
use super::error::JoinError;
use super::id::Id;
use super::join::JoinHandle;

impl<T> JoinHandle<T> {
    /// Turns this handle into one that aborts the task when it is dropped; [`AbortOnDropHandle`]
    /// has an example.
    #[must_use = "dropping the handle aborts the task"]
    pub fn abort_on_drop(self) -> AbortOnDropHandle<T> {
        AbortOnDropHandle { handle: self }
    }
}

/// A [`JoinHandle`] that aborts its task when it is dropped; returned by
/// [`JoinHandle::abort_on_drop`].
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     let task = reveille::spawn(std::future::pending::<()>()).abort_on_drop();
///     let abort = task.abort_handle();
///     drop(task);
///     reveille::yield_now().await; // lets the loop drop the future
///     assert!(abort.is_finished());
///
///     let task = reveille::spawn(async { 7 }).abort_on_drop();
///     let handle = task.detach(); // no longer aborts the task
///     assert_eq!(handle.await.unwrap(), 7);
/// });
/// ```
#[must_use = "dropping the handle aborts the task"]
pub struct AbortOnDropHandle<T> {
    handle: JoinHandle<T>,
}

impl<T> AbortOnDropHandle<T> {
    /// Requests that the runtime drop the task's future, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Returns whether the task has ended, as [`JoinHandle::is_finished`] does.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Returns a handle that can only abort the task.
    pub fn abort_handle(&self) -> AbortHandle {
        self.handle.abort_handle()
    }

    /// Returns the id of the task.
    pub fn id(&self) -> Id {
        self.handle.id()
    }

    /// Turns this handle back into a [`JoinHandle`], which does not abort the task when it is
    /// dropped.
    pub fn detach(mut self) -> JoinHandle<T> {
        self.handle.take_handle()
    }
}

impl<T> Future for AbortOnDropHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<T> Drop for AbortOnDropHandle<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<T> fmt::Debug for AbortOnDropHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortOnDropHandle")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
