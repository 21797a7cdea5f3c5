//! [`AttachError`], and the errors of invalid keys.

use crate::sys::syscall::failure;
use std::error::Error;
use std::fmt;
use std::io;

/// The error of [`EventLoop::attach`](super::EventLoop::attach) and
/// [`replace_fd`](super::EventLoop::replace_fd). It contains the fd that was not attached.
///
/// It converts to [`io::Error`], so `?` works in functions that return `io::Result`; that drops the
/// fd.
///
/// # Examples
///
/// ```
/// use reveille::backend::{Interest, Trigger};
/// use reveille::event_loop::{AttachError, EventLoop};
/// use std::io::ErrorKind;
/// use std::os::unix::net::UnixStream;
/// use std::sync::Arc;
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new(())?;
/// let (ours, _theirs) = UnixStream::pair()?;
/// let ours = Arc::new(ours);
/// let key = event_loop.attach(ours.clone(), Interest::READABLE, Trigger::Level, |_, _, _| {})?;
/// let twice = event_loop.attach(ours, Interest::READABLE, Trigger::Level, |_, _, _| {});
/// let error: AttachError<Arc<UnixStream>> = twice.unwrap_err();
/// let (ours, error) = error.into_parts();
/// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
/// assert!(event_loop.get(key).is_some_and(|stream| Arc::ptr_eq(stream, &ours)));
/// # Ok(())
/// # }
/// ```
pub struct AttachError<T> {
    pub(super) error: io::Error,
    pub(super) fd: T,
}

impl<T> AttachError<T> {
    /// Returns the reason.
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// Returns the fd that was to be attached, and the reason.
    pub fn into_parts(self) -> (T, io::Error) {
        (self.fd, self.error)
    }
}

impl<T> fmt::Debug for AttachError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for AttachError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot attach the fd: {}", self.error)
    }
}

impl<T> Error for AttachError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Drops the fd, which closes it if the value owns it.
impl<T> From<AttachError<T>> for io::Error {
    fn from(error: AttachError<T>) -> io::Error {
        error.error
    }
}

/// The error of an invalid key.
#[cold]
pub(super) fn not_attached() -> io::Error {
    failure(
        io::ErrorKind::NotFound,
        "no fd is attached under this key: it was detached or closed",
    )
}

/// The error of [`EventLoop::push_timeout`](super::EventLoop::push_timeout) for an fd without a
/// timeout.
#[cold]
pub(super) fn no_timeout() -> io::Error {
    failure(
        io::ErrorKind::NotFound,
        "cannot push the timeout back: the fd has no timeout; call `set_timeout` first",
    )
}
