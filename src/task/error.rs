//! [`JoinError`]: the error of a task that ended without an output.

use std::any::Any;
use std::fmt;
use std::io;
use std::mem;
use std::ptr::NonNull;

use crate::panics::Payload;

/// The error of a task that ended without an output: it was aborted, it panicked, or its runtime
/// was dropped.
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
// One word, so that a `Result<(), JoinError>` is one word, too, and a `Poll` of it fits into two
// registers.
pub struct JoinError(NonNull<Payload>);

/// A byte for each reason that is not a panic. A `JoinError` points to one of these bytes, or to a
/// boxed payload.
static REASONS: [u8; 2] = [0; 2];

/// Returns the pointer that stands for "aborted".
#[inline]
fn cancelled() -> NonNull<Payload> {
    NonNull::from(&REASONS[0]).cast()
}

/// Returns the pointer that stands for "the runtime is gone".
#[inline]
fn gone() -> NonNull<Payload> {
    NonNull::from(&REASONS[1]).cast()
}

// SAFETY: it owns at most a `Payload`, which is `Send`.
unsafe impl Send for JoinError {}
// SAFETY: through a shared reference only `message` reads the payload. It checks the type, which
// reads nothing of the value, and then reads a `&'static str` or a `String`, both of which are
// `Sync`. All other access takes `self` by value.
unsafe impl Sync for JoinError {}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError(cancelled())
    }

    #[cold]
    pub(crate) fn gone() -> JoinError {
        JoinError(gone())
    }

    #[cold]
    pub(crate) fn panic(payload: Payload) -> JoinError {
        let payload = Box::into_raw(Box::new(payload));
        // SAFETY: the pointer came from a box, so it is not null.
        JoinError(unsafe { NonNull::new_unchecked(payload) })
    }

    /// Returns whether the task was aborted, or dropped together with its runtime.
    pub fn is_cancelled(&self) -> bool {
        !self.is_panic()
    }

    /// Returns whether the runtime was dropped before the task ended, or has refused the task
    /// because it was dropped or is being [shut down](crate::Runtime::shutdown).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let task = runtime.spawn(std::future::pending::<()>());
    /// drop(runtime);
    /// let error = reveille::block_on(task).unwrap_err();
    /// assert!(error.is_runtime_gone() && error.is_cancelled());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_runtime_gone(&self) -> bool {
        self.0 == gone()
    }

    /// Returns whether the task panicked.
    pub fn is_panic(&self) -> bool {
        self.0 != cancelled() && self.0 != gone()
    }

    /// Returns the payload of the task's panic.
    ///
    /// # Panics
    ///
    /// If the task did not panic. [`try_into_panic`](JoinError::try_into_panic) returns an error
    /// instead.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!(
                "`into_panic` was called on an error that is not a panic ({error}): check `is_panic` before"
            ),
        }
    }

    /// Returns the payload of the task's panic, or the error itself if the task did not panic.
    ///
    /// # Errors
    ///
    /// The error itself, if the task was aborted or its runtime was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// reveille::block_on(async {
    ///     let task = reveille::spawn(async { panic!("no") });
    ///     let payload = task.await.unwrap_err().try_into_panic().unwrap();
    ///     assert_eq!(payload.downcast_ref(), Some(&"no"));
    /// });
    /// ```
    pub fn try_into_panic(mut self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        self.take_payload().ok_or(self)
    }

    /// Takes the payload out of the error, whose reason is "aborted" from then on.
    #[inline]
    pub(super) fn take_payload(&mut self) -> Option<Payload> {
        if !self.is_panic() {
            return None;
        }
        let payload = mem::replace(&mut self.0, cancelled());
        // SAFETY: a pointer that is not one of the reasons was made by `panic` from a box, which
        // this error alone owns. The error has just forgotten it.
        Some(*unsafe { Box::from_raw(payload.as_ptr()) })
    }

    /// The payload as text, if it is a string.
    fn message(&self) -> Option<&str> {
        if !self.is_panic() {
            return None;
        }
        // SAFETY: a pointer that is not one of the reasons was made by `panic` from a box, which
        // this error owns for as long as `self` is borrowed.
        let payload = unsafe { self.0.as_ref() };
        let text = payload.downcast_ref::<&'static str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_runtime_gone() {
            return f.write_str(
                "task was dropped because its runtime was dropped or is being shut down",
            );
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
