//! The current runtime of a thread: sets the scoped pointers of all layers, and rejects loops
//! inside of loops.

use super::local::Local;
use super::shared::Shared;
use crate::blocking;
use crate::budget;
use crate::reactor::clock;
use crate::reactor::driver;
#[cfg(feature = "signal")]
use crate::reactor::registration::no_runtime;
#[cfg(feature = "signal")]
use crate::signals::Hub;
use crate::sync::Arc;
use crate::sys::scoped::{Published, scoped};
use crate::task;
use std::cell::Cell;

scoped! {
    /// The runtime that this thread is inside of, if any.
    pub(crate) const CURRENT: Local
}

impl Published for Local {}

scoped! {
    /// The runtime whose code this thread runs without being its owner: the future of
    /// `Handle::block_on`, or a closure of `spawn_blocking`.
    const REMOTE: Arc<Shared>
}

impl Published for Arc<Shared> {}

thread_local! {
    /// This thread is inside `block_on`, `run` or `turn` of some runtime.
    static IN_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// Makes `local` the current runtime of this thread while `f` runs, in every layer. If `f` is part
/// of a poll by another runtime, it stays so: wakes are kept until the end of that poll.
pub(super) fn enter<R>(local: &Local, f: impl FnOnce() -> R) -> R {
    let inside = || {
        blocking::CURRENT.enter(&local.shared.blocking, || {
            driver::CURRENT.enter(&local.driver, || task::CURRENT.enter(&local.tasks, f))
        })
    };
    CURRENT.enter(local, || clock::enter(&local.shared.clock, inside))
}

/// Makes `shared` the current runtime of a thread that does not own it, while `f` runs: `Handle`
/// and the jobs find it. Sockets, timers and tasks that are not `Send` find no runtime.
pub(super) fn enter_remote<R>(shared: &Arc<Shared>, f: impl FnOnce() -> R) -> R {
    let inside = || REMOTE.enter(shared, || blocking::CURRENT.enter(&shared.blocking, f));
    let inside = || clock::enter(&shared.clock, inside);
    CURRENT.leave(|| driver::CURRENT.leave(|| task::CURRENT.leave(inside)))
}

/// Turns a closure into one that another thread can run, with `shared` as its current runtime.
pub(super) fn remotely<R, F: FnOnce() -> R>(
    shared: &Arc<Shared>,
    f: F,
) -> impl FnOnce() -> R + use<R, F> {
    let shared = shared.clone();
    move || enter_remote(&shared, f)
}

/// Returns the shared part of the current runtime of this thread.
pub(super) fn shared() -> Option<Arc<Shared>> {
    CURRENT
        .with(|local| local.map(|local| local.shared.clone()))
        .or_else(|| REMOTE.with(|shared| shared.cloned()))
}

/// Returns the hub for the signals of the current runtime, which this thread owns.
///
/// # Errors
///
/// If no runtime runs on this thread, or if the hub cannot be made.
#[cfg(feature = "signal")]
pub(crate) fn signal_hub() -> std::io::Result<std::sync::Arc<Hub>> {
    CURRENT.with(|local| local.ok_or_else(no_runtime)?.signals.get())
}

/// Enters the runtime to run its loop: the only polls that `f` is part of are those of `local`.
pub(super) fn enter_loop<R>(local: &Local, f: impl FnOnce() -> R) -> R {
    budget::CURRENT.enter(local.tasks.polling(), || enter(local, f))
}

/// Marks this thread as running a loop, and restores the former mark when it is dropped.
#[derive(Debug)]
pub(super) struct InLoop {
    before: bool,
}

impl InLoop {
    /// Begins a loop that may wait without limit. `what` is the name of the function for the
    /// message.
    ///
    /// # Panics
    ///
    /// If the thread already runs a loop: the outer one could not run while the inner one waits for
    /// it.
    #[track_caller]
    pub(super) fn blocking(what: &str) -> InLoop {
        let inside = IN_LOOP.get();
        assert!(
            !inside,
            "{what} was called inside a running runtime: it would block the thread that has to make it progress; \
             `.await` the future, or `spawn` it"
        );
        InLoop::hosted()
    }

    /// Begins one turn, which a loop of another runtime may host.
    pub(super) fn hosted() -> InLoop {
        InLoop {
            before: IN_LOOP.replace(true),
        }
    }
}

impl Drop for InLoop {
    fn drop(&mut self) {
        IN_LOOP.set(self.before);
    }
}
