//! What other threads may do: end the loop, or its wait.

use super::EventLoop;
use crate::reactor::parker::Unparker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a loop and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    stopped: AtomicBool,
    pub(super) unparker: Arc<Unparker>,
}

impl Shared {
    pub(super) fn new(unparker: Arc<Unparker>) -> Arc<Shared> {
        Arc::new(Shared {
            stopped: AtomicBool::new(false),
            unparker,
        })
    }
}

/// A loop's handle for other threads, and for signal handlers' threads. Once the loop is gone its calls do nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Ends [`EventLoop::run`]: the running one at the end of its turn, which it does not spend waiting, or the next one
    /// at once.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.unparker.unpark();
    }

    /// Ends the loop's wait, so that its hooks are called. Any number of calls during one turn make one turn more.
    pub fn wake(&self) {
        self.shared.unparker.unpark();
    }
}

impl<D: 'static> EventLoop<D> {
    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Ends [`run`](EventLoop::run) at the end of this turn. The rest of the turn is done: handlers, messages, timers, what was
    /// deferred, hooks.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
    }

    /// Whether the loop has been told to stop; taken back by this.
    pub(super) fn take_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
            && self.shared.stopped.swap(false, Ordering::AcqRel)
    }

    /// Whether the loop has been told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }
}
