//! [`Handle`]: a reference to a runtime for other threads.

use super::context::{self, InLoop};
use super::shared::Shared;
use crate::blocking::{Pool, TrySpawnBlockingError};
use crate::reactor::registration::NO_RUNTIME;
use crate::sync::Arc;
use crate::task::{Description, IN_CHILD, JoinHandle, Name, block_thread_on};
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};

/// A reference to a runtime that any thread can use: it spawns `Send` futures and closures that
/// block, waits for futures, and stops the loop.
///
/// It does not keep the runtime alive. When the runtime was dropped or is being
/// [shut down](super::Runtime::shutdown), [`spawn`](Handle::spawn) drops the future and returns a
/// [`JoinHandle`] that fails at once.
///
/// # Examples
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

// No foreign code runs while its locks are held, so a panic leaves its data consistent.
impl UnwindSafe for Handle {}
impl RefUnwindSafe for Handle {}

impl Handle {
    /// Returns the handle of the current runtime of this thread.
    ///
    /// # Panics
    ///
    /// If this thread is not inside a runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::Handle;
    ///
    /// assert!(Handle::try_current().is_none());
    /// reveille::block_on(async {
    ///     let handle = Handle::current();
    ///     assert_eq!(handle.name(), None);
    ///     assert_eq!(handle.spawn(async { 7 }).await.unwrap(), 7);
    /// });
    /// ```
    #[track_caller]
    pub fn current() -> Handle {
        // Not `unwrap_or_else`: in a closure the message would have the wrong line.
        match Handle::try_current() {
            Some(handle) => handle,
            None => panic!("{NO_RUNTIME}"),
        }
    }

    /// Returns the handle of the current runtime of this thread, or `None`.
    /// [`current`](Handle::current) has an example.
    pub fn try_current() -> Option<Handle> {
        context::shared().map(|shared| Handle { shared })
    }

