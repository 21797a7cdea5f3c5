//! The error types of [`AsyncFd`](super::AsyncFd), and the texts of the errors of this module.

use super::Interest;
use crate::sys::syscall::failure;
use crate::task::JoinError;
use std::error::Error;
use std::fmt;
use std::io;

/// The error of [`AsyncFdReadyGuard::try_io`](super::AsyncFdReadyGuard::try_io): the call would
/// have blocked.
///
/// The guard has cleared the readiness, so the caller should wait again.
///
/// # Examples
///
/// ```
/// use reveille::io::{AsyncFd, TryIoError};
/// use std::io::{self, Read};
/// use std::os::unix::net::UnixStream;
///
/// fn main() -> io::Result<()> {
///     let (here, _there) = UnixStream::pair()?;
///     here.set_nonblocking(true)?;
///     reveille::block_on(async {
///         let here = AsyncFd::new(here)?;
///         let mut guard = here.writable().await?;
///         let empty: Result<_, TryIoError> = guard.try_io(|fd| fd.get_ref().read(&mut [0; 8]));
///         assert!(empty.is_err());
///         Ok(())
///     })
/// }
/// ```
#[derive(Debug)]
pub struct TryIoError(pub(super) ());

impl fmt::Display for TryIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operation would block: wait for readiness again")
    }
}

impl Error for TryIoError {}

/// The error of [`AsyncFd::try_new`](super::AsyncFd::try_new): the reason, and the value that could
/// not be registered.
///
/// Converts into the [`io::Error`], so `?` works if the value is not needed.
///
/// # Examples
///
/// ```
/// use reveille::io::{AsyncFd, AsyncFdTryNewError};
/// use std::io;
/// use std::net::UdpSocket;
///
/// fn main() -> io::Result<()> {
///     let socket = UdpSocket::bind("127.0.0.1:0")?;
///     let error: AsyncFdTryNewError<UdpSocket> =
///         reveille::block_on(async { AsyncFd::try_new(socket).unwrap_err() });
///     let (socket, reason) = error.into_parts();
///     assert_eq!(reason.kind(), io::ErrorKind::InvalidInput);
///     socket.set_nonblocking(true)
/// }
/// ```
pub struct AsyncFdTryNewError<T> {
    pub(super) inner: T,
    pub(super) cause: io::Error,
}

impl<T> AsyncFdTryNewError<T> {
    /// Returns the value, and the reason why it could not be registered.
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
pub(super) fn not_pollable() -> io::Error {
    failure(
        io::ErrorKind::Unsupported,
        "cannot register this file: the kernel cannot wait for regular files, directories, and devices such as /dev/null; make the calls directly, or on another thread because they may block",
    )
}

#[cold]
pub(super) fn blocking() -> io::Error {
    failure(
        io::ErrorKind::InvalidInput,
        "cannot register this fd: it is in blocking mode, so a call could stop the whole loop; set O_NONBLOCK first (for sockets of std `set_nonblocking(true)`, for a file or FIFO `custom_flags(O_NONBLOCK)`, for any other fd `io::set_nonblocking`), or use `AsyncFd::readiness_only`",
    )
}

#[cold]
pub(super) fn errors_alone() -> io::Error {
    failure(
        io::ErrorKind::Unsupported,
        "cannot wait for errors alone: this backend reports errors as readiness, so the wait would not end; add READABLE or WRITABLE, or choose another backend",
    )
}

#[cold]
pub(super) fn not_registered_for(interest: Interest, registered: Interest) -> io::Error {
    failure(
        io::ErrorKind::InvalidInput,
        &format!(
            "cannot wait for {interest:?}: the fd was registered for {registered:?} only; register it for both with `AsyncFd::with_interest`"
        ),
    )
}

/// The value of an [`Unblock`](super::Unblock) is lost to this process.
#[cold]
pub(super) fn value_of_parent() -> io::Error {
    failure(
        io::ErrorKind::Unsupported,
        "a thread of the parent of this process has the value, and does not exist here: open the file again after the fork",
    )
}

/// The error of a call that was dropped with its runtime.
#[cold]
pub(super) fn gone() -> io::Error {
    JoinError::gone().into()
}
