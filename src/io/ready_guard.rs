//! [`AsyncFdReadyGuard`] and [`AsyncFdReadyMutGuard`]: the results of waits for an [`AsyncFd`],
//! which clear readiness that is used up.

use super::registered_fd::Held;
use super::{AsyncFd, Ready, TryIoError};
use std::fmt;
use std::io;
use std::os::fd::AsFd;

/// The result of a wait: an [`AsyncFd`] and the readiness that was found.
///
/// Readiness is cached until it is cleared:
///
/// | the system call returned | do | otherwise |
/// |---|---|---|
/// | `WouldBlock` | clear, by [`try_io`](AsyncFdReadyGuard::try_io) or [`clear_ready`](AsyncFdReadyGuard::clear_ready) | the next wait returns at once, and the loop is busy |
/// | anything else | do not clear | the next wait may miss data that is already there |
///
/// Dropping the guard clears nothing. Readiness that the kernel reported after this guard was made
/// is not cleared. On a thread that does not run the fd's runtime, the readiness comes from
/// `poll(2)`; it is not cached there, so there is nothing to clear.
///
/// # Examples
///
/// ```
/// use reveille::io::{AsyncFd, AsyncFdReadyGuard, Ready};
/// use std::io;
/// use std::os::unix::net::UnixStream;
///
/// fn main() -> io::Result<()> {
///     let (here, _there) = UnixStream::pair()?;
///     here.set_nonblocking(true)?;
///     reveille::block_on(async {
///         let here = AsyncFd::new(here)?;
///         let mut guard: AsyncFdReadyGuard<'_, UnixStream> = here.writable().await?;
///         assert_eq!(guard.ready(), Ready::WRITABLE);
///         assert!(guard.get_ref().get_ref().peer_addr().is_ok());
///         assert!(guard.get_inner().peer_addr().is_ok());
///         // Nothing was written, so the stream is still writable.
///         guard.retain_ready();
///         // After a write that has returned `WouldBlock`, clear one bit or all:
///         guard.clear_ready_matching(Ready::WRITABLE);
///         guard.clear_ready();
///         assert!(guard.ready().is_empty());
///         Ok(())
///     })
/// }
/// ```
#[must_use = "readiness stays set until it is cleared: use `try_io`, `clear_ready` or `retain_ready`"]
pub struct AsyncFdReadyGuard<'a, T: AsFd> {
    async_fd: &'a AsyncFd<T>,
    held: Held,
}

/// Same as [`AsyncFdReadyGuard`], with mutable access to the value.
///
/// # Examples
///
/// See [`try_io`](AsyncFdReadyMutGuard::try_io).
#[must_use = "readiness stays set until it is cleared: use `try_io`, `clear_ready` or `retain_ready`"]
pub struct AsyncFdReadyMutGuard<'a, T: AsFd> {
    async_fd: &'a mut AsyncFd<T>,
    held: Held,
}

