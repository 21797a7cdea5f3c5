//! [`HyperExecutor`]: hyper's futures as tasks of the current runtime.

use crate::task::Builder;
use std::future::Future;
use std::sync::Arc;

/// Spawns hyper's futures as tasks of the runtime that runs on this thread.
///
/// The futures need not be `Send`, so a service of HTTP/2 may use `Rc` and `RefCell`. The tasks are
/// detached: they end with the connection.
///
/// The tasks have the name "hyper" in [`Runtime::tasks`](crate::Runtime::tasks), or the name that
/// [`named`](HyperExecutor::named) sets.
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
#[derive(Clone, Debug)]
pub struct HyperExecutor {
    name: Arc<str>,
}

impl HyperExecutor {
    /// Returns an executor whose tasks have the name "hyper". Its clones share the name.
    #[must_use]
    pub fn new() -> HyperExecutor {
        HyperExecutor::named("hyper")
    }

    /// Returns an executor whose tasks have this name. Its clones share the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use hyper::rt::Executor;
    /// use reveille::interop::HyperExecutor;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let executor = HyperExecutor::named(format!("connection {}", 7));
    /// runtime.enter(|| executor.execute(std::future::pending::<()>()));
    /// assert_eq!(runtime.tasks()[0].name(), Some("connection 7"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> HyperExecutor {
        HyperExecutor { name: name.into() }
    }
}

impl Default for HyperExecutor {
    fn default() -> HyperExecutor {
        HyperExecutor::new()
    }
}

impl<F> hyper::rt::Executor<F> for HyperExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(Builder::new().name(self.name.clone()).spawn(future));
    }
}
