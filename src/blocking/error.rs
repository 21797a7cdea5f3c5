//! Why a closure does not get a thread: [`TrySpawnBlockingError`] for users, [`Refusal`] inside.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a job was not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The runtime was dropped, or is being shut down.
    Closed,
    /// The process is the child of a fork, where the threads do not exist.
    Child,
    /// The job would have to wait.
    Busy,
    /// The pool has no thread, and none could be created; or the job must not wait, and no thread
    /// could be created for it.
    NoThread(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Closed => f.write_str("the runtime was dropped or is being shut down"),
            Refusal::Child => f.write_str(
                "the threads for blocking code belong to the parent of this process and do not exist here: make a new \
                 runtime after the fork",
            ),
            Refusal::Busy => f.write_str("all threads for blocking code are busy: try again later, or wait in the queue of `spawn_blocking`"),
            Refusal::NoThread(error) => write!(f, "no thread for blocking code could be created: {error}"),
        }
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        let kind = match &refusal {
            Refusal::Child => io::ErrorKind::Unsupported,
            // Not the kind of `EAGAIN`, which would ask the caller to wait until an fd is ready.
            Refusal::NoThread(_) | Refusal::Closed | Refusal::Busy => io::ErrorKind::Other,
        };
        io::Error::new(kind, refusal.to_string())
    }
}

/// The error of [`Handle::try_spawn_blocking`](crate::Handle::try_spawn_blocking), which contains
/// the closure.
///
/// # Examples
///
/// ```
/// use reveille::{Builder, Handle};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = Builder::new().max_blocking_threads(1).build()?;
/// runtime.block_on(async {
///     let (end, wait) = std::sync::mpsc::channel::<()>();
///     let first = reveille::spawn_blocking(move || wait.recv());
///     let error = Handle::current().try_spawn_blocking(|| 6 * 7).unwrap_err();
///     assert!(error.is_busy());
///     let closure = error.into_inner();
///     assert_eq!(closure(), 42); // here, on the thread of the loop
///     drop(end);
///     first.await?.unwrap_err();
///     Ok(())
/// })
/// # }
/// ```
pub struct TrySpawnBlockingError<F> {
    refusal: Refusal,
    closure: F,
}

impl<F> TrySpawnBlockingError<F> {
    pub(crate) fn new(refusal: Refusal, closure: F) -> TrySpawnBlockingError<F> {
        TrySpawnBlockingError { refusal, closure }
    }

    /// Returns the closure, which was not called.
    pub fn into_inner(self) -> F {
        self.closure
    }

    /// Returns whether all threads that the pool may have are busy.
    pub fn is_busy(&self) -> bool {
        matches!(self.refusal, Refusal::Busy)
    }

    /// Returns whether the runtime was dropped, or is being shut down.
    pub fn is_runtime_gone(&self) -> bool {
        matches!(self.refusal, Refusal::Closed)
    }
}

impl<F> fmt::Display for TrySpawnBlockingError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl<F> fmt::Debug for TrySpawnBlockingError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrySpawnBlockingError")
            .field(&self.refusal)
            .finish()
    }
}

impl<F> Error for TrySpawnBlockingError<F> {}

impl<F> From<TrySpawnBlockingError<F>> for io::Error {
    fn from(error: TrySpawnBlockingError<F>) -> io::Error {
        error.refusal.into()
    }
}
