//! What other threads may touch of a runtime: the tasks' queue, the way to end its sleep, and the wish to stop.

use crate::reactor::parker::Unparker;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::task;
use crate::token::RuntimeId;

/// The part of a runtime that is `Send + Sync`; handles hold it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) id: RuntimeId,
    pub(super) name: Option<String>,
    /// Spawns and wakes of other threads.
    pub(super) tasks: Arc<task::Remote>,
    unparker: std::sync::Arc<Unparker>,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        id: RuntimeId,
        name: Option<String>,
        tasks: Arc<task::Remote>,
        unparker: std::sync::Arc<Unparker>,
    ) -> Shared {
        Shared {
            id,
            name,
            tasks,
            unparker,
            stop: AtomicBool::new(false),
        }
    }

    /// Asks `run` to return.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unparker.unpark();
    }

    /// Whether `run` was asked to return; consumes it.
    pub(super) fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire) && self.stop.swap(false, Ordering::AcqRel)
    }
}
