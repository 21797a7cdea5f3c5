//! [`Handle`]: what other threads use of a runtime.

use super::context;
use super::shared::Shared;
use crate::reactor::registration::NO_RUNTIME;
use crate::sync::Arc;
use crate::task::JoinHandle;
use std::fmt;
use std::future::Future;
use std::panic::Location;

/// A reference to a runtime for any thread: spawns `Send` futures on it and tells it to stop.
///
/// It keeps nothing alive: when the runtime has been dropped, spawning gives a [`JoinHandle`] that fails at once.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Runtime::new()?;
/// let handle = runtime.handle();
/// let worker = std::thread::spawn(move || {
///     handle.spawn(async { println!("on the runtime's thread") });
///     handle.stop();
/// });
/// runtime.run()?;
/// # worker.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// The handle of the runtime that this thread is in.
    ///
    /// # Panics
    ///
    /// When it is in none.
    #[track_caller]
    pub fn current() -> Handle {
        // A closure would put its own line into the message.
        match Handle::try_current() {
            Some(handle) => handle,
            None => panic!("{NO_RUNTIME}"),
        }
    }

    /// The handle of the runtime that this thread is in, if it is in one.
    pub fn try_current() -> Option<Handle> {
        context::CURRENT.with(|local| {
            local.map(|local| Handle {
                shared: local.shared.clone(),
            })
        })
    }

    /// Spawns a future on the runtime, from any thread. It is polled and dropped on the runtime's thread.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.tasks.spawn(future, Some(Location::caller()))
    }

    /// Makes [`Runtime::run`](super::Runtime::run) return, the running one or else the next. It cannot end a
    /// `block_on`, which owes an output.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// The runtime's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("runtime", &self.shared.id)
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
