//! [`JoinError`]: why a task has no output.

use std::any::Any;
use std::fmt;
use std::io;

use super::Payload;

/// Why a task ended without an output: it was aborted, it panicked, or its runtime is gone.
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     let handle = reveille::spawn(std::future::pending::<()>());
///     handle.abort();
///     match handle.await {
///         Ok(()) => unreachable!("it never ends by itself"),
///         Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
///         Err(error) => assert!(error.is_cancelled()),
///     }
/// });
/// ```
// One boxed payload says it all: the two reasons that are no panic are zero-sized private types, whose box allocates
// nothing. So the type is two words and leaves `Result<(), JoinError>` at two words as well.
pub struct JoinError(Payload);

/// Stands for "aborted" in the payload.
struct Cancelled;
/// Stands for "the runtime is gone" in the payload.
struct Gone;

// SAFETY: a shared reference gives access to the payload only by `message`, which asks for its type (that reads nothing
// of the value) and then reads a `&'static str` or a `String`, both `Sync`. Everything else consumes the error.
unsafe impl Sync for JoinError {}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError(Box::new(Cancelled))
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn gone() -> JoinError {
        JoinError(Box::new(Gone))
    }

    pub(crate) fn panic(payload: Payload) -> JoinError {
        JoinError(payload)
    }

    /// Whether the task was aborted, or dropped because its runtime is gone.
    pub fn is_cancelled(&self) -> bool {
        !self.is_panic()
    }

    /// Whether the runtime ended before the task did.
    pub fn is_runtime_gone(&self) -> bool {
        self.0.is::<Gone>()
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        !self.0.is::<Cancelled>() && !self.0.is::<Gone>()
    }

    /// Returns what the task panicked with.
    ///
    /// # Panics
    ///
    /// If the task did not panic; [`try_into_panic`](JoinError::try_into_panic) asks first.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!("into_panic on an error that is no panic: {error}"),
        }
    }

    /// Returns what the task panicked with, or the error itself if it did not panic.
    ///
    /// # Errors
    ///
    /// The error itself, when the task was aborted or the runtime is gone.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        if self.is_panic() {
            Ok(self.0)
        } else {
            Err(self)
        }
    }

    /// The text of a panic whose payload is one.
    fn message(&self) -> Option<&str> {
        let text = self.0.downcast_ref::<&'static str>().copied();
        text.or_else(|| self.0.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_runtime_gone() {
            return f.write_str("task was dropped: its runtime is gone");
        }
        if self.is_cancelled() {
            return f.write_str("task was aborted");
        }
        match self.message() {
            Some(message) => write!(f, "task panicked: {message}"),
            None => f.write_str("task panicked"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_runtime_gone() {
            return f.write_str("JoinError::RuntimeGone");
        }
        if self.is_cancelled() {
            return f.write_str("JoinError::Cancelled");
        }
        match self.message() {
            Some(message) => write!(f, "JoinError::Panic({message:?})"),
            None => f.write_str("JoinError::Panic(..)"),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error.to_string())
    }
}
