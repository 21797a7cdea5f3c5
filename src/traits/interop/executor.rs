//! [`HyperExecutor`]: hyper's futures as tasks of the current runtime.

use std::future::Future;

/// Spawns hyper's futures as tasks of the runtime that runs on this thread.
///
/// The futures need not be `Send`, so a service of HTTP/2 may use `Rc` and `RefCell`. The tasks are
/// detached: they end with the connection.
/// [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) lists them with a
/// location in the source of this type.
///
/// # Panics
///
/// `execute` panics if this thread is not inside a runtime.
///
/// # Examples
///
/// ```
/// use hyper::rt::Executor;
/// use reveille::interop::HyperExecutor;
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// reveille::block_on(async {
///     let done = Rc::new(Cell::new(false));
///     let task = done.clone();
///     HyperExecutor::new().execute(async move { task.set(true) });
///     reveille::yield_now().await;
///     assert!(done.get());
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HyperExecutor;

impl HyperExecutor {
    /// Returns an executor. It holds nothing.
    #[must_use]
    pub const fn new() -> HyperExecutor {
        HyperExecutor
    }
}

impl<F> hyper::rt::Executor<F> for HyperExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(crate::runtime::spawn(future));
    }
}
