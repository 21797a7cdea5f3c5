//! [`Handle`]: stops the loop or ends its wait, from any thread.

use super::EventLoop;
use crate::reactor::parker::Unparker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state that a loop shares with its handles.
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

/// Stops a loop or ends its wait, from any thread. Once the loop is dropped, its calls do nothing.
///
/// # Examples
///
/// ```
/// use reveille::event_loop::EventLoop;
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new(())?;
/// let handle = event_loop.handle();
/// let thread = std::thread::spawn(move || handle.stop());
/// event_loop.run()?;
/// # thread.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Ends [`EventLoop::run`] at the end of its turn, and the wait of that turn at once. If the
    /// loop is not running, the next call of `run` returns at once.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.unparker.unpark();
    }

    /// Ends the wait of the loop, so that its hooks are called. Several calls during one turn cause
    /// one turn.
    ///
    /// A runtime's [`Handle`](crate::Handle) needs no such method: waking a task ends the wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(())?;
    /// let handle = event_loop.handle();
    /// let thread = std::thread::spawn(move || handle.wake());
    /// event_loop.turn(None)?; // would wait forever without the call
    /// # thread.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn wake(&self) {
        self.shared.unparker.unpark();
    }
}

impl<D: 'static> EventLoop<D> {
    /// Returns a handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Ends [`run`](EventLoop::run) at the end of this turn. The rest of the turn is completed:
    /// handlers, messages, timers, deferred functions and hooks.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
    }

    /// Returns true if the loop has to stop, and clears the request.
    pub(super) fn take_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
            && self.shared.stopped.swap(false, Ordering::AcqRel)
    }

    /// Returns true if the loop has to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }
}
