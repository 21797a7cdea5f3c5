//! Which runtime this thread runs: sets the layers' scoped pointers, and refuses loops within loops.

use super::local::Local;
use crate::reactor::driver;
use crate::sys::scoped::{Published, scoped};
use crate::task;
use std::cell::Cell;

scoped! {
    /// The runtime that this thread owns and is in, if any.
    pub(crate) const CURRENT: Local
}

impl Published for Local {}

thread_local! {
    /// This thread is inside `block_on`, `run` or `turn` of some runtime.
    static IN_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// Makes `local` the current runtime of this thread while `f` runs, in every layer.
pub(super) fn enter<R>(local: &Local, f: impl FnOnce() -> R) -> R {
    CURRENT.enter(local, || {
        driver::CURRENT.enter(&local.driver, || task::CURRENT.enter(&local.tasks, f))
    })
}

/// Marks this thread as running a loop while it lives, and puts the former mark back.
#[derive(Debug)]
pub(super) struct InLoop {
    before: bool,
}

impl InLoop {
    /// For a loop that may sleep without limit.
    ///
    /// # Panics
    ///
    /// When the thread is in a loop already: the outer one would never run again while the inner one waits for it.
    #[track_caller]
    pub(super) fn blocking(what: &str) -> InLoop {
        let inside = IN_LOOP.with(Cell::get);
        assert!(
            !inside,
            "{what} was called inside a running runtime: it would block the thread that has to make it progress; \
             `.await` the future, or `spawn` it"
        );
        InLoop::hosted()
    }

    /// For one turn, which a loop of another runtime may host.
    pub(super) fn hosted() -> InLoop {
        InLoop {
            before: IN_LOOP.with(|inside| inside.replace(true)),
        }
    }
}

impl Drop for InLoop {
    fn drop(&mut self) {
        IN_LOOP.with(|inside| inside.set(self.before));
    }
}