    /// Spawns a future on the runtime, from any thread. The future is polled and dropped on the
    /// runtime's thread.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (tasks, place) = (&self.shared.tasks, Some(Location::caller()));
        boxed_if_large!(F, future => tasks.spawn(future, place, None))
    }

    /// Runs a closure on a thread that may block, as [`spawn_blocking`](crate::spawn_blocking)
    /// does, from any thread.
    ///
    /// When the runtime was dropped, this drops the closure and returns a [`JoinHandle`] that fails
    /// at once. During a [`shutdown`](super::Runtime::shutdown) it does so for code outside of the
    /// runtime.
    ///
    /// # Panics
    ///
    /// If the pool has no thread and the system cannot create one. In the child of a fork.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let sum = runtime.handle().spawn_blocking(|| 1 + 2);
    /// assert_eq!(sum.wait()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, f: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.spawn_blocking_named(f, None)
    }

    /// As [`spawn_blocking`](Handle::spawn_blocking), with a name for the closure.
    #[track_caller]
    pub(super) fn spawn_blocking_named<F, R>(&self, f: F, name: Option<Name>) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        match self.spawn_or_fail(f, name) {
            Ok(handle) => handle,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`spawn_blocking_named`](Handle::spawn_blocking_named), but returns an error where that
    /// panics.
    #[track_caller]
    pub(crate) fn spawn_or_fail<F, R>(&self, f: F, name: Option<Name>) -> io::Result<JoinHandle<R>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let wrap = |f| context::remotely(&self.shared, f);
        let spawned = self.shared.blocking.spawn(self.describe(name), f, wrap);
        spawned.map_err(io::Error::from)
    }

    /// Describes a closure that the caller spawns.
    #[track_caller]
    fn describe(&self, name: Option<Name>) -> Description {
        self.shared.tasks.describe(name, Some(Location::caller()))
    }

    /// Runs a closure on a thread that may block, if one is free or may be created now.
    ///
    /// Otherwise it returns an error with the closure, where
    /// [`spawn_blocking`](Handle::spawn_blocking) would put it into the queue.
    /// [`TrySpawnBlockingError`] has an example.
    ///
    /// # Errors
    ///
    /// If all threads are busy, if the system cannot create a thread, if the runtime was dropped
    /// or, for code outside of it, is being [shut down](super::Runtime::shutdown), and in the child
    /// of a fork.
    #[track_caller]
    pub fn try_spawn_blocking<F, R>(&self, f: F) -> Result<JoinHandle<R>, TrySpawnBlockingError<F>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let spawned = self.shared.blocking.try_spawn(self.describe(None), f, |f| {
            context::remotely(&self.shared, f)
        });
        spawned.map_err(|(refusal, f)| TrySpawnBlockingError::new(refusal, f))
    }

    /// Returns the pool that [`spawn_blocking`](crate::spawn_blocking) uses: to observe it, or for
    /// [`Builder::blocking_pool`](crate::Builder::blocking_pool) of another runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let pool = runtime.handle().blocking_pool();
    /// assert_eq!((pool.threads(), pool.queued()), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn blocking_pool(&self) -> Pool {
        self.shared.blocking.pool()
    }

    /// Runs a future to its end on a thread that does not own the runtime, while the owner runs the
    /// loop. The thread is parked while the future waits.
    ///
    /// The future need not be `Send`. In it [`Handle::current`] returns this handle and
    /// [`spawn_blocking`](crate::spawn_blocking) works. It can use sockets and timers that exist.
    /// [`spawn`](crate::spawn()), new sockets and new timers need the thread of the loop: put them
    /// into a future for [`Handle::spawn`].
    ///
    /// # Panics
    ///
    /// If this thread owns the runtime, or is inside a running runtime, because it would block the
    /// loop. In the child of a fork, if the runtime is one of the parent's. If the future panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::Handle;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let handle = runtime.handle();
    /// let thread = std::thread::spawn(move || {
    ///     let sum = handle.block_on(async {
    ///         let task = Handle::current().spawn(async { 1 + 2 });
    ///         task.await.unwrap() + 4
    ///     });
    ///     handle.stop();
    ///     sum
    /// });
    /// runtime.run()?;
    /// assert_eq!(thread.join().unwrap(), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _in_loop = InLoop::blocking("`Handle::block_on`");
        let tasks = &self.shared.tasks;
        assert!(!tasks.is_of_parent(), "{IN_CHILD}");
        assert!(
            !tasks.is_owner(),
            "`Handle::block_on` was called on the thread that owns the runtime: it would not run the loop; use \
             `Runtime::block_on`"
        );
        boxed_if_large!(F, future => context::enter_remote(&self.shared, || block_thread_on(future)))
    }

    /// Makes [`Runtime::run`](super::Runtime::run) return: the current call, or else the next one.
    /// It does not end a `block_on`, which has to return an output.
    ///
    /// The tasks stay in the runtime and continue with the next `block_on` or `run`. Dropping the
    /// runtime drops them, together with their sockets.
    /// [`Runtime::shutdown`](super::Runtime::shutdown) gives them time to end.
    ///
    /// # Examples
    ///
    /// A server shuts down gracefully in three steps: it stops the loop, stops accepting, and gives
    /// the connections some time to end.
    ///
    /// ```
    /// use reveille::net::TcpListener;
    /// use reveille::time::{Duration, sleep};
    ///
    /// fn main() -> std::io::Result<()> {
    ///     let runtime = reveille::Runtime::new()?;
    ///     let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    ///     let addr = listener.local_addr()?;
    ///     let acceptor = runtime.spawn(async move {
    ///         while let Ok((stream, _peer)) = listener.accept().await {
    ///             reveille::spawn(async move {
    ///                 stream.write_all(b"good ").await?;
    ///                 sleep(Duration::from_millis(1)).await;
    ///                 stream.write_all(b"night").await
    ///             });
    ///         }
    ///     });
    ///
    ///     let handle = runtime.handle();
    ///     let client = std::thread::spawn(move || {
    ///         use std::io::Read;
    ///         let (mut stream, mut text) = (std::net::TcpStream::connect(addr)?, [0; 10]);
    ///         stream.read_exact(&mut text[..5])?;
    ///         handle.stop();
    ///         stream.read_exact(&mut text[5..]).map(|()| text)
    ///     });
    ///
    ///     runtime.run()?; // until `stop`
    ///     acceptor.abort(); // the listener goes with its task
    ///     // A connection that has not ended by then is dropped with the runtime.
    ///     let report = runtime.shutdown(Duration::from_secs(5));
    ///     assert!(report.is_clean(), "{report}");
    ///     assert_eq!(&client.join().unwrap()?, b"good night");
    ///     Ok(())
    /// }
    /// ```
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Returns the name of the runtime, if [`Builder::name`](crate::Builder::name) has set one.
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
