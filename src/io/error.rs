//! The errors that an [`AsyncFd`](super::AsyncFd) has of its own.

use super::Interest;
use std::error::Error;
use std::fmt;
use std::io;

/// Says that an operation would have blocked and that the guard has cleared the readiness it stood for: wait again.
///
/// Returned by [`AsyncFdReadyGuard::try_io`](super::AsyncFdReadyGuard::try_io).
#[derive(Debug)]
pub struct TryIoError(pub(super) ());

impl fmt::Display for TryIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operation would block: wait for readiness again")
    }
}

impl Error for TryIoError {}

/// The error of [`AsyncFd::try_new`](super::AsyncFd::try_new): why it failed, and the value that was given.
///
/// It converts into the [`io::Error`] alone, so `?` works where the value is not wanted back.
pub struct AsyncFdTryNewError<T> {
    pub(super) inner: T,
    pub(super) cause: io::Error,
}

impl<T> AsyncFdTryNewError<T> {
    /// Returns the value and why it could not be registered.
    pub fn into_parts(self) -> (T, io::Error) {
        (self.inner, self.cause)
    }
}

impl<T> fmt::Display for AsyncFdTryNewError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl<T> fmt::Debug for AsyncFdTryNewError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFdTryNewError")
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl<T> Error for AsyncFdTryNewError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

impl<T> From<AsyncFdTryNewError<T>> for io::Error {
    fn from(error: AsyncFdTryNewError<T>) -> io::Error {
        error.cause
    }
}

#[cold]
pub(super) fn regular_file() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a regular file or directory cannot be waited for: it counts as always ready and may block all the same; read it directly, or on another thread",
    )
}

#[cold]
pub(super) fn blocking() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the fd is in blocking mode, and a call on it could stop the whole loop: set O_NONBLOCK on it first (for the types of std: `set_nonblocking(true)`)",
    )
}

#[cold]
pub(super) fn nothing_asked() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the interest is empty: nothing would ever end the wait",
    )
}

#[cold]
pub(super) fn errors_not_told() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the runtime's mechanism does not tell errors from readiness, so a wait for errors alone would not end: wait to read or to write as well, or choose another backend",
    )
}

#[cold]
pub(super) fn not_registered_for(asked: Interest, registered: Interest) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("cannot wait for {asked:?}: the fd was registered for {registered:?}"),
    )
}
