//! [`block_on`], [`spawn`] and [`spawn_blocking`] without a [`Runtime`] value: on a new runtime,
//! and on the current one.

use super::{Handle, Runtime, context};
use crate::reactor::registration::NO_RUNTIME;
use crate::task::{self, JoinHandle};
use std::future::Future;
use std::panic::Location;

/// Runs a future to its end on a new runtime with the default settings.
///
/// Then the runtime is dropped, together with all tasks that have not ended.
///
/// # Panics
///
/// As [`Runtime::block_on`], and if no runtime can be created: see
/// [`Builder::build`](crate::Builder::build).
///
/// # Examples
///
/// ```
/// let sum = reveille::block_on(async { 1 + 2 });
/// assert_eq!(sum, 3);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime could be created: {error}"),
    };
    boxed_if_large!(F, future => runtime.block_on_small(future))
}

/// Spawns a future on the current runtime of this thread.
///
/// The future need not be `Send`. The task continues to run if the handle is dropped, but then
/// nothing reports its output, an `Err` included. Only a panic is reported: see
/// [`UnhandledPanic`](super::UnhandledPanic).
///
/// # Panics
///
/// If this thread is not inside a runtime.
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     let shared = std::rc::Rc::new(7);
///     let task = reveille::spawn(async move { *shared });
///     assert_eq!(task.await.unwrap(), 7);
/// });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    boxed_if_large!(F, future => spawn_small(future))
}

/// Moves the future several times, so it must not be large.
#[track_caller]
fn spawn_small<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let place = Location::caller();
    let handle = task::CURRENT.with(|tasks| tasks.map(|tasks| tasks.spawn(future, Some(place))));
    // Outside of the closure, so that the message has the caller's line.
    match handle {
        Some(handle) => handle,
        None => panic!("{NO_RUNTIME}"),
    }
}

/// Runs a closure on a thread that may block, and returns a handle for its output.
///
/// Use it for code that would stop the loop: the file system, a library that waits, a long
/// computation. It belongs to the current runtime of this thread; other threads use
/// [`Handle::spawn_blocking`].
///
/// The closure runs on a thread of the runtime's [`Pool`](crate::runtime::Pool). If all of its
/// threads are busy, the closure waits in a queue without limit, oldest first.
/// [`Builder::max_blocking_threads`](crate::Builder::max_blocking_threads) sets the number of
/// threads. [`Handle::try_spawn_blocking`] never waits.
///
/// The handle is that of a task, with these differences:
///
/// - [`abort`](JoinHandle::abort) has no effect on a closure that has begun.
/// - Any thread may [`wait`](JoinHandle::wait) for it.
///
/// In the closure, `spawn_blocking` and [`Handle::current`] use the same runtime. `spawn`, new
/// sockets and timers need the thread of the loop: use [`Handle::spawn`].
///
/// The threads block all signals, except those that a fault raises.
///
/// # Panics
///
/// If this thread is not inside a runtime. If the pool has no thread and the system cannot create
/// one. In the child of a fork.
///
/// # Examples
///
/// ```
/// use std::path::Path;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let exists = reveille::spawn_blocking(|| Path::new("/").try_exists()).await??;
///     assert!(exists);
///     Ok(())
/// })
/// # }
/// ```
///
/// A panic of the closure goes to the handle:
///
/// ```
/// reveille::block_on(async {
///     let closure = reveille::spawn_blocking(|| panic!("no"));
///     assert!(closure.await.unwrap_err().is_panic());
/// });
/// ```
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    match context::shared() {
        Some(shared) => Handle { shared }.spawn_blocking(f),
        None => panic!("{NO_RUNTIME}"),
    }
}
