//! [`Shared`]: the part of a runtime that other threads use: the inbox of its tasks, its jobs, its
//! clock, its unparker and the stop flag.

use crate::blocking::{self, Jobs};
use crate::reactor::clock::Source;
use crate::reactor::parker::Unparker;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::task;
use crate::token::RuntimeId;

/// The part of a runtime that is `Send` and `Sync`. Handles hold it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) id: RuntimeId,
    pub(super) name: Option<String>,
    /// The inbox for spawns and wakes from other threads.
    pub(super) tasks: Arc<task::Remote>,
    /// The threads for code that blocks.
    pub(super) blocking: Jobs,
    /// The source of the runtime's time.
    pub(super) clock: Source,
    unparker: std::sync::Arc<Unparker>,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        id: RuntimeId,
        name: Option<String>,
        tasks: Arc<task::Remote>,
        blocking: blocking::Settings,
        unparker: std::sync::Arc<Unparker>,
    ) -> Shared {
        Shared {
            id,
            name,
            blocking: Jobs::new(tasks.clone(), blocking),
            tasks,
            clock: Source::new(),
            unparker,
            stop: AtomicBool::new(false),
        }
    }

    /// Makes `run` return, now or when it is called next.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unparker.unpark();
    }

    /// Returns whether `run` has to return, and clears the flag.
    pub(super) fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire) && self.stop.swap(false, Ordering::AcqRel)
    }
}