impl<'a, T: AsFd> AsyncFdReadyGuard<'a, T> {
    pub(super) fn new(async_fd: &'a AsyncFd<T>, held: Held) -> AsyncFdReadyGuard<'a, T> {
        AsyncFdReadyGuard { async_fd, held }
    }

    /// Calls `f`, and clears the readiness if it returns [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// This clears all bits of the guard. If the wait was for several interests, use
    /// [`clear_ready_matching`](AsyncFdReadyGuard::clear_ready_matching) instead.
    ///
    /// # Errors
    ///
    /// Returns [`TryIoError`] if `f` returned `WouldBlock`. Any other result of `f` is returned
    /// inside `Ok`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::AsyncFd;
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     there.write_all(b"hi")?;
    ///     reveille::block_on(async {
    ///         let here = AsyncFd::new(here)?;
    ///         let mut buf = [0; 8];
    ///         let len = loop {
    ///             let mut guard = here.readable().await?;
    ///             if let Ok(read) = guard.try_io(|fd| fd.get_ref().read(&mut buf)) {
    ///                 break read?;
    ///             }
    ///         };
    ///         assert_eq!(&buf[..len], b"hi");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn try_io<R>(
        &mut self,
        f: impl FnOnce(&'a AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        match f(self.async_fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready();
                Err(TryIoError(()))
            }
            result => Ok(result),
        }
    }

    /// Clears the readiness of this guard. Call it after `WouldBlock`.
    pub fn clear_ready(&mut self) {
        self.clear_ready_matching(Ready::ALL);
    }

    /// Clears those bits of `ready` that this guard holds, and keeps the others.
    pub fn clear_ready_matching(&mut self, ready: Ready) {
        self.held.clear(self.async_fd.registration(), ready);
    }

    /// Keeps the readiness. It does nothing, and documents that this is intended.
    pub fn retain_ready(&mut self) {}

    /// Returns the readiness that was found for the interest, without the bits that this guard has
    /// cleared.
    ///
    /// If [`is_read_closed`](Ready::is_read_closed) or [`is_write_closed`](Ready::is_write_closed)
    /// is set, that side is closed. A side may be closed although its bit is not set. For a side
    /// that has been opened again, such as a FIFO with a new writer, the bit is not set.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.held.ready()
    }

    /// Returns the [`AsyncFd`].
    pub fn get_ref(&self) -> &'a AsyncFd<T> {
        self.async_fd
    }

    /// Returns the value in the [`AsyncFd`].
    pub fn get_inner(&self) -> &'a T {
        self.async_fd.get_ref()
    }
}

impl<'a, T: AsFd> AsyncFdReadyMutGuard<'a, T> {
    pub(super) fn new(async_fd: &'a mut AsyncFd<T>, held: Held) -> AsyncFdReadyMutGuard<'a, T> {
        AsyncFdReadyMutGuard { async_fd, held }
    }

    /// Calls `f`, and clears the readiness if it returns [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// Same as [`AsyncFdReadyGuard::try_io`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, AsyncFdReadyMutGuard};
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     there.write_all(b"hi")?;
    ///     reveille::block_on(async {
    ///         let mut here = AsyncFd::new(here)?;
    ///         let mut buf = [0; 8];
    ///         let mut guard: AsyncFdReadyMutGuard<'_, _> = here.readable_mut().await?;
    ///         let len = guard.try_io(|fd| fd.get_mut().read(&mut buf)).expect("data is there")?;
    ///         assert_eq!(&buf[..len], b"hi");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn try_io<R>(
        &mut self,
        f: impl FnOnce(&mut AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        match f(self.async_fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready();
                Err(TryIoError(()))
            }
            result => Ok(result),
        }
    }

    /// Clears the readiness of this guard. Call it after `WouldBlock`.
    pub fn clear_ready(&mut self) {
        self.clear_ready_matching(Ready::ALL);
    }

    /// Clears those bits of `ready` that this guard holds, and keeps the others.
    pub fn clear_ready_matching(&mut self, ready: Ready) {
        self.held.clear(self.async_fd.registration(), ready);
    }

    /// Keeps the readiness. It does nothing, and documents that this is intended.
    pub fn retain_ready(&mut self) {}

    /// Returns the readiness that was found for the interest, without the bits that this guard has
    /// cleared.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.held.ready()
    }

    /// Returns the [`AsyncFd`].
    pub fn get_ref(&self) -> &AsyncFd<T> {
        self.async_fd
    }

    /// Returns the [`AsyncFd`].
    pub fn get_mut(&mut self) -> &mut AsyncFd<T> {
        self.async_fd
    }

    /// Returns the value in the [`AsyncFd`].
    pub fn get_inner(&self) -> &T {
        self.async_fd.get_ref()
    }

    /// Returns the value in the [`AsyncFd`]. See [`AsyncFd::get_mut`] for what must not be done
    /// with it.
    pub fn get_inner_mut(&mut self) -> &mut T {
        self.async_fd.get_mut()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFdReadyGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFdReadyGuard")
            .field("async_fd", &self.async_fd)
            .field("ready", &self.held.ready())
            .finish_non_exhaustive()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFdReadyMutGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFdReadyMutGuard")
            .field("async_fd", &self.async_fd)
            .field("ready", &self.held.ready())
            .finish_non_exhaustive()
    }
}
