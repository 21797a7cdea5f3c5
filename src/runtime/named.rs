//! The functions of [`task::Builder`](crate::task::Builder), which spawn tasks and closures that
//! have a name.

use super::{Handle, Runtime, context};
use crate::reactor::registration::NO_RUNTIME;
use crate::task::{Builder, CURRENT, JoinHandle, Name};
use std::future::Future;
use std::panic::Location;

impl Builder {
    /// Spawns a future on the current runtime of this thread, as [`spawn`](crate::spawn()) does.
    /// The future need not be `Send`. [`Builder`] has an example.
    ///
    /// # Panics
    ///
    /// If this thread is not inside a runtime.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        boxed_if_large!(F, future => spawn_small(future, self.name))
    }

    /// Spawns a future on a runtime, from any thread, as [`Handle::spawn`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::Builder;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let handle = runtime.handle();
    /// let worker = std::thread::spawn(move || {
    ///     Builder::new().name("from a worker").spawn_on(async { 7 }, &handle)
    /// });
    /// let task = worker.join().unwrap();
    /// assert_eq!(runtime.block_on(task)?, 7);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_on<F>(self, future: F, handle: &Handle) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (tasks, place) = (&handle.shared.tasks, Some(Location::caller()));
        boxed_if_large!(F, future => tasks.spawn(future, place, self.name))
    }

    /// Spawns a future, which need not be `Send`, on a runtime of this thread, as
    /// [`Runtime::spawn`] does. [`Builder`] has an example.
    #[track_caller]
    pub fn spawn_local_on<F>(self, future: F, runtime: &Runtime) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (tasks, place) = (&runtime.local.tasks, Some(Location::caller()));
        boxed_if_large!(F, future => tasks.spawn_named(future, place, self.name))
    }

    /// Runs a closure on a thread that may block, as [`spawn_blocking`](crate::spawn_blocking)
    /// does.
    ///
    /// [`Runtime::tasks`] does not list closures.
    ///
    /// # Panics
    ///
    /// If this thread is not inside a runtime. If the pool has no thread and the system cannot
    /// create one. In the child of a fork.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::Builder;
    ///
    /// reveille::block_on(async {
    ///     let sum = Builder::new().name("sum").spawn_blocking(|| 1 + 2);
    ///     assert!(format!("{sum:?}").contains("sum"));
    ///     assert_eq!(sum.await.unwrap(), 3);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_blocking<F, R>(self, f: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        match context::shared() {
            Some(shared) => Handle { shared }.spawn_blocking_named(f, self.name),
            None => panic!("{NO_RUNTIME}"),
        }
    }

    /// Runs a closure on a thread that may block, as [`Handle::spawn_blocking`] does, from any
    /// thread.
    ///
    /// # Panics
    ///
    /// If the pool has no thread and the system cannot create one. In the child of a fork.
    #[track_caller]
    pub fn spawn_blocking_on<F, R>(self, f: F, handle: &Handle) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        handle.spawn_blocking_named(f, self.name)
    }
}

/// Moves the future several times, so it must not be large.
#[track_caller]
fn spawn_small<F>(future: F, name: Option<Name>) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let place = Some(Location::caller());
    let spawned = CURRENT.with(|tasks| Some(tasks?.spawn_named(future, place, name)));
    // Outside of the closure, so that the message has the caller's line.
    match spawned {
        Some(handle) => handle,
        None => panic!("{NO_RUNTIME}"),
    }
}
